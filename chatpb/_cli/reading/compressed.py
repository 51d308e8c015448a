"""Compressed files of the command line, and which of them are logs."""

from __future__ import annotations

import os
from typing import Final

from chatpb import _endings, _wire
from chatpb._cli.failure import CliError
from chatpb._compressed import LONGEST, Advance, Opened, Readable, is_zstd
from chatpb.v1 import CompletionRecord

__all__ = ["Advance", "Readable", "begins_log", "is_log", "opened"]

_LOG_TAG: Final = CompletionRecord.LOG_HEADER_FIELD_NUMBER << 3 | 2


def opened(name: str, stream: Readable, advance: Advance = lambda _: None) -> Opened:
    """A file or stream, decompressed if it was compressed.

    Raises:
        CliError: It has a format that is not read.
    """
    return Opened(name, stream, CliError, advance)


def is_log(name: str) -> bool:
    """Whether a file is a log: by its name, or because it begins with the header of one."""
    if name.endswith(_endings.LOG) or not os.path.isfile(name):
        return name.endswith(_endings.LOG)
    with open(name, "rb") as stream:
        if not is_zstd(stream.read(LONGEST)):
            return False
        stream.seek(0)
        try:
            return begins_log(opened(name, stream).read1())
        except CliError:
            return False


def begins_log(head: bytes) -> bool:
    """Whether decompressed bytes are the beginning of a log: the header, after its length."""
    try:
        _, at = _wire.varint(head, 0)
    except _wire.WireError:
        return False
    return head[at : at + 1] == bytes([_LOG_TAG])
