"""The files of a log: their names, their locks, their first message, and their repair."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib import metadata, resources
from pathlib import Path
from typing import Final, Self

from google.protobuf.message import DecodeError

from chatpb import _endings
from chatpb._errors import path_of
from chatpb._forks import close_private, keep_private
from chatpb._wire import WireError, field_at
from chatpb.log._errors import Damage, LockedError, LogError
from chatpb.log._frames import (
    BadFrameError,
    Encoder,
    Source,
    find_frame,
    is_left_by_a_crash,
    last_end,
    read_frame,
)
from chatpb.v1.completion_record_pb2 import CompletionRecord, LogHeader

SUFFIX: Final = _endings.LOG
_STAMP: Final = "%Y%m%dT%H%M%S.%fZ"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TYPE: Final = CompletionRecord.DESCRIPTOR.full_name
_HEADER: Final = CompletionRecord.DESCRIPTOR.fields_by_name["log_header"].number
_HEADER_TAG: Final = _HEADER << 3 | 2
_LONGEST_HEADER: Final = 4096  # bytes of a first frame that a crash cut
_CHECKED: Final = 64  # files of a directory that are checked for a torn end


def wall_clock_us() -> int:
    """The time of day, in microseconds since the Unix epoch. It may go backwards."""
    return time.time_ns() // 1000


def log_files(path: Path) -> list[Path]:
    """The files of a log, in order: itself, or what is in the directory."""
    if not path.is_dir():
        return [path]
    return sorted(item for item in path.iterdir() if item.name.endswith(SUFFIX))


def header_in(message: bytes, path: Path) -> LogHeader | None:
    """The header that a message is, or None if it is a record.

    Raises:
        LogError: It is the header of a log of something else.
    """
    if not is_header(message):
        return None
    try:
        header = CompletionRecord.FromString(message).log_header
    except DecodeError as error:
        raise LogError(path, "the header is not a LogHeader") from error
    if header.message_type != _TYPE:
        raise LogError(path, f"a log of {header.message_type!r}; expected one of {_TYPE}")
    return header


def is_header(message: bytes) -> bool:
    """Whether a message has the field of the header and no other."""
    if not message or message[0] != _HEADER_TAG:
        return False
    try:
        return field_at(message, 0)[2] == len(message)
    except WireError:
        return False


def header(path: str | os.PathLike[str]) -> LogHeader:
    """The header of a log.

    Args:
        path: The file.

    Raises:
        LogError: The file is not a log, or its beginning is damaged.
        OSError: It cannot be read.
    """
    place = path_of(path)
    with _opened(place, os.O_RDONLY) as fd:
        return _first_header(Source(fd), place)


def recover(path: str | os.PathLike[str]) -> Damage | None:
    """Cuts the torn end off a log, back to the last whole frame.

    Opening a log for append does the same. Damage of another kind is left as it is.

    Args:
        path: The file.

    Returns:
        What was cut, or None; or what is wrong with the end and was left there (`Damage.is_torn`
        is false then).

    Raises:
        LockedError: A writer has the file open.
        LogError: The file is not a log.
        OSError: It cannot be read or cut.
    """
    place = path_of(path)
    with _opened(place, os.O_RDWR) as fd:
        _lock(fd, place)
        return _recover(fd, place)


def damage_at(source: Source, path: Path, offset: int, error: BadFrameError) -> Damage:
    """The damage that begins at a place where no whole frame does."""
    found = find_frame(source, offset + 1)
    end = source.size if found is None else found
    is_torn = found is None and is_left_by_a_crash(source, offset, error)
    return Damage(path, offset, end - offset, error.reason, is_torn)


def is_locked(fd: int) -> bool:
    """Whether a writer has the file open. For an instant, this keeps writers from opening it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


class LogFile:
    """A file that this process alone appends to.

    Attributes:
        path: The file.
        size: Where the next frame will begin.
        has_records: Whether there may be more in it than its header.
        damage: What was cut from its end when it was opened, or is wrong there.
        is_torn: Whether a frame that could not be written could not be taken back either.
    """

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.damage: Damage | None = None
        self.has_records = False
        self.is_torn = False
        self.size = 0
        self._fd = fd
        self._identity = os.fstat(fd)
        self._is_listed = False  # in its directory, on the disk
        keep_private(fd)

    @classmethod
    def open(cls, path: Path, encoder: Encoder, is_durable: bool) -> Self:
        """Opens a file, made if it is missing, to append to it.

        Raises:
            LockedError: Another writer has it open.
            LogError: The file is not a log.
            OSError: It cannot be opened, cut or written.
        """
        fd = _open_locked(path, os.O_CREAT)
        file = cls(path, fd)
        try:
            file.damage = _recover(fd, path)
            file.size = os.fstat(fd).st_size
            ours = _new_header()
            if file.size:
                file.has_records = True
                with contextlib.suppress(_DamagedHeaderError):
                    theirs = _first_header(Source(fd), path)
                    if theirs.schema_sha256 == ours.schema_sha256:
                        return file
                    ours.file_id = theirs.file_id
            file._begin(ours, encoder, is_durable)
        except BaseException:
            file.close()
            raise
        return file

    @classmethod
    def create(cls, directory: Path, encoder: Encoder, is_durable: bool) -> Self:
        """Makes a file in a directory whose name sorts after all that are there.

        Raises:
            OSError: It cannot be made or written.
        """
        stamps = (_stamp_us(path) for path in reversed(log_files(directory)))
        newest = next((stamp for stamp in stamps if stamp is not None), -1)
        stamp = max(wall_clock_us(), newest + 1)
        name = (_EPOCH + timedelta(microseconds=stamp)).strftime(_STAMP)
        path = directory / f"{name}-{secrets.token_hex(4)}{SUFFIX}"
        fd = _open_locked(path, os.O_CREAT | os.O_EXCL)
        file = cls(path, fd)
        try:
            file._begin(_new_header(), encoder, is_durable)
        except BaseException:
            file.close()
            path.unlink(missing_ok=True)
            raise
        return file

    def _begin(self, header: LogHeader, encoder: Encoder, is_durable: bool) -> None:
        self.write(encoder.encode([CompletionRecord(log_header=header).SerializeToString()]))
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

    def write(self, frame: bytes) -> None:
        """Appends a frame, wholly or not at all.

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
            with _opened(self.path.parent, os.O_RDONLY) as directory:
                os.fsync(directory)
            self._is_listed = True

    def close(self) -> None:
        """Gives the file up."""
        close_private(self._fd)


def recover_directory(directory: Path) -> Sequence[Damage]:
    """Recovers the newest files of a directory, without those that have a writer.

    Of a file whose header was not wholly written, nothing is left.
    """
    found: list[Damage] = []
    for path in log_files(directory)[-_CHECKED:]:
        with contextlib.suppress(LogError, OSError), _opened(path, os.O_RDWR) as fd:
            _lock(fd, path)
            damage = _recover(fd, path)
            if damage is not None:
                found.append(damage)
            if not os.fstat(fd).st_size:
                path.unlink()
    return found


class _DamagedHeaderError(LogError):
    """A file whose first frame is damaged; it may be a log."""


def _first_header(source: Source, path: Path) -> LogHeader:
    try:
        frame = read_frame(source, 0)
    except BadFrameError as error:
        raise _DamagedHeaderError(
            path, f"not a log, or its beginning is damaged: {error}"
        ) from error
    found = header_in(frame.messages[0], path) if frame else None
    if found is None:
        raise LogError(path, "not a log: it does not begin with the header of one")
    return found


def _recover(fd: int, path: Path) -> Damage | None:
    source = Source(fd)
    size = source.size
    end = last_end(source)
    if end:
        with contextlib.suppress(_DamagedHeaderError):
            _first_header(source, path)
    damage = None
    try:
        read_frame(source, end)
    except BadFrameError as error:
        damage = damage_at(source, path, end, error)
    if damage is None:
        return None
    if not end and (not damage.is_torn or size > _LONGEST_HEADER):
        raise LogError(path, f"not a log, or damaged from the start: {damage.reason}")
    if damage.is_torn:
        os.ftruncate(fd, end)
        os.fsync(fd)
    return damage


def _new_header() -> LogHeader:
    return LogHeader(
        message_type=_TYPE,
        schema_sha256=_schema_sha256(),
        writer=f"chatpb {metadata.version('chatpb')}",
        create_time_unix_us=wall_clock_us(),
        file_id=secrets.token_hex(16),
    )


@functools.cache
def _schema_sha256() -> bytes:
    descriptor_set = resources.files("chatpb.v1") / "descriptor_set.binpb"
    return hashlib.sha256(descriptor_set.read_bytes()).digest()


def _stamp_us(path: Path) -> int | None:
    """The time in the name of a file; None if it was not named here."""
    try:
        time_of = datetime.strptime(path.name.partition("-")[0], _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None
    return (time_of - _EPOCH) // timedelta(microseconds=1)


def _open_locked(path: Path, flags: int) -> int:
    """Opens a file that others may take away between opening and locking."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_APPEND | flags, 0o666)
        try:
            _lock(fd, path)
            if os.fstat(fd).st_nlink:
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _lock(fd: int, path: Path) -> None:
    for _ in range(10):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.005)  # a reader may be looking whether it has a writer
        else:
            return
    raise LockedError(path, _holder(fd))


def _holder(fd: int) -> int | None:
    """The process that has locked a file, if the system reports it."""
    status = os.fstat(fd)
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    try:
        locks = Path("/proc/locks").read_text("ascii")
    except OSError:
        return None
    for line in locks.splitlines():
        words = line.split()
        if words[1] == "FLOCK" and words[5] == f"{device}:{status.st_ino}":
            return int(words[4]) or None
    return None


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    fd = os.open(path, flags)
    try:
        yield fd
    finally:
        os.close(fd)
