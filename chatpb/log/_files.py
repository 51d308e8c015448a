"""The file of a log that is written: its name, its headers, and what is appended."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from chatpb._errors import path_of
from chatpb._forks import close_private, keep_private
from chatpb.log._errors import Damage, LogError, LogKeyError
from chatpb.log._frames import Encoder, Source, last_frame, read_frame
from chatpb.log._headers import (
    DamagedHeaderError,
    first_header,
    header_in,
    is_sealed,
    new_header,
    wall_clock_us,
)
from chatpb.log._keys import KeyFile, LogKey
from chatpb.log._locks import SUFFIX, log_files, open_locked, opened, sync_directory
from chatpb.log._repair import recover_locked
from chatpb.v1.completion_record_pb2 import CompletionRecord, LogHeader

if TYPE_CHECKING:
    from chatpb.log._sealing import Sealer

_STAMP: Final = "%Y%m%dT%H%M%S.%fZ"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SEALED_MORE: Final = 256  # bytes that encryption adds to a frame, and a part of its length


def header(path: str | os.PathLike[str]) -> LogHeader:
    """The header of a log.

    Args:
        path: The file.

    Raises:
        LogError: The file is not a log, or its beginning is damaged.
        OSError: It cannot be read.
    """
    place = path_of(path)
    with opened(place, os.O_RDONLY) as fd:
        return first_header(Source(fd), place)


class LogFile:
    """A file that this process alone appends to.

    Attributes:
        path: The file.
        size: Where the next frame will begin.
        has_records: Whether there may be more in it than its header.
        damage: What was cut from its end when it was opened, or is wrong there.
        is_torn: Whether a frame that could not be written could not be taken back either.
        key: The key that encrypts what is written, if there is one.
    """

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.damage: Damage | None = None
        self.has_records = False
        self.is_torn = False
        self.key: LogKey | None = None
        self.size = 0
        self._sealer: Sealer | None = None
        self._header_at = 0
        self._file_id = ""
        self._fd = fd
        self._identity = os.fstat(fd)
        self._is_listed = False  # in its directory, on the disk
        keep_private(fd)

    @classmethod
    def open(cls, path: Path, encoder: Encoder, is_durable: bool, keys: KeyFile | None) -> Self:
        """Opens a file, made if it is missing, to append to it.

        Raises:
            LockedError: Another writer has it open.
            LogError: The file is not a log, or encrypted and there are no keys.
            OSError: It cannot be opened, cut or written.
        """
        fd = open_locked(path, os.O_CREAT)
        file = cls(path, fd)
        try:
            file.damage = recover_locked(fd, path)
            file.size = os.fstat(fd).st_size
            ours = new_header()
            if file.size:
                file.has_records = True
                if keys is None:
                    _check_not_encrypted(Source(fd), path)
                with contextlib.suppress(DamagedHeaderError):
                    theirs = first_header(Source(fd), path)
                    if keys is None and theirs.schema_sha256 == ours.schema_sha256:
                        return file
                    ours.file_id = theirs.file_id
            file._begin(ours, encoder, is_durable, keys)
        except BaseException:
            file.close()
            raise
        return file

    @classmethod
    def create(
        cls, directory: Path, encoder: Encoder, is_durable: bool, keys: KeyFile | None
    ) -> Self:
        """Makes a file in a directory whose name sorts after all that are there.

        Raises:
            OSError: It cannot be made or written.
        """
        stamps = (_stamp_us(path) for path in reversed(log_files(directory)))
        newest = next((stamp for stamp in stamps if stamp is not None), -1)
        stamp = max(wall_clock_us(), newest + 1)
        name = (_EPOCH + timedelta(microseconds=stamp)).strftime(_STAMP)
        path = directory / f"{name}-{secrets.token_hex(4)}{SUFFIX}"
        fd = open_locked(path, os.O_CREAT | os.O_EXCL)
        file = cls(path, fd)
        try:
            file._begin(new_header(), encoder, is_durable, keys)
        except BaseException:
            file.close()
            path.unlink(missing_ok=True)
            raise
        return file

    def renew_key(self, encoder: Encoder, is_durable: bool, keys: KeyFile) -> None:
        """Encrypts what follows with the key that the file of keys has now.

        Raises:
            OSError: It cannot be written.
        """
        header = new_header()
        header.file_id = self._file_id
        self._begin(header, encoder, is_durable, keys)

    def _begin(
        self, header: LogHeader, encoder: Encoder, is_durable: bool, keys: KeyFile | None
    ) -> None:
        # Each header has a salt of its own, so no two parts of a log share a key. See docs/log.md.
        key = None if keys is None else keys.current
        sealer = None
        if key is not None:
            from chatpb.log._sealing import Sealer, encryption  # has its own extra

            header.encryption.CopyFrom(encryption(key))
        message = CompletionRecord(log_header=header).SerializeToString()
        if key is not None:
            sealer = Sealer(key, message)
        start = self.size
        self.write(encoder.encode([message]))
        self.key, self._sealer = key, sealer
        self._header_at, self._file_id = start, header.file_id
        if is_durable:
            self.sync()

    @property
    def is_in_place(self) -> bool:
        """Whether the file is still where its path leads, and was not removed or replaced.

        Raises:
            OSError: It is not known, since a directory of the path cannot be read.
        """
        try:
            return os.path.samestat(os.stat(self.path), self._identity)
        except (FileNotFoundError, NotADirectoryError):
            return False

    @property
    def is_removed(self) -> bool:
        """Whether the file has no name any more, so that nobody will ever read it."""
        return not os.fstat(self._fd).st_nlink

    def grown(self, frame: bytes) -> int:
        """The most bytes that the file will have after a frame."""
        size = self.size + len(frame)
        return size if self._sealer is None else size + _SEALED_MORE + (len(frame) >> 12)

    def append(self, frame: bytes, record_count: int) -> None:
        """Appends a frame of records, encrypted if there is a key.

        Raises:
            OSError: It cannot be written.
        """
        if self._sealer is not None:
            frame = self._sealer.seal(frame, self.size - self._header_at, record_count)
        self.write(frame)

    def write(self, frame: bytes) -> None:
        """Appends a frame as it is, wholly or not at all.

        Raises:
            OSError: It cannot be written.
        """
        left = memoryview(frame)
        try:
            while left:
                left = left[os.write(self._fd, left) :]
        except OSError:
            try:
                os.ftruncate(self._fd, self.size)
            except OSError:
                self.is_torn = True
            raise
        self.size += len(frame)

    def sync(self) -> None:
        """Waits until all that was written is on the disk.

        Raises:
            OSError: It may not be, and never will: the system forgets what it could not write.
        """
        if sys.platform == "darwin":
            fcntl.fcntl(self._fd, fcntl.F_FULLFSYNC)
        else:
            os.fdatasync(self._fd)
        if not self._is_listed:
            sync_directory(self.path)
            self._is_listed = True

    def close(self) -> None:
        """Gives the file up."""
        close_private(self._fd)


def is_encrypted(directory: Path) -> bool:
    """Whether the newest file of a directory whose header can be read is encrypted."""
    for path in reversed(log_files(directory)):
        with contextlib.suppress(LogError, OSError):
            return header(path).HasField("encryption")
    return False


def _check_not_encrypted(source: Source, path: Path) -> None:
    """Makes sure that the end of a file is not encrypted: what follows would not be."""
    start, end = last_frame(source)
    frame = read_frame(source, start) if end else None
    if frame is None:
        return
    message = frame.messages[0]
    header = header_in(message, path)
    key_id = ""
    if is_sealed(message):
        key_id = CompletionRecord.FromString(message).sealed_frame.key_id
    elif header is not None and header.HasField("encryption"):
        key_id = header.encryption.key_id
    if key_id:
        reason = (
            f"encrypted with the key {key_id!r}; to append to it, pass a file of keys: keys=FILE"
        )
        raise LogKeyError(path, reason, key_id)


def _stamp_us(path: Path) -> int | None:
    """The time in the name of a file; None if it was not named here."""
    try:
        time_of = datetime.strptime(path.name.partition("-")[0], _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None
    return (time_of - _EPOCH) // timedelta(microseconds=1)
