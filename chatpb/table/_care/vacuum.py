"""Removes what no version needs any more: data files, and files of Delta's log.

A version needs the data files that were part of the table then, and the log from the last
checkpoint before it. Delta's own vacuum leaves the log alone, whose statistics contain values of
records, and counts in hours.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from chatpb import _endings
from chatpb.table._care.rewrite import loaded
from chatpb.table._delta.listing import Stored, listed, remove_all
from chatpb.table._delta.location import Location
from chatpb.table._delta.log import Log
from chatpb.table._files.file_writer import WRITING

#: Seconds that a file which no version contains is kept: a writer may be about to commit it.
GRACE: Final = 3600.0
_CHANGES: Final = "_change_data/"  # of tables of others, with Delta's change data feed


@dataclass(frozen=True, slots=True)
class Vacuumed:
    """What `Dataset.vacuum` removed.

    Attributes:
        files: How many data files.
        bytes: Their bytes.
        log_files: How many files of Delta's log.
        oldest: The oldest version that can still be read.
        unfinished: Files that no version contains, which are kept as they are younger than an hour:
            a writer may be about to commit them.
    """

    files: int
    bytes: int
    log_files: int
    oldest: int
    unfinished: tuple[str, ...]


def vacuum(location: Location, older: float, *, dry_run: bool = False) -> Vacuumed:
    """See `Dataset.vacuum`.

    Args:
        location: Where the table is.
        older: The oldest version to keep is the one that was current that many seconds ago.
        dry_run: Whether to remove nothing.
    """
    now = time.time()
    files = listed(location)  # before the log is read, which then has what is committed meanwhile
    last = loaded(location).version
    log = Log(location)
    oldest = log.version_at(now - older) if older else last  # clocks may differ
    needed = set(loaded(location, oldest).names) | log.named(since_version=oldest + 1)
    grace = now - max(older, GRACE)
    named = log.named(since=grace - GRACE)
    garbage: list[Stored] = []
    unfinished: list[Stored] = []
    for file in files:
        if _is_data(file) and file.name not in needed:
            kept = file.time > grace and file.name not in named
            (unfinished if kept else garbage).append(file)
    entries = log.before(oldest, grace)
    removed = {file.name for file in entries}
    unfinished += [file for file in log.unfinished(grace) if file.name not in removed]
    if not dry_run:
        remove_all(location, garbage)  # first: nothing names them afterwards
        if entries:
            log.make_checkpoint(oldest)
            remove_all(location, entries)
    return Vacuumed(
        len(garbage),
        sum(file.size for file in garbage),
        len(entries),
        oldest,
        tuple(location.place(file.name) for file in unfinished),
    )


def _is_data(file: Stored) -> bool:
    if file.name.startswith(_CHANGES):
        return True
    return not file.name.startswith("_") and file.name.endswith((_endings.PARQUET, WRITING))
