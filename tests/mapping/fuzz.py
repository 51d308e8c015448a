"""Compares the native implementation with the reference on mutated inputs.

The law: what the native implementation does not decline, the reference converts too, and both give
the same bytes. Run it as ``python -m mapping.fuzz --count 1000000 --seed 1``. A difference is
printed, as small as deleting makes it, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from google.protobuf.message import DecodeError, Message

import chatpb._mapping.convert
from chatpb import ConversionError, binary_to_json, json_to_binary
from chatpb._mapping.fault import find_error
from chatpb._mapping.native import native_type, transcoder
from chatpb._mapping.residue import walk
from chatpb._mapping.schema import MessageType, mapping_of
from chatpb.v1.residue_pb2 import Residue
from support.golden_files import VECTORS, message_class, vectors
from support.strategies import MIRRORS

JSON: Final = "json"
BINARY: Final = "binary"

# How many of the declined inputs the reference is asked about: errors are slow to explain.
_ASKED: Final = 8
_LONG: Final = 1 << 16


class Case(NamedTuple):
    """An input: its form, the type of the message, and the text or the bytes."""

    form: str
    kind: type[Message]
    data: bytes


class _OnlyReference:
    """Takes the native implementation from the public functions for a while."""

    def __enter__(self) -> None:
        vars(chatpb._mapping.convert)["transcoder"] = None

    def __exit__(self, *_: object) -> None:
        vars(chatpb._mapping.convert)["transcoder"] = transcoder


_only_reference: Final = _OnlyReference()


@dataclass
class Tally:
    """What came of the inputs."""

    same: int = 0
    declined: int = 0
    asked: int = 0
    causes: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """How many inputs there were."""
        return self.same + self.declined

    def __str__(self) -> str:
        converts = self.causes.total()
        lines = [
            f"{self.total} cases: {self.same} the same, {self.declined} declined",
            f"of {self.asked} declined ones that the reference was asked about, it converts"
            f" {converts}",
        ]
        lines.extend(f"  {count:8} {cause}" for cause, count in self.causes.most_common())
        return "\n".join(lines)


def native(case: Case) -> bytes | None:
    """What the native implementation gives; None if it declines."""
    assert transcoder is not None
    number = native_type(case.kind)
    assert number is not None
    if case.form == JSON:
        return transcoder.json_to_binary(case.data, number)
    return transcoder.binary_to_json(case.data, number)


def reference(case: Case, *, allow_nan: bool = False) -> bytes | ConversionError:
    """What the reference gives."""
    convert = json_to_binary if case.form == JSON else binary_to_json
    with _only_reference:
        try:
            return convert(case.data, case.kind, allow_nan=allow_nan)
        except ConversionError as error:
            return error


def difference(case: Case) -> str | None:
    """How the implementations differ; None if they do not, or if the native one declines."""
    ours = native(case)
    return None if ours is None else _disagreement(case, ours)


def _disagreement(case: Case, ours: bytes) -> str | None:
    for allow_nan in (False, True):
        theirs = reference(case, allow_nan=allow_nan)
        if theirs != ours:
            return f"native    {ours!r}\nreference {theirs!r}, allow_nan={allow_nan}"
    return None


def shrink(case: Case, fails: Callable[[Case], object]) -> Case:
    """The case without the parts that it fails without, as far as deleting them one by one goes."""
    data = case.data
    size = max(len(data) // 2, 1)
    while True:
        at, before = 0, len(data)
        while at < len(data):
            shorter = data[:at] + data[at + size :]
            if fails(case._replace(data=shorter)):
                data = shorter
            else:
                at += size
        if size == 1 and len(data) == before:
            return case._replace(data=data)
        size = max(size // 2, 1)


def check(case: Case, tally: Tally) -> None:
    """Compares the implementations on one case.

    Raises:
        AssertionError: They differ.
    """
    ours = native(case)
    if ours is not None:
        tally.same += 1
        if _disagreement(case, ours) is not None:
            small = shrink(case, difference)
            name = small.kind.DESCRIPTOR.name
            raise AssertionError(f"{small.form} {name} {small.data!r}\n{difference(small)}")
        return
    tally.declined += 1
    if tally.declined % _ASKED == 0:
        tally.asked += 1
        if isinstance(reference(case), bytes):
            tally.causes[_cause(case)] += 1


_LONG_NUMBER = re.compile(rb"[:\[,\s]-?[0-9]{15,}[\s,}\]]")


def _cause(case: Case) -> str:
    """Why the native implementation declines what the reference converts, as far as it shows."""
    if case.form == BINARY:
        message = case.kind.FromString(case.data)
        own = message.SerializeToString()
        if native(case._replace(data=own)) is not None:
            return "binary: not as a serializer writes it"
        texts = [part.extra_json.encode() for _, part in walk(message) if isinstance(part, Residue)]
        if any(_has_duplicates(text) for text in texts if text):
            return "binary: duplicate members in free JSON"
        return "binary: other"
    if _has_duplicates(case.data):
        return "json: duplicate members"
    return "json: long integer" if _LONG_NUMBER.search(case.data) else "json: other"


def _has_duplicates(text: bytes) -> bool:
    found = False

    def pairs(items: list[tuple[str, Any]]) -> None:
        nonlocal found
        found = found or len({name for name, _ in items}) < len(items)

    try:
        json.loads(text.decode("utf-8-sig"), object_pairs_hook=pairs)
    except ValueError:
        return False
    return found


# --- JSON ---------------------------------------------------------------------------------------

_ODD: Final = [
    *["null", "true", "false", "[]", "{}", '""', "0", "1", "-1", "-0", "0.0", "-0.0", "1.0"],
    *["1e0", "1E2", "1e+2", "1e400", "-1e400", "1e-400", "0.1e-7", "5.37e-06", "1.5", "0.1"],
    *["2147483647", "2147483648", "-2147483648", "-2147483649", "9007199254740993"],
    *["9223372036854775807", "9223372036854775808", "-9223372036854775808", "999999999999999"],
    *["1000000000000000", "18446744073709551616", "9007199254740993.0", "123456789012345.6789"],
    *["0.1000000000000000055511151231257827", "1.7976931348623157e308", "5e-324", "1e22", "1e23"],
    *[
        "1e16",
        "1e21",
        "123456789012345680.0",
        "0.00001",
        "0.000001",
        "1e-7",
        "2.2250738585072014e-308",
    ],
    *["NaN", "Infinity", "-Infinity", "01", "+1", "1.", ".5", "-", "tru", "nul", "0x1", "1e"],
    *['"\\ud800"', '"\\udc00a"', '"\\ud83d\\ude00"', '"\\ud83d\\u0041"', '"a\\u0000b"', '"\\/"'],
    *[
        '"\\u00e9"',
        '"\\u00E9"',
        '"\\x"',
        '"\\u12"',
        '"\\ud800\\u12"',
        '"\x7f"',
        '"\u2028\U0001f600"',
    ],
    *[
        '"YQ=="',
        '"YQ="',
        '"YR=="',
        '"YQ==\\ud800"',
        '"YW\\u004a="',
        '"YQ\\n=="',
        '"=YQ="',
        '"-_-_"',
    ],
    *['"chat.completion"', '"chat.completion\\ud800"', '"chat\\u002ecompletion"', '"assistant"'],
    *['"stop"', '"st\\u006fp"', '"STOP"', '"unspecified"', '"auto"', '"text"', '"list"'],
    *[
        "[1]",
        "[256]",
        "[-1]",
        "[01]",
        "[1.0]",
        "[true]",
        "[0,255]",
        "[ 104 , 105 ]",
        "[1e0]",
        "[-0]",
    ],
    *[
        "[97]",
        "[null]",
        "[[]]",
        "[{}]",
        '["a"]',
        '["a",1]',
        '[""]',
        '["\\ud800"]',
        "[1,]",
        "[{},1]",
    ],
    *['{"a":1}', '{"a":1,"a":2}', '{"\\u0061":1,"a":2}', '{"b":"x","a":"y"}', '{"a":"x","ab":"y"}'],
    *['{"ab":"x","a":"y","":"z"}', '{"\\ud800":"x"}', '{"a":0.5,"b":1}', '{"a":["text"],"b":[]}'],
    *['{"type":"text","text":"a"}', '{"bytes":[97],"token":"a"}', '{"token":"a","bytes":[97]}'],
    *['{"bytes":[98],"token":"a","logprob":0}', '{"bytes":[],"token":"\\ud800"}', '{"é":1,"ё":2}'],
]
_SPACES: Final = [" ", "\n", "\t\r", "  ", "", "\x0b", "\u00a0", "/**/"]
_NAMES: Final = ["x", "residue", "", "\\u0078", "\\ud800", "é", "__proto__", "a b", '\\"', "\\n"]
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"')
_SCALAR = re.compile(r"[^\s,\]}]+")


class _Member(NamedTuple):
    start: int
    name_end: int
    value: int
    end: int


@dataclass
class _Text:
    """A JSON text, and where its parts stand."""

    text: str
    values: list[tuple[int, int]] = field(default_factory=list)
    strings: list[tuple[int, int]] = field(default_factory=list)
    objects: list[list[_Member]] = field(default_factory=list)
    openings: list[int] = field(default_factory=list)
    """The places behind the opening brackets of objects."""

    def __post_init__(self) -> None:
        self._value(self._space(0))

    def _space(self, at: int) -> int:
        while at < len(self.text) and self.text[at] in " \t\r\n\ufeff":
            at += 1
        return at

    def _value(self, at: int) -> int:
        start, text = at, self.text
        if text[at] == '"':
            at = self._string(at)
        elif text[at] in "[{":
            is_object, closing = text[at] == "{", "]}"[text[at] == "{"]
            at += 1
            members: list[_Member] = []
            if is_object:
                self.openings.append(at)
                self.objects.append(members)
            at = self._space(at)
            while text[at] != closing:
                if is_object:
                    name_end = self._string(at)
                    value = self._space(self._space(name_end) + 1)
                    end = self._value(value)
                    members.append(_Member(at, name_end, value, end))
                else:
                    end = self._value(at)
                at = self._space(end)
                if text[at] == ",":
                    at = self._space(at + 1)
            at += 1
        else:
            match = _SCALAR.match(text, at)
            if match is None:
                raise ValueError(f"expected a value at {at}")
            at = match.end()
        self.values.append((start, at))
        return at

    def _string(self, at: int) -> int:
        match = _STRING.match(self.text, at)
        if match is None:
            raise ValueError(f"expected a string at {at}")
        self.strings.append(match.span())
        return match.end()


class _JsonMutator:
    """Makes texts from those of all types."""

    def __init__(self, rng: random.Random, names: Sequence[str], words: Sequence[str]) -> None:
        self.rng = rng
        self.names = [*names, *_NAMES]
        self.values = [*_ODD, *(f'"{word}"' for word in words)]
        self.steps = [
            *[self._replace] * 6,
            *[self._rename, self._escape, self._duplicate, self._delete, self._swap, self._insert],
            *[self._insert, self._space, self._nest, self._string, self._number, self._copy],
        ]

    def mutate(self, seed: _Text) -> bytes:
        rng = self.rng
        edits: list[tuple[int, int, str]] = []
        for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5))):
            edits.extend(rng.choice(self.steps)(seed))
        text, low = seed.text, len(seed.text)
        for start, end, new in sorted(edits, reverse=True):
            if end <= low:  # those that overlap are left out
                text = text[:start] + new + text[end:]
                low = start
        data = text.encode("utf-8", "surrogatepass")
        return garble(data, rng) if rng.random() < 0.1 else data

    def _odd(self) -> str:
        return self.rng.choice(self.values)

    def _replace(self, seed: _Text) -> list[tuple[int, int, str]]:
        start, end = self.rng.choice(seed.values)
        return [(start, end, self._odd())]

    def _copy(self, seed: _Text) -> list[tuple[int, int, str]]:
        start, end = self.rng.choice(seed.values)
        other = self.rng.choice(seed.values)
        return [(start, end, seed.text[slice(*other)])]

    def _members(self, seed: _Text) -> list[_Member]:
        return self.rng.choice(seed.objects) if seed.objects else []

    def _rename(self, seed: _Text) -> list[tuple[int, int, str]]:
        members = self._members(seed)
        if not members:
            return []
        member = self.rng.choice(members)
        return [(member.start, member.name_end, f'"{self.rng.choice(self.names)}"')]

    def _escape(self, seed: _Text) -> list[tuple[int, int, str]]:
        strings = [span for span in seed.strings if span[1] - span[0] > 2]
        if not strings:
            return []
        start, end = self.rng.choice(strings)
        at = self.rng.randrange(start + 1, end - 1)
        char = seed.text[at]
        if char == "\\" or ord(char) > 0xFFFF:
            return [(at, at, self.rng.choice(("\\ud800", "\\u0000", "\\n", "\\/")))]
        return [(at, at + 1, f"\\u{ord(char):04x}")]

    def _duplicate(self, seed: _Text) -> list[tuple[int, int, str]]:
        members = self._members(seed)
        if not members:
            return []
        member, where = self.rng.choice(members), self.rng.choice(members)
        text = seed.text[member.start : member.end]
        if self.rng.random() < 0.5:
            text = f"{seed.text[member.start : member.name_end]}:{self._odd()}"
        return [(where.start, where.start, f"{text},")]

    def _delete(self, seed: _Text) -> list[tuple[int, int, str]]:
        members = self._members(seed)
        if not members:
            return []
        place = self.rng.randrange(len(members))
        if place + 1 < len(members):
            return [(members[place].start, members[place + 1].start, "")]
        start = members[place - 1].end if place else members[place].start
        return [(start, members[place].end, "")]

    def _swap(self, seed: _Text) -> list[tuple[int, int, str]]:
        members = self._members(seed)
        if len(members) < 2:
            return []
        order = self.rng.sample(members, len(members))
        pairs = zip(members, order, strict=True)
        return [(a.start, a.end, seed.text[b.start : b.end]) for a, b in pairs]

    def _insert(self, seed: _Text) -> list[tuple[int, int, str]]:
        if not seed.openings:
            return []
        place = self.rng.randrange(len(seed.openings))
        at, comma = seed.openings[place], "," if seed.objects[place] else ""
        return [(at, at, f'"{self.rng.choice(self.names)}":{self._odd()}{comma}')]

    def _space(self, seed: _Text) -> list[tuple[int, int, str]]:
        start, end = self.rng.choice(seed.values + seed.strings)
        at = self.rng.choice((start, end))
        return [(at, at, self.rng.choice(_SPACES))]

    def _nest(self, seed: _Text) -> list[tuple[int, int, str]]:
        start, end = self.rng.choice(seed.values)
        levels = self.rng.choice((1, 2, 190, 195, 196, 197, 198, 199, 200, 201))
        if self.rng.random() < 0.5:
            return [(start, start, "[" * levels), (end, end, "]" * levels)]
        return [(start, start, '{"a":' * levels), (end, end, "}" * levels)]

    def _string(self, seed: _Text) -> list[tuple[int, int, str]]:
        start, end = self.rng.choice(seed.values)
        size = self.rng.choice((1, 7, 8, 9, 15, 16, 17, 127, 128, 300))
        pieces = self.rng.choices(
            ["a", "é", "\\n", "\\u0001", "\\ud800", "\U0001f600", " "], k=size
        )
        plain = "a" * size
        return [(start, end, f'"{plain if self.rng.random() < 0.5 else "".join(pieces)}"')]

    def _number(self, seed: _Text) -> list[tuple[int, int, str]]:
        start, end = self.rng.choice(seed.values)
        return [(start, end, random_number(self.rng))]


def random_number(rng: random.Random) -> str:
    """A JSON number of any length and form."""
    kind = rng.randrange(4)
    if kind == 0:
        (value,) = struct.unpack("<d", rng.randbytes(8))
        return repr(value) if value - value == 0 else "1.5"
    whole = str(rng.randrange(10 ** rng.choice((1, 2, 5, 14, 15, 16, 17, 18, 19, 20, 30))))
    sign = rng.choice(("", "-"))
    if kind == 1:
        return sign + whole
    digits = "".join(rng.choices("0123456789", k=rng.choice((1, 2, 6, 15, 16, 17, 18, 19, 20, 25))))
    exponent = f"{rng.choice('eE')}{rng.choice(('', '+', '-'))}{rng.randrange(330)}"
    return f"{sign}{whole}.{digits}{exponent if kind == 2 else ''}"


def garble(data: bytes, rng: random.Random) -> bytes:
    """Changes bytes here and there."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(out) + 1)
        step = rng.randrange(5)
        if step == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif step == 1:
            del out[at : at + rng.choice((1, 1, 2, 8))]
        elif step == 2:
            out[at:at] = rng.randbytes(rng.choice((1, 1, 2, 8)))
        elif step == 3:
            start = rng.randrange(len(out) + 1)
            out[at:at] = out[start : start + rng.randrange(16)]
        elif rng.random() < 0.3:
            del out[at:]
    return bytes(out)


# --- binary -------------------------------------------------------------------------------------

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_Nodes = list["_Node"]


class _Node(NamedTuple):
    """A field on the wire.

    Attributes:
        number: The number of the field.
        wire_type: Its wire type.
        value: A number, bytes, or the fields of a message.
        pads: How many bytes too long its tag is, and its number or its length.
    """

    number: int
    wire_type: int
    value: int | bytes | _Nodes
    pads: tuple[int, int] = (0, 0)


def _varint(value: int, pad: int = 0) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    if pad:
        out[-1] |= 0x80
        out += b"\x80" * (pad - 1) + b"\0"
    return bytes(out)


def _encode(nodes: _Nodes) -> bytes:
    pieces = []
    for number, wire_type, value, (tag_pad, pad) in nodes:
        pieces.append(_varint(number << 3 | wire_type, tag_pad))
        if isinstance(value, int):
            if wire_type == _VARINT:
                pieces.append(_varint(value, pad))
            else:
                pieces.append(value.to_bytes(8 if wire_type == _FIXED64 else 4, "little"))
            continue
        data = value if isinstance(value, bytes) else _encode(value)
        pieces.append(_varint(len(data), pad) + data)
    return b"".join(pieces)


def _decode(data: bytes, below: Callable[[int], Any]) -> _Nodes:
    """The fields of a message; `below` gives the same for the message in a field, or None."""
    nodes = []
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    while at < len(data):
        tag = varint()
        number, wire_type = tag >> 3, tag & 7
        value: int | bytes | _Nodes
        if wire_type == _VARINT:
            value = varint()
        elif wire_type == _BYTES:
            size = varint()
            value = data[at : at + size]
            at += size
            inner = below(number)
            if inner is not None:
                value = _decode(value, inner)
        else:
            size = 8 if wire_type == _FIXED64 else 4
            value = int.from_bytes(data[at : at + size], "little")
            at += size
        nodes.append(_Node(number, wire_type, value))
    return nodes


def _below(mapped: MessageType) -> Callable[[int], Any]:
    def below(number: int) -> Any:
        if mapped.residue is not None and number == mapped.residue.number:
            return lambda _: None
        found = mapped.by_number.get(number)
        if found is None:
            return None
        if found.map_value is not None:
            value = found.map_value.message
            return lambda part: _below(value) if part == 2 and value is not None else None
        return None if found.message is None else _below(found.message)

    return below


_PADS: Final = (0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 8, 9)
_FREE: Final = [
    *[b"", b"{}", b'{"x":1}', b' {"x" : [1, {"a":2}]} ', b'{"x":1,"x":2}', b'{"choices":1}', b"{"],
    *[b'{"content":null,"model":2,"id":[]}', b'{"bytes":1}', b'{"token":1}', b"[]", b"1", b"NaN"],
    *[b'{"x":NaN}', b'{"x":-0,"y":1E5,"z":1e400}', b'{"\\u0069d":1}', b'{"x":"\\ud800"}', b"{}{}"],
    *[
        b"\xef\xbb\xbf{}",
        b'{"x":' + b"[" * 198 + b"]" * 198 + b"}",
        b'"\\u00e9\\/"',
        b"\xff",
        b" 1 ",
    ],
]


class _BinaryMutator:
    """Makes binary messages from those of all types."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def mutate(self, seed: _Nodes, other: _Nodes) -> bytes:
        rng = self.rng
        nodes = seed
        for _ in range(rng.choice((1, 1, 2, 3))):
            nodes = self._step(nodes, other)
        data = _encode(nodes)
        return garble(data, rng) if rng.random() < 0.15 else data

    def _step(self, nodes: _Nodes, other: _Nodes) -> _Nodes:
        rng = self.rng
        nodes = list(nodes)
        inner = [place for place, node in enumerate(nodes) if isinstance(node.value, list)]
        if inner and rng.random() < 0.6:
            place = rng.choice(inner)
            value = nodes[place].value
            assert isinstance(value, list)
            nodes[place] = nodes[place]._replace(value=self._step(value, other))
            return nodes
        step = rng.randrange(9)
        if step == 0:
            rng.shuffle(nodes)
        elif step == 1:
            nodes.insert(rng.randint(0, len(nodes)), self._node())
        elif step == 2 and other:
            nodes.insert(rng.randint(0, len(nodes)), rng.choice(other))
        elif nodes:
            place = rng.randrange(len(nodes))
            node = nodes[place]
            if step == 3:
                del nodes[place]
            elif step == 4:
                nodes.insert(rng.randint(0, len(nodes)), node)
            elif step == 5:
                nodes[place] = node._replace(pads=(rng.choice(_PADS), rng.choice(_PADS)))
            elif step == 6:
                nodes[place] = node._replace(number=self._number())
            else:
                nodes[place] = self._change(node)
        return nodes

    def _number(self) -> int:
        rng = self.rng
        return rng.choice(
            (0, 1, 2, 3, 4, 5, 15, 16, rng.randrange(60), 100, 101, 102, 1 << 29, 1 << 32)
        )

    def _change(self, node: _Node) -> _Node:
        value: int | bytes
        if isinstance(node.value, int):
            value = self._integer() if node.wire_type == _VARINT else self._double()
        elif isinstance(node.value, list) and self.rng.random() < 0.3:
            value = b""
        else:
            value = self._bytes()
        return node._replace(value=value if node.wire_type != _FIXED32 else 1)

    def _node(self) -> _Node:
        number, wire_type = self._number(), self.rng.choice((0, 0, 1, 2, 2, 2, 5))
        if wire_type == _BYTES:
            return _Node(number, wire_type, self._bytes())
        value = self._integer() if wire_type == _VARINT else self._double()
        return _Node(number, wire_type, value if wire_type != _FIXED32 else 1)

    def _integer(self) -> int:
        rng = self.rng
        edges = (
            0,
            1,
            2,
            127,
            128,
            (1 << 31) - 1,
            1 << 31,
            1 << 32,
            1 << 63,
            (1 << 64) - 1,
            1 << 64,
        )
        return rng.choice((*edges, rng.randrange(20), rng.randrange(1 << 64)))

    def _double(self) -> int:
        rng = self.rng
        special = (0.0, -0.0, 1.0, 0.1, 1e15, 1e16, 1e17, 1e21, 1e22, 1e-5, 1e-6, 1e-7, 5e-324)
        more = (float("nan"), float("inf"), float("-inf"), 1.7976931348623157e308, 123456789.0)
        simple = rng.randrange(-(10**6), 10**6) / 10 ** rng.randrange(9)
        power = 10.0 ** rng.randrange(-30, 30) * rng.choice((1, -1, 3, 1.5))
        if rng.random() < 0.3:
            return rng.randrange(1 << 64)
        value = rng.choice((*special, *more, simple, simple, power, power))
        return int.from_bytes(struct.pack("<d", value), "little")

    def _bytes(self) -> bytes:
        rng = self.rng
        kind = rng.randrange(5)
        if kind < 2:
            return rng.choice(_FREE)
        if kind == 2:
            numbers = (self._number() for _ in range(rng.randrange(4)))
            return b"".join(_varint(number, rng.choice(_PADS)) for number in numbers)
        if kind == 3:
            return rng.randbytes(rng.randrange(6))
        size = rng.choice((0, 1, 8, 20, 127, 128, 200))
        return "".join(
            rng.choices(["a", "é", "\n", "\x01", '"', "\\", "\U0001f600"], k=size)
        ).encode()


# --- seeds and the run --------------------------------------------------------------------------


class Fuzzer:
    """An endless supply of cases, the same for the same seed.

    Args:
        seed: Of the random numbers.
        corpus: A folder of more texts and messages, by their endings `.json` and `.binpb`; the
            type is looked for, since the names do not say it.
    """

    def __init__(self, seed: int, corpus: Path | None = None) -> None:
        self.rng = random.Random(seed)
        self.texts: dict[type[Message], list[_Text]] = {kind: [] for kind in MIRRORS}
        self.binaries: dict[type[Message], list[_Nodes]] = {kind: [] for kind in MIRRORS}
        self.first: list[Case] = []
        for vector in vectors():
            self._add_text(vector.message_type, vector.json)
            self._add_message(vector.message_type.FromString(vector.binary))
        manifest = json.loads((VECTORS / "invalid" / "manifest.json").read_bytes())
        for entry in manifest:
            ending = "json" if entry["form"] == JSON else "binpb"
            data = (VECTORS / "invalid" / f"{entry['name']}.{ending}").read_bytes()
            self.first.append(Case(entry["form"], message_class(entry["message_type"]), data))
        for path in sorted(corpus.rglob("*")) if corpus is not None else ():
            if path.suffix in (".json", ".binpb"):
                self._add_file(path.read_bytes(), JSON if path.suffix == ".json" else BINARY)
        names = sorted({name for kind in MIRRORS for name in mapping_of(kind).fields})
        words = {
            word
            for kind in MIRRORS
            for found in mapping_of(kind).fields.values()
            if found.enum is not None
            for word in found.enum.numbers
        }
        self.json_mutator = _JsonMutator(self.rng, names, sorted(words))
        self.binary_mutator = _BinaryMutator(self.rng)
        self.kinds_with_texts = [kind for kind in MIRRORS if self.texts[kind]]

    def _add_text(self, kind: type[Message], data: bytes) -> None:
        self.first.append(Case(JSON, kind, data))
        self.texts[kind].append(_Text(data.decode()))

    def _add_message(self, message: Message) -> None:
        """Adds a message and those in it, as bytes and as text."""
        for _, part in walk(message):
            kind = type(part)
            if kind not in self.binaries:
                continue  # a union or a residue
            data = part.SerializeToString(deterministic=True)
            case = Case(BINARY, kind, data)
            self.first.append(case)
            if len(data) <= _LONG:
                self.binaries[kind].append(_decode(data, _below(mapping_of(kind))))
                text = reference(case)
                if isinstance(text, bytes):
                    self.texts[kind].append(_Text(text.decode()))

    def _add_file(self, data: bytes, form: str) -> None:
        if len(data) > _LONG:
            return
        for kind in MIRRORS[:1] if form == JSON else MIRRORS:
            case = Case(form, kind, data)
            self.first.append(case)
            if form == JSON and find_error(data, allow_nan=False) is None:
                for each in (message_class(f"chatpb.v1.{name}") for name in _ROOTS):
                    self._add_text(each, data)
            elif form == BINARY:
                try:
                    self._add_message(kind.FromString(data))
                except DecodeError:
                    continue

    def cases(self) -> Iterator[Case]:
        """The seeds as they are, and then mutations of them without end."""
        yield from self.first
        rng = self.rng
        while True:
            kind = rng.choice(self.kinds_with_texts)
            if rng.random() < 0.55:
                data = self.json_mutator.mutate(self._choose(self.texts[kind]))
                other = kind if rng.random() < 0.97 else rng.choice(MIRRORS)
                yield Case(JSON, other, data)
            else:
                seeds = self.binaries[kind] or [[]]
                other_nodes = rng.choice(seeds)
                data = self.binary_mutator.mutate(rng.choice(seeds), other_nodes)
                other = kind if rng.random() < 0.97 else rng.choice(MIRRORS)
                yield Case(BINARY, other, data)

    def _choose(self, seeds: list[_Text]) -> _Text:
        """One of the seeds, rather a short one: many small cases find more than few large ones."""
        one, two = self.rng.choice(seeds), self.rng.choice(seeds)
        return one if len(one.text) <= len(two.text) else two


_ROOTS: Final = ("ChatCompletion", "ChatCompletionChunk", "ChatCompletionRequest")


def run(count: int, seed: int, corpus: Path | None = None, seconds: float = 1e9) -> Tally:
    """Compares the implementations on so many cases.

    Raises:
        AssertionError: They differ.
    """
    tally, end = Tally(), time.monotonic() + seconds
    for case in Fuzzer(seed, corpus).cases():
        if tally.total >= count or (tally.total % 256 == 0 and time.monotonic() > end):
            break
        check(case, tally)
    return tally


def main() -> None:
    """Runs the fuzzer from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="S")
    parser.add_argument("--corpus", type=Path, metavar="DIR")
    parser.add_argument("--seconds", type=float, default=1e9, metavar="MAX")
    arguments = parser.parse_args()
    if transcoder is None:
        sys.exit("the native implementation was not built")
    start = time.monotonic()
    try:
        tally = run(arguments.count, arguments.seed, arguments.corpus, arguments.seconds)
    except AssertionError as error:
        sys.exit(f"the implementations differ\n{error}")
    print(tally)
    print(f"{tally.total / (time.monotonic() - start):.0f} cases/s")


if __name__ == "__main__":
    main()
