"""Files that are compressed with gzip or zstd, found by their first bytes and read as they are.

Other formats are found too, only to be named.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

Advance = Callable[[int], None]

_GZIP: Final = re.compile(rb"\x1f\x8b")
_ZSTD: Final = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")  # a frame, or one to skip
_UNREAD: Final = {
    "bzip2": re.compile(rb"BZh[1-9]1A"),
    "xz": re.compile(rb"\xfd7zXZ\0"),
    "LZ4": re.compile(rb"\x04\x22\x4d\x18"),
    "a ZIP archive": re.compile(rb"PK\x03\x04"),
    "Parquet": re.compile(rb"PAR1"),
}
#: How many first bytes find each of them.
LONGEST: Final = 6
_GZIP_WBITS: Final = 31  # zlib's code for gzip
_PIECE: Final = 1024  # bytes that are decompressed at once: 32 MiB at most, as zstd is limited
_PASSED_ON: Final = 64 * 1024  # bytes of a piece of content


class Readable(Protocol):
    """What is read: a file, or a stream that a file is decompressed to."""

    def read1(self, size: int = ..., /) -> bytes:
        """Reads up to that many bytes; none at the end."""
        ...


class Opened:
    """A file or stream, decompressed if it was compressed.

    Args:
        name: Its name, for error messages.
        stream: It, from its first byte.
        failure: Makes the errors, of their text.
        advance: Called with the number of bytes read, before they are decompressed.

    Attributes:
        is_compressed: Whether it was compressed.

    Raises:
        Exception: It has a format that is not read. What reads raises such errors too, if the data
            is damaged.
    """

    def __init__(
        self,
        name: str,
        stream: Readable,
        failure: Callable[[str], Exception],
        advance: Advance = lambda _: None,
    ) -> None:
        self._stream = stream
        self._advance = advance
        self._head = b""
        while len(self._head) < LONGEST and (data := stream.read1(LONGEST)):
            self._head += data
        for what, magic in _UNREAD.items():
            if magic.match(self._head):
                raise failure(f"{name}: {what}, which is not read")
        self.is_compressed = True
        if _GZIP.match(self._head):
            new: Callable[[], Any] = lambda: zlib.decompressobj(wbits=_GZIP_WBITS)  # noqa: E731
            self._decoder = _Decoder(name, "gzip", new, zlib.error, failure)
        elif _ZSTD.match(self._head):
            from chatpb.log._decoding import DECODING_ERROR, frame_decoder  # only zstd needs it

            self._decoder = _Decoder(name, "zstd", frame_decoder, DECODING_ERROR, failure)
        else:
            self.is_compressed = False

    def read1(self, size: int = -1, /) -> bytes:
        """Reads up to that many bytes; none at the end."""
        if not self.is_compressed:
            return self._read(size)
        while not self._decoder.has_output:
            data = self._read(_PIECE)
            if not data:
                self._decoder.close()
                return b""
            self._decoder.feed(data)
        return self._decoder.take(size)

    def pieces(self) -> Iterator[bytes]:
        """What is left, piece by piece."""
        while data := self.read1(_PASSED_ON):
            yield data

    def lines(self) -> Iterator[bytes]:
        """The lines that are left, without their line feeds."""
        start: list[bytes] = []
        for piece in self.pieces():
            first, *others = piece.split(b"\n")
            start.append(first)
            for line in others:
                yield b"".join(start)
                start = [line]
        if any(start):
            yield b"".join(start)

    def _read(self, size: int) -> bytes:
        data = self._head[:size] if size >= 0 else self._head
        self._head = self._head[len(data) :]
        data = data or self._stream.read1(size)
        self._advance(len(data))
        return data


class _Decoder:
    """Decompresses frames that follow one another, as ``cat a.gz b.gz`` makes them."""

    def __init__(
        self,
        name: str,
        what: str,
        new: Callable[[], Any],
        error: type[Exception],
        failure: Callable[[str], Exception],
    ) -> None:
        self._name = name
        self._what = what
        self._new = new
        self._error = error
        self._failure = failure
        self._frame: Any = None
        self._output = memoryview(b"")

    @property
    def has_output(self) -> bool:
        return bool(self._output)

    def take(self, size: int) -> bytes:
        taken = self._output if size < 0 else self._output[:size]
        self._output = self._output[len(taken) :]
        return bytes(taken)

    def feed(self, data: bytes) -> None:
        pieces = []
        while data:
            if self._frame is None:
                data = data.lstrip(b"\0")  # which may fill a block of the medium
                if not data:
                    break
                self._frame = self._new()
            try:
                pieces.append(self._frame.decompress(data))
            except self._error as error:
                raise self._failure(f"{self._name}: damaged {self._what}: {error}") from None
            data = b""
            if self._frame.eof:
                data = self._frame.unused_data
                self._frame = None
        self._output = memoryview(b"".join(pieces))

    def close(self) -> None:
        if self._frame is not None:
            raise self._failure(f"{self._name}: cut {self._what}: the file ends too early")


def is_zstd(head: bytes) -> bool:
    """Whether a file that begins so is compressed with zstd."""
    return _ZSTD.match(head) is not None
