"""The files of a log on the disk: which there are, and who writes to them."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from chatpb import _endings
from chatpb.log._errors import LockedError

SUFFIX: Final = _endings.LOG


def log_files(path: Path) -> list[Path]:
    """The files of a log, in order: itself, or what is in the directory."""
    if not path.is_dir():
        return [path]
    return sorted(item for item in path.iterdir() if item.name.endswith(SUFFIX))


def is_locked(fd: int) -> bool:
    """Whether a writer has the file open. For an instant, this keeps writers from opening it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """Opens a file that is there, as its only writer.

    Raises:
        LockedError: A writer has it open.
        OSError: It cannot be opened.
    """
    fd = open_locked(path, 0)
    try:
        yield fd
    finally:
        os.close(fd)


def open_locked(path: Path, flags: int) -> int:
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


def sync_directory(path: Path) -> None:
    """Waits until the name of a file is on the disk."""
    with opened(path.parent, os.O_RDONLY) as directory:
        os.fsync(directory)


@contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    fd = os.open(path, flags)
    try:
        yield fd
    finally:
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
