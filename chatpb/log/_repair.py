"""Repair of the files of a log: what a crash left at their ends is cut off."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from chatpb._errors import path_of
from chatpb.log._errors import Damage, LogError
from chatpb.log._frames import (
    BadFrameError,
    Source,
    find_frame,
    is_left_by_a_crash,
    last_frame,
    read_frame,
)
from chatpb.log._headers import DamagedHeaderError, first_header
from chatpb.log._locks import locked, log_files

_LONGEST_HEADER: Final = 4096  # bytes of a first frame that a crash cut
_CHECKED: Final = 64  # files of a directory that are checked for a torn end


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
    with locked(place) as fd:
        return recover_locked(fd, place)


def recover_directory(directory: Path) -> Sequence[Damage]:
    """Recovers the newest files of a directory, without those that have a writer.

    Of a file whose header was not wholly written, nothing is left.
    """
    found: list[Damage] = []
    for path in log_files(directory)[-_CHECKED:]:
        with contextlib.suppress(LogError, OSError), locked(path) as fd:
            damage = recover_locked(fd, path)
            if damage is not None:
                found.append(damage)
            if not os.fstat(fd).st_size:
                path.unlink()
    return found


def recover_locked(fd: int, path: Path) -> Damage | None:
    """Does what `recover` does, to a file that is locked."""
    source = Source(fd)
    size = source.size
    _, end = last_frame(source)
    if end:
        with contextlib.suppress(DamagedHeaderError):
            first_header(source, path)
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


def damage_at(source: Source, path: Path, offset: int, error: BadFrameError) -> Damage:
    """The damage that begins at a place where no whole frame does."""
    found = find_frame(source, offset + 1)
    end = source.size if found is None else found
    is_torn = found is None and is_left_by_a_crash(source, offset, error)
    return Damage(path, offset, end - offset, error.reason, is_torn)
