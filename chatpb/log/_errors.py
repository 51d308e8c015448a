"""The errors of logs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from chatpb._errors import ChatpbError


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes of a log that cannot be read.

    Attributes:
        path: The file.
        offset: The offset of the first.
        size: The number of bytes.
        reason: What is wrong with them.
        is_torn: Whether they are the end of the file and look like a write that was interrupted.
            No record in it was acknowledged as durable, unless the file was cut afterwards.
    """

    path: Path
    offset: int
    size: int
    reason: str
    is_torn: bool

    @property
    def end(self) -> int:
        """The offset of the first byte after them."""
        return self.offset + self.size

    def __str__(self) -> str:
        kind = "the end is torn" if self.is_torn else "damaged"
        return f"{self.path}: {kind} at byte {self.offset}, {self.size} bytes: {self.reason}"


class LogError(ChatpbError):
    """A log that cannot be read or written.

    Attributes:
        path: The file or directory.
        reason: What is wrong, in lower case.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class DamagedLogError(LogError):
    """A log with damage that is not at its end.

    Attributes:
        damage: Where it is.
    """

    def __init__(self, damage: Damage) -> None:
        super().__init__(damage.path, damage.reason)
        self.args = (damage,)  # what pickle calls the class with
        self.damage = damage

    @property
    def offset(self) -> int:
        """Where the damage begins."""
        return self.damage.offset

    def __str__(self) -> str:
        return f"{self.damage}; what follows can be read with skip_damage=True"


class LockedError(LogError):
    """A log that another writer has open.

    Attributes:
        pid: The process, or None if the system does not say.
    """

    def __init__(self, path: Path, pid: int | None) -> None:
        who = "another process" if pid is None else f"process {pid}"
        super().__init__(path, f"{who} is writing to it; a file has one writer at a time")
        self.args = (path, pid)  # what pickle calls the class with
        self.pid = pid


class PendingFullError(LogError):
    """A record that was not taken, because as many bytes as may wait are waiting."""


class KeyFileError(LogError, ValueError):
    """A file of keys that cannot be used. The text never repeats what is in it."""


class LogKeyError(LogError):
    """An encrypted log whose key is not there, or not the right one.

    Attributes:
        key_id: The name of the key.
    """

    def __init__(self, path: Path, reason: str, key_id: str) -> None:
        super().__init__(path, reason)
        self.args = (path, reason, key_id)  # what pickle calls the class with
        self.key_id = key_id
