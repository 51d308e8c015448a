"""Puts the rows of small files into large ones.

A table to which something is added every minute has thousands of files in a week: each costs every
query the time to open it, and compresses badly by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from chatpb.table._care.rewrite import commit_files, loaded, rewritten
from chatpb.table._delta import commits
from chatpb.table._delta.changes import NOTE, Changes
from chatpb.table._delta.location import Location
from chatpb.table._errors import DatasetConflictError, DatasetError
from chatpb.table._files.parts import Part, parts

_ATTEMPTS: Final = 20


@dataclass(frozen=True, slots=True)
class Optimized:
    """What `Dataset.optimize` did.

    Attributes:
        removed: How many files were replaced.
        added: By how many.
        bytes_removed: The bytes of the files that were replaced.
        bytes_added: The bytes of the new ones.
    """

    removed: int = 0
    added: int = 0
    bytes_removed: int = 0
    bytes_added: int = 0

    def __add__(self, other: Optimized) -> Optimized:
        return Optimized(
            self.removed + other.removed,
            self.added + other.added,
            self.bytes_removed + other.bytes_removed,
            self.bytes_added + other.bytes_added,
        )


def bins(parts: Sequence[Part], target: int, *, everything: bool = False) -> list[list[Part]]:
    """Which files to merge: each list becomes one file of about the target's bytes, or a few.

    Files of different partitions stay apart. The order of the files is kept, so that rows that came
    together stay together.

    Args:
        parts: The files of a table, in order.
        target: How many bytes a file should have.
        everything: Whether to write files again that are large enough already.
    """
    found: dict[tuple[object, ...], list[list[Part]]] = {}
    for part in parts:
        size = part.size or 0
        if size * 2 >= target and not everything:
            continue
        lists = found.setdefault(tuple(part.partition.items()), [[]])
        if lists[-1] and sum(each.size or 0 for each in lists[-1]) + size > target:
            lists.append([])
        lists[-1].append(part)
    least = 1 if everything else 2
    return [each for lists in found.values() for each in lists if len(each) >= least]


def small(parts: Sequence[Part], target: int) -> list[Part]:
    """The files that are worth merging: none is larger than all smaller ones together.

    So what is added every minute is merged often, and what was merged before rarely: a byte is
    written again only when its file at least doubles.
    """
    by_size = sorted((part for part in parts if (part.size or 0) * 2 < target), key=_size)
    while by_size and _size(by_size[-1]) > sum(map(_size, by_size[:-1])):
        by_size.pop()
    names = {part.name for part in by_size}
    return [part for part in parts if part.name in names]


def _size(part: Part) -> int:
    return part.size or 0


def optimize(
    location: Location,
    *,
    target: int,
    level: int,
    everything: bool = False,
    least: int | None = None,
) -> Optimized:
    """See `Dataset.optimize`.

    Args:
        location: Where the table is.
        target: How many bytes a file should have.
        level: The level of zstd.
        everything: Whether to write files again that are large enough already.
        least: Merge only if more files than that are worth it, see `small`. Default: merge all.
    """
    total = Optimized()
    written: set[str] = set()
    for attempt in range(_ATTEMPTS):
        found = [part for part in parts(loaded(location)) if part.name not in written]
        if least is not None:
            found = small(found, target)
            if len(found) <= least:
                return total
        conflicts = 0
        for some in bins(found, target, everything=everything):
            try:
                done, files = _merge(location, some, level)
            except DatasetConflictError:
                if attempt + 1 == _ATTEMPTS:
                    raise
                conflicts += 1
            else:
                total += done
                written |= files
        if not conflicts:
            break
    if total.removed:  # readers need not go through the many commits of small files
        commits.make_checkpoint(location, loaded(location).version)
    return total


def _merge(location: Location, parts: list[Part], level: int) -> tuple[Optimized, set[str]]:
    """Writes files again as one or a few, in one commit; also returns their names.

    Raises:
        DatasetConflictError: Another writer has removed one of them. Nothing was changed.
    """
    snapshot = loaded(location)
    try:
        files = rewritten(snapshot, [(part, None) for part in parts], level)
    except DatasetError:
        if {part.name for part in parts} <= set(loaded(location).names):
            raise
        raise DatasetConflictError(location.uri, "another writer has replaced files") from None
    moment = max(part.time for part in parts)  # their place in the order of the table's files
    changes = Changes(
        adds=[replace(file, time=moment) for file in files],
        removes=[part.name for part in parts],
        data_change=False,
        metadata={NOTE: {"operation": "optimize", "rows": sum(file.rows for file in files)}},
    )
    commit_files(location, snapshot.version, changes)
    before, after = sum(map(_size, parts)), sum(file.size for file in files)
    return Optimized(len(parts), len(files), before, after), {file.name for file in files}
