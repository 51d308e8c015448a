"""Files that are compressed with gzip or zstd, found by their first bytes and read as they are.

Other formats are found too, only to be named.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable
from typing import Any, Final, Protocol

from chatpb import _endings, _wire
from chatpb._cli.failure import CliError
from chatpb.v1 import CompletionRecord

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
_LONGEST: Final = 6  # bytes that find each of them
_GZIP_WBITS: Final = 31  # zlib's code for gzip
_PIECE: Final = 1024  # bytes that are decompressed at once: 32 MiB at most, as zstd is limited
_LOG_TAG: Final = CompletionRecord.LOG_HEADER_FIELD_NUMBER << 3 | 2


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
        advance: Called with the number of bytes read, before they are decompressed.

    Attributes:
        is_compressed: Whether it was compressed.

    Raises:
        CliError: It has a format that is not read.
    """

    def __init__(self, name: str, stream: Readable, advance: Advance) -> None:
        self._stream = stream
        self._advance = advance
        self._head = b""
        while len(self._head) < _LONGEST and (data := stream.read1(_LONGEST)):
            self._head += data
        for what, magic in _UNREAD.items():
            if magic.match(self._head):
                raise CliError(f"{name}: {what}, which is not read")
        self.is_compressed = True
        if _GZIP.match(self._head):
            new: Callable[[], Any] = lambda: zlib.decompressobj(wbits=_GZIP_WBITS)  # noqa: E731
            self._decoder = _Decoder(name, "gzip", new, zlib.error)
        elif _ZSTD.match(self._head):
            from chatpb.log._decoding import DECODING_ERROR, frame_decoder  # only zstd needs it

            self._decoder = _Decoder(name, "zstd", frame_decoder, DECODING_ERROR)
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

    def _read(self, size: int) -> bytes:
        data = self._head[:size] if size >= 0 else self._head
        self._head = self._head[len(data) :]
        data = data or self._stream.read1(size)
        self._advance(len(data))
        return data


class _Decoder:
    """Decompresses frames that follow one another, as ``cat a.gz b.gz`` makes them."""

    def __init__(
        self, name: str, what: str, new: Callable[[], Any], error: type[Exception]
    ) -> None:
        self._name = name
        self._what = what
        self._new = new
        self._error = error
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
                raise CliError(f"{self._name}: damaged {self._what}: {error}") from None
            data = b""
            if self._frame.eof:
                data = self._frame.unused_data
                self._frame = None
        self._output = memoryview(b"".join(pieces))

    def close(self) -> None:
        if self._frame is not None:
            raise CliError(f"{self._name}: cut {self._what}: the file ends too early")


def is_log(name: str) -> bool:
    """Whether a file is a log: by its name, or because it begins with the header of one."""
    if name.endswith(_endings.LOG) or not os.path.isfile(name):
        return name.endswith(_endings.LOG)
    with open(name, "rb") as stream:
        if not _ZSTD.match(stream.read(_LONGEST)):
            return False
        stream.seek(0)
        try:
            return begins_log(Opened(name, stream, lambda _: None).read1())
        except CliError:
            return False


def begins_log(head: bytes) -> bool:
    """Whether decompressed bytes are the beginning of a log: the header, after its length."""
    try:
        _, at = _wire.varint(head, 0)
    except _wire.WireError:
        return False
    return head[at : at + 1] == bytes([_LOG_TAG])
