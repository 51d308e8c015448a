"""The zstd frames that a log consists of: made, checked before use, found again after damage.

See https://datatracker.ietf.org/doc/html/rfc8878. Where a frame ends is read from the headers of
its blocks, so that a frame that is cut is known for sure: the stream reader of python-zstandard
takes it for the end of the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final, NamedTuple

import zstandard

from chatpb._wire import WireError, varint, varint_bytes

MAX_MESSAGE_BYTES: Final = 256 * 1024 * 1024
MAGIC: Final = b"\x28\xb5\x2f\xfd"
_MAX_CONTENT: Final = MAX_MESSAGE_BYTES + 64 * 1024  # a message, its length, its encryption
_MAX_HEADER: Final = 14  # also the shortest frame
_MAX_BLOCK: Final = 128 * 1024
_READ_AHEAD: Final = 1024 * 1024
_LONG: Final = 8 * 1024 * 1024  # a read that is not held for the next one
_SIZE_BYTES: Final = (1, 2, 4, 8)


class BadFrameError(Exception):
    """Bytes that are not a whole frame of a log.

    Attributes:
        reason: What is wrong with them.
        is_cut: Whether the file ended before the frame did.
    """

    def __init__(self, reason: str, is_cut: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_cut = is_cut


class Frame(NamedTuple):
    """A whole frame.

    Attributes:
        end: Where the next one begins.
        messages: The messages in it.
    """

    end: int
    messages: list[bytes]


class Source:
    """The bytes of a file, read ahead. It holds about as many as the longest short read."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._start = 0
        self._data = b""
        self.decompressor = zstandard.ZstdDecompressor()

    def read(self, offset: int, size: int) -> bytes:
        """The bytes at a place; fewer than asked for at the end of the file."""
        if size > _LONG:
            return self._pread(offset, size)
        at = offset - self._start
        if at < 0 or at + size > len(self._data):
            self._data = self._pread(offset, max(size, _READ_AHEAD))
            self._start, at = offset, 0
        return self._data[at : at + size]

    def _pread(self, offset: int, wanted: int) -> bytes:
        pieces: list[bytes] = []
        while wanted and (piece := os.pread(self._fd, wanted, offset)):
            pieces.append(piece)
            offset += len(piece)
            wanted -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def forget(self) -> None:
        """Reads anew from here on, since the file may have changed."""
        self._data = b""

    @property
    def size(self) -> int:
        """How long the file is now."""
        return os.fstat(self._fd).st_size


class Content(Source):
    """Bytes in memory, instead of a file."""

    def __init__(self, data: bytes, decompressor: zstandard.ZstdDecompressor) -> None:
        self._data = data
        self.decompressor = decompressor

    def read(self, offset: int, size: int) -> bytes:
        """The bytes at a place; fewer than asked for at the end."""
        return self._data[offset : offset + size]

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self._data)


class Encoder:
    """Makes frames.

    Args:
        level: How hard zstd tries.
    """

    def __init__(self, level: int) -> None:
        self._compressor = zstandard.ZstdCompressor(
            level=level, write_checksum=True, write_content_size=True
        )

    def encode(self, messages: Iterable[bytes]) -> bytes:
        """The frame that holds messages; there is at least one."""
        pieces: list[bytes] = []
        for message in messages:
            pieces += (varint_bytes(len(message)), message)
        return self.encode_content(pieces)

    def encode_content(self, pieces: Iterable[bytes]) -> bytes:
        """The frame whose content has these pieces."""
        return self._compressor.compress(b"".join(pieces))


def read_frame(source: Source, offset: int) -> Frame | None:
    """The frame that begins at a place, or None where the file ends there.

    Raises:
        BadFrameError: No whole frame begins there.
    """
    found = _extent(source, offset)
    if found is None:
        return None
    end, size = found
    try:
        data = source.read(offset, end - offset)
        content = source.decompressor.decompress(data, max_output_size=size)
        del data  # a message may take most of the memory
    except zstandard.ZstdError as error:
        raise BadFrameError(str(error).removeprefix("decompression error: ").lower()) from error
    return Frame(end, _messages(content))


def find_frame(source: Source, offset: int, limit: int | None = None) -> int | None:
    """Where the first whole frame begins, from a place on and before another.

    Args:
        source: The file.
        offset: Where to begin.
        limit: Where to stop; None is the end of the file.
    """
    while limit is None or offset < limit:
        data = source.read(offset, _READ_AHEAD)
        at = data.find(MAGIC)
        if at < 0:
            if len(data) < _READ_AHEAD:
                return None
            offset += len(data) - len(MAGIC) + 1
            continue
        offset += at
        try:
            read_frame(source, offset)
        except BadFrameError:
            offset += 1
        else:
            return offset if limit is None or offset < limit else None
    return None


def last_frame(source: Source) -> tuple[int, int]:
    """Where the last whole frame begins and ends, found from the end of the file.

    Returns:
        Both are 0 if there is none.
    """
    size = source.size
    window = _READ_AHEAD
    while True:
        start = max(0, size - window)
        found = find_frame(source, start)
        if found is not None:
            break
        if not start:
            return 0, 0
        window *= 8
    start = end = found
    while found is not None:
        end = found
        try:
            while (frame := read_frame(source, end)) is not None:
                start, end = end, frame.end
        except BadFrameError:
            found = find_frame(source, end + 1)
        else:
            found = None
    return start, end


def is_left_by_a_crash(source: Source, offset: int, error: BadFrameError) -> bool:
    """Whether the bytes from a place to the end look like a write that was interrupted.

    They are then the beginning of a frame, or zeros where a file system had made room and not yet
    written. A frame that is all there and wrong is something else.
    """
    if error.is_cut:
        return True
    size = source.size
    last = source.read(max(offset, size - 64), 64)
    return not any(last)


def _extent(source: Source, offset: int) -> tuple[int, int] | None:
    """Where a frame ends and how long its content is, by its headers."""
    header = source.read(offset, _MAX_HEADER)
    if not header:
        return None
    if not header.startswith(MAGIC):
        raise BadFrameError("no frame begins there", MAGIC.startswith(header))
    if len(header) < _MAX_HEADER:
        raise BadFrameError("cut in the header of a frame", is_cut=True)
    descriptor = header[4]
    is_single = descriptor >> 5 & 1
    size_kind = descriptor >> 6
    if descriptor & 0b1000 or descriptor & 0b11:
        raise BadFrameError("a frame with a reserved bit or a dictionary")
    if not descriptor & 0b100:
        raise BadFrameError("a frame without a checksum")
    if not size_kind and not is_single:
        raise BadFrameError("a frame without the length of its content")
    at = 5 if is_single else 6
    size = int.from_bytes(header[at : at + _SIZE_BYTES[size_kind]], "little")
    size += 256 if size_kind == 1 else 0
    at += _SIZE_BYTES[size_kind]
    if not 0 < size <= _MAX_CONTENT:
        raise BadFrameError(f"a frame of {size} bytes of content; the most is {_MAX_CONTENT}")
    longest = size + size // 128 + 1024  # beyond what zstd makes of content that does not shrink
    end = offset + at
    is_last = 0
    while not is_last:
        block = source.read(end, 3)
        if len(block) < 3:
            raise BadFrameError("cut in the middle of a frame", is_cut=True)
        word = int.from_bytes(block, "little")
        is_last, kind, block_size = word & 1, word >> 1 & 3, word >> 3
        if kind == 3 or block_size > _MAX_BLOCK:
            raise BadFrameError("a frame with a block that zstd does not have")
        end += 4 if kind == 1 else 3 + block_size
        if end - offset > longest:
            raise BadFrameError("a frame that is longer than its content")
    end += 4  # the checksum
    if not source.read(end - 1, 1):
        raise BadFrameError("cut in the middle of a frame", is_cut=True)
    return end, size


def _messages(content: bytes) -> list[bytes]:
    found: list[bytes] = []
    at, size = 0, len(content)
    try:
        while at < size:
            length, start = varint(content, at)
            at = start + length
            found.append(content[start:at])
    except WireError as error:
        raise BadFrameError("content that is not a sequence of messages") from error
    if at != size:
        raise BadFrameError("content that ends in the middle of a message")
    return found
