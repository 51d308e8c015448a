"""Mutates JSON texts: their values, names, members, white space and depth."""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

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
class Text:
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


class JsonMutator:
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

    def mutate(self, seed: Text) -> bytes:
        """Makes a text of one that is valid."""
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

    def _replace(self, seed: Text) -> list[tuple[int, int, str]]:
        start, end = self.rng.choice(seed.values)
        return [(start, end, self._odd())]

    def _copy(self, seed: Text) -> list[tuple[int, int, str]]:
        start, end = self.rng.choice(seed.values)
        other = self.rng.choice(seed.values)
        return [(start, end, seed.text[slice(*other)])]

    def _members(self, seed: Text) -> list[_Member]:
        return self.rng.choice(seed.objects) if seed.objects else []

    def _rename(self, seed: Text) -> list[tuple[int, int, str]]:
        members = self._members(seed)
        if not members:
            return []
        member = self.rng.choice(members)
        return [(member.start, member.name_end, f'"{self.rng.choice(self.names)}"')]

    def _escape(self, seed: Text) -> list[tuple[int, int, str]]:
        strings = [span for span in seed.strings if span[1] - span[0] > 2]
        if not strings:
            return []
        start, end = self.rng.choice(strings)
        at = self.rng.randrange(start + 1, end - 1)
        char = seed.text[at]
        if char == "\\" or ord(char) > 0xFFFF:
            return [(at, at, self.rng.choice(("\\ud800", "\\u0000", "\\n", "\\/")))]
        return [(at, at + 1, f"\\u{ord(char):04x}")]

    def _duplicate(self, seed: Text) -> list[tuple[int, int, str]]:
        members = self._members(seed)
        if not members:
            return []
        member, where = self.rng.choice(members), self.rng.choice(members)
        text = seed.text[member.start : member.end]
        if self.rng.random() < 0.5:
            text = f"{seed.text[member.start : member.name_end]}:{self._odd()}"
        return [(where.start, where.start, f"{text},")]

    def _delete(self, seed: Text) -> list[tuple[int, int, str]]:
        members = self._members(seed)
        if not members:
            return []
        place = self.rng.randrange(len(members))
        if place + 1 < len(members):
            return [(members[place].start, members[place + 1].start, "")]
        start = members[place - 1].end if place else members[place].start
        return [(start, members[place].end, "")]

    def _swap(self, seed: Text) -> list[tuple[int, int, str]]:
        members = self._members(seed)
        if len(members) < 2:
            return []
        order = self.rng.sample(members, len(members))
        pairs = zip(members, order, strict=True)
        return [(a.start, a.end, seed.text[b.start : b.end]) for a, b in pairs]

    def _insert(self, seed: Text) -> list[tuple[int, int, str]]:
        if not seed.openings:
            return []
        place = self.rng.randrange(len(seed.openings))
        at, comma = seed.openings[place], "," if seed.objects[place] else ""
        return [(at, at, f'"{self.rng.choice(self.names)}":{self._odd()}{comma}')]

    def _space(self, seed: Text) -> list[tuple[int, int, str]]:
        start, end = self.rng.choice(seed.values + seed.strings)
        at = self.rng.choice((start, end))
        return [(at, at, self.rng.choice(_SPACES))]

    def _nest(self, seed: Text) -> list[tuple[int, int, str]]:
        start, end = self.rng.choice(seed.values)
        levels = self.rng.choice((1, 2, 190, 195, 196, 197, 198, 199, 200, 201))
        if self.rng.random() < 0.5:
            return [(start, start, "[" * levels), (end, end, "]" * levels)]
        return [(start, start, '{"a":' * levels), (end, end, "}" * levels)]

    def _string(self, seed: Text) -> list[tuple[int, int, str]]:
        start, end = self.rng.choice(seed.values)
        size = self.rng.choice((1, 7, 8, 9, 15, 16, 17, 127, 128, 300))
        pieces = self.rng.choices(
            ["a", "é", "\\n", "\\u0001", "\\ud800", "\U0001f600", " "], k=size
        )
        plain = "a" * size
        return [(start, end, f'"{plain if self.rng.random() < 0.5 else "".join(pieces)}"')]

    def _number(self, seed: Text) -> list[tuple[int, int, str]]:
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
