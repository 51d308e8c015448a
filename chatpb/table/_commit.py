"""The directory of a dataset: which files belong to it, and how several are added at once.

"Compaction" (`chatpb compact`) means to add files with records of logs and JSON in one commit. It
has nothing to do with the compact chunks of streams (`chatpb._stream.compact`).

A dataset is every Parquet file in its directory whose name does not begin with ``_`` or ``.``, as
it is for DuckDB, pyarrow, Polars and Spark. Files are added in three steps:

1. They are written whole into the folder ``_staging`` and made durable.
2. The file ``_chatpb.json``, which lists them, replaces the one before it. This is the commit: the
   files belong to the dataset from here on.
3. They are moved from the folder to their places.

Readers find a committed file that was not moved yet in the folder. Whoever opens the dataset after
an interrupted commit finishes it: committed files are moved, others removed.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from chatpb import _endings
from chatpb._forks import Owner, close_private, keep_private
from chatpb.table._errors import DatasetError, DatasetLockedError

COMMIT: Final = "_chatpb.json"
STAGING: Final = "_staging"
_NEW: Final = COMMIT + ".new"
_LOCK: Final = "_chatpb.lock"
_FORMAT: Final = 1
_MAGIC: Final = b"PAR1"
_TRAILER: Final = 8  # bytes: the length of the footer, and the magic word
_HIDDEN: Final = ("_", ".")
_GENERATION: Final = re.compile(r"part-(\d+)-")


@dataclass(frozen=True, slots=True)
class Commit:
    """The last commit of a dataset.

    Attributes:
        generation: How many commits there were.
        parts: The digest of the footer of each file, by its name. A file may be
            missing: files may be removed, with their records.
        sources: Which input is in the dataset, for those who add to it.
    """

    generation: int = 0
    parts: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, Any] = field(default_factory=dict)


def snapshot(folder: Path) -> tuple[Commit, list[str]]:
    """The last commit, and the names of all files at one moment, in order.

    Raises:
        DatasetError: There is no such directory, or its commit file is damaged.
    """
    commit = read_commit(folder)
    while True:
        try:
            names = {name for name in os.listdir(folder) if is_part(name)}
            staged = set(os.listdir(folder / STAGING))
        except FileNotFoundError:
            if not folder.is_dir():
                raise DatasetError(folder, "no such directory") from None
            staged = set()
        except NotADirectoryError:
            raise DatasetError(folder, "not a directory, which a table is") from None
        for name in commit.parts.keys() - names:
            # A file that is moved between the listings is in neither.
            if name in staged or (folder / name).exists():
                names.add(name)
        after = read_commit(folder)
        if after == commit:
            return commit, sorted(names)
        commit = after  # another process has committed meanwhile


def locate(folder: Path, name: str) -> Path:
    """Where a file is now: in its place, or committed but not moved yet."""
    place, staged = folder / name, folder / STAGING / name
    return staged if not place.exists() and staged.exists() else place


def is_part(name: str) -> bool:
    """Whether a file of that name belongs to the dataset that it lies in."""
    return name.endswith(_endings.PARQUET) and not name.startswith(_HIDDEN)


def read_commit(folder: Path) -> Commit:
    """The last commit, or an empty one.

    Raises:
        DatasetError: The commit file is not what this version of chatpb writes.
    """
    path = folder / COMMIT
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return Commit()
    try:
        members = json.loads(data)
        found = members["format"]
        if found == _FORMAT:
            return Commit(members["generation"], dict(members["parts"]), members["sources"])
    except (ValueError, KeyError, TypeError):
        raise DatasetError(path, "not the commit file of a table") from None
    raise DatasetError(path, f"format {found!r}, which this version of chatpb does not know")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps others from writing to a dataset, whose interrupted commit is finished first.

    Raises:
        DatasetLockedError: Another process writes to it.
    """
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    owner = Owner()
    keep_private(descriptor)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DatasetLockedError(folder, "another process is writing to it") from None
        _settle(folder)
        try:
            yield
        except BaseException:
            if owner.is_here:  # else the files are still being written
                with suppress(OSError):  # the next who opens the dataset tries again
                    _settle(folder)
            raise
    finally:
        close_private(descriptor)


def recover(folder: Path) -> None:
    """Finishes or rolls back an interrupted commit, if there is one and nobody is at it."""
    if not (folder / STAGING).is_dir():
        return
    try:
        with locked(folder):
            pass
    except (DatasetLockedError, PermissionError):
        pass  # those who read find the files where they are
    except OSError as error:
        if error.errno != errno.EROFS:
            raise


def commit(folder: Path, parts: dict[str, str], sources: Mapping[str, Any]) -> None:
    """Adds files that are in the staging folder, all or none. Needs the lock.

    Args:
        folder: The directory of the dataset.
        parts: The digest of the footer of each file, by its name.
        sources: See `Commit`.
    """
    before, names = snapshot(folder)
    members = {
        "format": _FORMAT,
        "generation": next_generation(folder),
        "parts": {name: before.parts[name] for name in names if name in before.parts} | parts,
        "sources": sources,
    }
    new = folder / _NEW
    with open(new, "wb") as stream:
        stream.write(json.dumps(members, separators=(",", ":")).encode())
        stream.flush()
        os.fsync(stream.fileno())
    if parts:
        sync(folder / STAGING)
    os.replace(new, folder / COMMIT)
    sync(folder)
    _settle(folder)


def next_generation(folder: Path) -> int:
    """The number of the next commit, by which names of files sort."""
    numbers = [int(m[1]) for name in os.listdir(folder) if (m := _GENERATION.match(name))]
    return max(read_commit(folder).generation, *numbers, 0) + 1


def footer_digest(path: Path) -> str:
    """A digest of the footer of a Parquet file, which has no checksum of its own, as pages have.

    Raises:
        DatasetError: The file is not a Parquet file.
    """
    with open(path, "rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(size - _TRAILER, 0))
        trailer = stream.read()
        footer = int.from_bytes(trailer[:4], "little") + _TRAILER
        if not trailer.endswith(_MAGIC) or footer > size:
            raise DatasetError(path, "not a Parquet file: its end is missing")
        stream.seek(size - footer)
        return hashlib.sha256(stream.read()).hexdigest()[:32]


def sync(path: Path) -> None:
    """Makes a file or a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _settle(folder: Path) -> None:
    """Moves what is committed from the staging folder and removes the rest, and the folder."""
    (folder / _NEW).unlink(missing_ok=True)
    staging = folder / STAGING
    if not staging.is_dir():
        return
    committed = read_commit(folder).parts
    for name in sorted(os.listdir(staging)):
        if name in committed:
            os.rename(staging / name, folder / name)
    sync(folder)
    shutil.rmtree(staging)
