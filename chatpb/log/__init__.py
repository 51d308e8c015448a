"""The append log: records in zstd frames with checksums, in files that other tools read.

Needs the extra ``chatpb[log]``, and a POSIX system. The law that joins the two sides: every record
whose future is done is read, in the order of appending and byte for byte. The format is written
down in ``docs/log.md``; in short, ``zstd -dc FILE`` gives length-delimited messages of type
`CompletionRecord`, the first of which is the header of the file.
"""

from __future__ import annotations

from chatpb._extras import raise_hint
from chatpb._public import publish
from chatpb.log._errors import (
    Damage,
    DamagedLogError,
    KeyFileError,
    LockedError,
    LogError,
    LogKeyError,
    PendingFullError,
)

try:
    from chatpb.log._files import header
    from chatpb.log._futures import Position
    from chatpb.log._keys import KeyFile, new_key
    from chatpb.log._locks import SUFFIX
    from chatpb.log._reader import LogReader, read
    from chatpb.log._rekey import rekey
    from chatpb.log._repair import recover
    from chatpb.log._walk import Entry, FrameInfo, frames
    from chatpb.log._writer import LogWriter, Sync
except ModuleNotFoundError as missing:
    raise_hint("chatpb.log", missing)

__all__ = [
    "SUFFIX",
    "Damage",
    "DamagedLogError",
    "Entry",
    "FrameInfo",
    "KeyFile",
    "KeyFileError",
    "LockedError",
    "LogError",
    "LogKeyError",
    "LogReader",
    "LogWriter",
    "PendingFullError",
    "Position",
    "Sync",
    "frames",
    "header",
    "new_key",
    "read",
    "recover",
    "rekey",
]

publish("chatpb.log")
