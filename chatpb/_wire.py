"""The outermost fields of a message in binary form, read and written without parsing it.

The relay and the transport forward messages without looking inside. See
https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

_VARINT: Final = 0
_FIXED64: Final = 1
_LENGTH: Final = 2
_FIXED32: Final = 5
#: More bytes take milliseconds to copy.
_LARGE: Final = 8 * 1024 * 1024
_STEP: Final = 1024 * 1024


class WireError(ValueError):
    """Bytes that are not the binary form of a message."""


class Span(NamedTuple):
    """The place of a field.

    Attributes:
        number: Its number.
        start: The offset of its tag.
        value: The offset of its value: after the tag, and after the length if it has one.
        end: The offset of the first byte after it.
    """

    number: int
    start: int
    value: int
    end: int


def spans(data: bytes) -> Iterator[Span]:
    """The fields of a message, in the order of the bytes.

    Raises:
        WireError: The bytes are cut, or not fields.
    """
    at, size = 0, len(data)
    while at < size:
        start = at
        number, value, at = field_at(data, start)
        yield Span(number, start, value, at)


def field_at(data: bytes, start: int) -> tuple[int, int, int]:
    """The field at an offset: its number, and the offsets of its value and of its end.

    Raises:
        WireError: The field is cut, or there is none.
    """
    tag, at = varint(data, start)
    kind = tag & 7
    if kind == _LENGTH:
        length, at = varint(data, at)
        end = at + length
    elif kind == _VARINT:
        end = varint(data, at)[1]
    elif kind == _FIXED64:
        end = at + 8
    elif kind == _FIXED32:
        end = at + 4
    else:
        raise WireError(f"wire type {kind} at byte {start}")
    if end > len(data) or tag < 8:
        raise WireError(f"a field that is cut or has no number at byte {start}")
    return tag >> 3, at, end


def joined(data: bytes, number: int) -> bytes:
    """The embedded message in a field; pieces of one message add up to it."""
    pieces = [part(data, span.value, span.end) for span in spans(data) if span.number == number]
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def part(data: bytes, start: int, end: int) -> bytes:
    """A slice of bytes. If it is large, it is copied without Python's lock, or in short steps."""
    if end - start <= _LARGE:
        return data[start:end]
    steps = range(start, end, _STEP)
    return b"".join([data[step : min(step + _STEP, end)] for step in steps])


def without(data: bytes, number: int) -> bytes:
    """The message without a field."""
    return b"".join(
        part(data, span.start, span.end) for span in spans(data) if span.number != number
    )


def embedded(number: int, messages: Iterable[bytes]) -> bytes:
    """A field that holds a message, once for each message."""
    tag = varint_bytes(number << 3 | _LENGTH)
    pieces: list[bytes] = []
    for message in messages:
        pieces += (tag, varint_bytes(len(message)), message)
    return b"".join(pieces)


def begun(number: int, size: int) -> bytes:
    """What comes before a message of that many bytes, in a field."""
    return varint_bytes(number << 3 | _LENGTH) + varint_bytes(size)


def delimited(message: bytes) -> bytes:
    """A message after its length, as in a stream of length-delimited messages."""
    return varint_bytes(len(message)) + message


def flag(number: int, value: bool = True) -> bytes:
    """A field of type bool; with False as an enum that is zero is written, if it has presence."""
    return varint_bytes(number << 3 | _VARINT) + (b"\x01" if value else b"\x00")


def is_true(data: bytes, number: int) -> bool:
    """Whether a field of type bool is true; if it is repeated, the last one wins."""
    values = [data[span.value : span.end] for span in spans(data) if span.number == number]
    return bool(values) and values[-1] != b"\0"


def varint(data: bytes, at: int) -> tuple[int, int]:
    """The varint at an offset, and the offset of its end.

    Raises:
        WireError: The varint is cut, or has more than 64 bits.
    """
    value = shift = 0
    try:
        if data[at] < 0x80:  # as most are
            return data[at], at + 1
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
            shift += 7
            if shift > 63:
                raise WireError(f"a number of more than 64 bits at byte {at}")
    except IndexError:
        raise WireError(f"cut at byte {at}") from None


_SMALL: Final = [bytes((value,)) for value in range(0x80)]


def varint_bytes(value: int) -> bytes:
    """A number as a varint."""
    if value < 0x80:
        return _SMALL[value]
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)
