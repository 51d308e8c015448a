"""Mutates messages in binary form: their fields, in any order, of any wire type and length."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from chatpb._mapping.schema import MessageType
from mapping.mutate_json import garble

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
Nodes = list["_Node"]


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
    value: int | bytes | Nodes
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


def encode(nodes: Nodes) -> bytes:
    pieces = []
    for number, wire_type, value, (tag_pad, pad) in nodes:
        pieces.append(_varint(number << 3 | wire_type, tag_pad))
        if isinstance(value, int):
            if wire_type == _VARINT:
                pieces.append(_varint(value, pad))
            else:
                pieces.append(value.to_bytes(8 if wire_type == _FIXED64 else 4, "little"))
            continue
        data = value if isinstance(value, bytes) else encode(value)
        pieces.append(_varint(len(data), pad) + data)
    return b"".join(pieces)


def decode(data: bytes, below: Callable[[int], Any]) -> Nodes:
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
        value: int | bytes | Nodes
        if wire_type == _VARINT:
            value = varint()
        elif wire_type == _BYTES:
            size = varint()
            value = data[at : at + size]
            at += size
            inner = below(number)
            if inner is not None:
                value = decode(value, inner)
        else:
            size = 8 if wire_type == _FIXED64 else 4
            value = int.from_bytes(data[at : at + size], "little")
            at += size
        nodes.append(_Node(number, wire_type, value))
    return nodes


def below_of(mapped: MessageType) -> Callable[[int], Any]:
    def below(number: int) -> Any:
        if mapped.residue is not None and number == mapped.residue.number:
            return lambda _: None
        found = mapped.by_number.get(number)
        if found is None:
            return None
        if found.map_value is not None:
            value = found.map_value.message
            return lambda part: below_of(value) if part == 2 and value is not None else None
        return None if found.message is None else below_of(found.message)

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


class BinaryMutator:
    """Makes binary messages from those of all types."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def mutate(self, seed: Nodes, other: Nodes) -> bytes:
        """Makes bytes of two messages of a type."""
        rng = self.rng
        nodes = seed
        for _ in range(rng.choice((1, 1, 2, 3))):
            nodes = self._step(nodes, other)
        data = encode(nodes)
        return garble(data, rng) if rng.random() < 0.15 else data

    def _step(self, nodes: Nodes, other: Nodes) -> Nodes:
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
