"""Length-delimited messages, read from a stream: each comes after its length as a varint.

``parseDelimitedFrom`` and its counterparts in other languages read the same form;
`chatpb._wire.delimited` writes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

from chatpb import _wire
from chatpb._errors import ConversionError

_MAX_LENGTH: Final = 5  # bytes of a 32-bit varint: no message is longer than 2 GiB


def read_delimited(stream: BinaryIO, limit: int) -> Iterator[tuple[int, bytes]]:
    """Reads messages one by one, each with its offset.

    Args:
        stream: A buffered stream.
        limit: The largest size of one message, in bytes.

    Raises:
        ConversionError: The stream ends within a message, or a message is too long.
    """
    offset = 0
    while prefix := _read_length(stream, offset):
        length, width = _wire.varint(prefix, 0)
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


def _read_length(stream: BinaryIO, offset: int) -> bytes:
    """The bytes of a varint; none at the end of the stream."""
    prefix = b""
    while len(prefix) < _MAX_LENGTH:
        byte = stream.read(1)
        if not byte:
            if prefix:
                raise ConversionError(
                    "the stream ends within the length of a message", offset=offset
                )
            return b""
        prefix += byte
        if byte[0] < 0x80:
            return prefix
    raise ConversionError("not the length of a message", offset=offset)
