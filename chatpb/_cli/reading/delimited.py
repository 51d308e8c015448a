"""Length-delimited messages: each after its length as a varint.

The form that ``parseDelimitedFrom`` and its like read in every language.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from chatpb._errors import ConversionError

_MAX_VARINT = 5  # bytes, of a 32-bit length: no message is longer than 2 GiB


def delimited(data: bytes) -> bytes:
    """A message with its length before it."""
    length, prefix = len(data), bytearray()
    while length > 0x7F:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    prefix.append(length)
    return bytes(prefix) + data


def read_delimited(stream: BinaryIO, limit: int) -> Iterator[tuple[int, bytes]]:
    """Reads messages one by one, each with its offset.

    Args:
        stream: A buffered stream.
        limit: The most bytes that one message may have.

    Raises:
        ConversionError: The stream ends within a message, or one is longer than it may be.
    """
    offset = 0
    while True:
        width, length = _read_length(stream, offset)
        if width == 0:
            return
        if length > limit:
            raise ConversionError(
                f"a message of {length} bytes, more than the {limit} of --max-size;"
                " are these length-delimited messages?",
                offset=offset,
            )
        data = stream.read(length)
        if len(data) < length:
            raise ConversionError(
                f"the stream ends within a message: {len(data)} of {length} bytes", offset=offset
            )
        yield offset, data
        offset += width + length


def _read_length(stream: BinaryIO, offset: int) -> tuple[int, int]:
    """The width and the value of a varint; a width of 0 at the end of the stream."""
    value = 0
    for width in range(_MAX_VARINT):
        byte = stream.read(1)
        if not byte:
            if width == 0:
                return 0, 0
            raise ConversionError("the stream ends within the length of a message", offset=offset)
        value |= (byte[0] & 0x7F) << (7 * width)
        if byte[0] < 0x80:
            return width + 1, value
    raise ConversionError("not the length of a message", offset=offset)
