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
from chatpb.table._delta.changes import NOTE, Changes, Removal, ended
from chatpb.table._delta.commits import commit
from chatpb.table._delta.diagnosis import LOG
from chatpb.table._delta.listing import Stored, listed, remove_all
from chatpb.table._delta.location import Location
from chatpb.table._delta.log import Log
from chatpb.table._delta.snapshot import while_it_changes
from chatpb.table._errors import DatasetError
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


@dataclass
class _Plan:
    """What there is to remove, as of a version.

    Attributes:
        last: The version.
        oldest: The oldest version to keep.
        grace: Files of no version that are younger are kept.
        garbage: Files that no version needs.
        unfinished: Files that no version contains and that are kept.
        entries: Files of the log.
        log: The log.
    """

    last: int
    oldest: int
    grace: float
    garbage: list[Stored]
    unfinished: list[Stored]
    entries: list[Stored]
    log: Log


def removal() -> Removal:
    """What a commit has to say so that `vacuum` may remove all that is older, see `vacuum`."""
    return Removal(int((time.time() - GRACE) * 1000))


def vacuum(
    location: Location,
    older: float,
    *,
    dry_run: bool = False,
    announced: tuple[int, Removal] | None = None,
) -> Vacuumed:
    """See `Dataset.vacuum`.

    Before a data file is removed, a commit says so: who commits later knows that the file is gone,
    and what others have committed until then is kept.

    Args:
        location: Where the table is.
        older: The oldest version to keep is the one that was current that many seconds ago.
        dry_run: Whether to remove nothing.
        announced: A commit that has said so already, and what it said. It is the oldest version
            to keep.
    """

    def planned() -> _Plan:
        return _planned(location, older, announced)

    plan = while_it_changes(location, planned)
    if not dry_run:
        if plan.garbage and announced is None:
            _announce(location, plan)
        remove_all(location, plan.garbage)  # first: nothing names them afterwards
        if plan.entries:
            _shorten(location, plan)
    return Vacuumed(
        len(plan.garbage),
        sum(file.size for file in plan.garbage),
        len(plan.entries),
        plan.oldest,
        tuple(location.place(file.name) for file in plan.unfinished),
    )


def _shorten(location: Location, plan: _Plan) -> None:
    try:
        plan.log.make_checkpoint(plan.oldest)
    except DatasetError:
        if min(Log(location).versions, default=0) <= plan.oldest:
            raise
        plan.entries = []  # another one, at the same time, has removed more
    remove_all(location, plan.entries)


def _planned(location: Location, older: float, announced: tuple[int, Removal] | None) -> _Plan:
    now = time.time()
    files = _own(listed(location))  # before the log, which then has what is committed meanwhile
    last = loaded(location).version
    log = Log(location)
    oldest = log.version_at(now - older) if older else last  # clocks may differ
    grace = now - max(older, GRACE)
    if announced is not None:
        oldest, grace = announced[0], announced[1].until / 1000
    needed = set(loaded(location, oldest).names) | log.named(since_version=oldest + 1)
    named = log.named(since=grace - GRACE)
    garbage: list[Stored] = []
    unfinished: list[Stored] = []
    for file in files:
        if _is_data(file) and file.name not in needed:
            at = ended(file.name)
            is_young = file.time > grace or (at is not None and at > grace * 1000)
            (unfinished if is_young and file.name not in named else garbage).append(file)
    entries = log.before(oldest, grace)
    removed = {file.name for file in entries}
    unfinished += [file for file in log.unfinished(grace) if file.name not in removed]
    return _Plan(last, oldest, grace, garbage, unfinished, entries, log)


def _announce(location: Location, plan: _Plan) -> None:
    """Commits what is about to be removed, and keeps what others have committed until then."""
    changes = Changes(
        metadata={NOTE: {"operation": "vacuum"}},
        removal=Removal(int(plan.grace * 1000), plan.oldest),
    )
    commit(location, plan.last, changes)

    def names() -> set[str]:
        there = set(loaded(location).names)
        return there | Log(location).named(since_version=plan.last + 1)

    needed = while_it_changes(location, names)
    plan.garbage = [file for file in plan.garbage if file.name not in needed]


def _own(files: list[Stored]) -> list[Stored]:
    """Those of some files that do not belong to another table, in a directory of this one."""
    end = f"/{LOG}/"
    others = {file.name.partition(end)[0] + "/" for file in files if end in file.name}
    return [file for file in files if not file.name.startswith(tuple(others))]


def _is_data(file: Stored) -> bool:
    if file.name.startswith(_CHANGES):
        return True
    return not file.name.startswith("_") and file.name.endswith((_endings.PARQUET, WRITING))
