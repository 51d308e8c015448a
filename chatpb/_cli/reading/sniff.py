"""Which format a file has, judged by its name or its beginning."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from typing import Final

from chatpb import _endings
from chatpb._errors import ConversionError
from chatpb._mapping.fault import begins_too_deep
from chatpb._mapping.text import parse_plain


class Format(StrEnum):
    """How a file contains messages."""

    JSON = "json"
    JSONL = "jsonl"
    SSE = "sse"
    BINARY = "binary"
    DELIMITED = "delimited"


# The ending .json is not here: many files of JSON lines have it.
ENDINGS: Final = {
    **dict.fromkeys(_endings.JSON_LINES, Format.JSONL),
    _endings.EVENTS: Format.SSE,
}
#: What the names of files of JSON and events end in, compressed ones included.
READABLE: Final = _endings.compressible((_endings.JSON, *ENDINGS))

_BOM: Final = b"\xef\xbb\xbf"
_INK: Final = re.compile(rb"[^ \t\r\n]")
_NEWLINE: Final = re.compile(rb"\n")
_ENOUGH: Final = 256  # bytes to distinguish SSE and binary from JSON
_FIRST_DEPTH: Final = 1 << 16  # bytes of JSON after which its depth is looked at first
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")  # never in JSON text or SSE
_SSE_FIELD: Final = re.compile(rb"(?:data|event|id|retry)?:|data\r?\n")


def by_name(name: str) -> Format | None:
    """The format that the name of a file implies, if it implies one."""
    name = _endings.bare(name)
    return next((form for end, form in ENDINGS.items() if name.endswith(end)), None)


def by_content(head: bytearray, more: Callable[[], bytes], limit: int) -> Format:
    """The format of a file, judged by its beginning.

    A file is JSON lines if its first line is a complete JSON value and more follows. A single line
    is one JSON value. So is a line that nests too deeply, of which no more than that is read.

    Args:
        head: What has been read so far. What is read here is appended.
        more: Reads more; returns nothing at the end of the file.
        limit: How many bytes to read at most, about.
    """
    reader = _Head(head, more, limit)
    start = reader.find(_INK, 3 if reader.starts_with(_BOM) else 0)
    if start is not None:
        reader.find(_NEWLINE, start, enough=_ENOUGH)
    if _CONTROL.search(head) or not _is_utf8(head):
        return Format.BINARY
    if start is None or _SSE_FIELD.match(head, start):
        return Format.JSON if start is None else Format.SSE
    reader.is_json = True
    end = reader.find(_NEWLINE, start) if head[start] in b"{[" else None
    if end is None or reader.find(_INK, end) is None:
        return Format.JSON
    try:
        parse_plain(head[start:end], allow_nan=True)
    except ConversionError:
        return Format.JSON
    return Format.JSONL


class Depth:
    """Whether a JSON text nests too deeply, checked whenever twice as much of it was read."""

    def __init__(self) -> None:
        self._next = _FIRST_DEPTH

    def fault(self, data: bytes | bytearray) -> ConversionError | None:
        """The fault, if it is in the beginning of the text and time to look.

        Args:
            data: What was read so far, from the beginning.
        """
        if len(data) < self._next:
            return None
        self._next = 2 * len(data)
        return begins_too_deep(data)


class _Head:
    """The beginning of a file, read as far as necessary.

    Attributes:
        is_json: Whether it is known to be JSON, which is read only until it nests too deeply.
    """

    def __init__(self, data: bytearray, more: Callable[[], bytes], limit: int) -> None:
        self._data = data
        self._more = more
        self._limit = limit
        self._depth = Depth()
        self.is_json = False

    def starts_with(self, prefix: bytes) -> bool:
        while len(self._data) < len(prefix) and prefix.startswith(self._data) and self._grow():
            pass
        return self._data.startswith(prefix)

    def find(self, pattern: re.Pattern[bytes], start: int, enough: int | None = None) -> int | None:
        """The first place of a one-byte pattern; None if it is not in what may be read."""
        while True:
            if (match := pattern.search(self._data, start)) is not None:
                return match.start()
            start = len(self._data)
            if (enough is not None and start >= enough) or not self._grow():
                return None

    def _grow(self) -> bool:
        if self.is_json and self._depth.fault(self._data) is not None:
            return False
        data = self._more() if len(self._data) <= self._limit else b""
        self._data += data
        return bool(data)


def _is_utf8(head: bytearray) -> bool:
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"
    return True
