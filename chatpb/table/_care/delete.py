"""Deletes the records that match a condition, by writing the files again that contain some."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from chatpb.table._care.audit import log_damage
from chatpb.table._care.rewrite import Rows, columns_of, loaded, rewritten
from chatpb.table._care.vacuum import Vacuumed, removal, vacuum
from chatpb.table._care.whole import check_digest
from chatpb.table._delta import commits
from chatpb.table._delta.changes import NOTE, Changes, NewFile, Removal
from chatpb.table._delta.location import Location
from chatpb.table._delta.snapshot import Snapshot
from chatpb.table._errors import DatasetConflictError, DatasetError, QueryError
from chatpb.table._files.file_writer import remove
from chatpb.table._files.parts import Part, parts

if TYPE_CHECKING:
    import pyarrow.compute as pc

_ATTEMPTS: Final = 100


@dataclass(frozen=True, slots=True)
class Deleted:
    """What `Dataset.delete` did.

    Attributes:
        records: How many records were deleted.
        files: How many files contained some of them.
        vacuumed: What was removed for good, if that was asked for.
    """

    records: int = 0
    files: int = 0
    vacuumed: Vacuumed | None = None


@dataclass
class _Found:
    """A file with records to delete.

    Attributes:
        part: The file.
        records: How many there are.
        rest: New files with the other records.
    """

    part: Part
    records: int
    rest: list[NewFile] = field(default_factory=list)


#: Finds rows: the number of a file, and the numbers of some of its rows.
Matching = Callable[[Sequence[Part]], Iterator[tuple[int, Rows]]]


def delete(
    location: Location,
    matching: Matching,
    *,
    level: int,
    forget: bool,
) -> Deleted:
    """See `Dataset.delete`.

    Args:
        location: Where the table is.
        matching: Finds the rows to delete.
        level: The level of zstd.
        forget: Whether to remove all earlier versions too, with everything that describes them.
    """
    examined: dict[str, _Found | None] = {}
    found: list[_Found] = []
    announced: tuple[int, Removal] | None = None
    if forget:  # what the log says of a file may be why no record is looked for in it
        for error in log_damage(location):
            raise error
    try:
        for _ in range(_ATTEMPTS):
            snapshot = loaded(location)
            now = parts(snapshot)
            try:
                _examine(snapshot, now, matching, examined, level)
                hits = [hit for part in now if (hit := examined[part.name]) is not None]
                if hits:
                    found = hits  # from here on, it may be unknown whether they are committed
                    removed = removal() if forget else None
                    version = _commit(location, snapshot.version, found, removed)
                    announced = None if removed is None else (version, removed)
            except DatasetConflictError:
                found = []
                continue  # files were added or replaced: they are examined too
            break
        else:
            raise DatasetConflictError(location.uri, commits.OVERTAKEN)
    finally:
        for hit in examined.values():
            if hit is not None and hit not in found:
                for file in hit.rest:
                    remove(location, file.name)
    vacuumed = vacuum(location, 0, announced=announced) if forget else None
    return Deleted(sum(hit.records for hit in found), len(found), vacuumed)


def _examine(
    snapshot: Snapshot,
    now: Sequence[Part],
    matching: Matching,
    examined: dict[str, _Found | None],
    level: int,
) -> None:
    """Finds the records to delete in files that were not examined yet, and copies the others."""
    todo = [part for part in now if part.name not in examined]
    hits: dict[str, _Found] = {}
    try:
        for number, rows in matching(todo):
            part = todo[number]
            hit = _Found(part, len(rows))
            if len(rows) < part.metadata.num_rows:
                hit.rest = [
                    replace(file, time=part.time)
                    for file in rewritten(snapshot, [(part, rows)], level)
                ]
            hits[part.name] = hit  # only now that its other records are copied
    except DatasetError:
        if {part.name for part in todo} <= set(loaded(snapshot.location).names):
            raise
        reason = "another writer has replaced files"
        raise DatasetConflictError(snapshot.location.uri, reason) from None
    finally:
        examined.update(hits)
    examined.update((part.name, None) for part in todo if part.name not in hits)


def _commit(
    location: Location, version: int, found: Sequence[_Found], removed: Removal | None
) -> int:
    records = sum(hit.records for hit in found)
    changes = Changes(
        adds=[file for hit in found for file in hit.rest],
        removes=[hit.part.name for hit in found],
        metadata={NOTE: {"operation": "delete", "rows": records}},  # the condition may be personal
        exact=True,
        forget=removed is not None,
        removal=removed,
    )
    return commits.commit(location, version, changes)


def by_sql(condition: str) -> Matching:
    """Finds the rows that match a condition in SQL over the view `exchanges`.

    DuckDB checks no checksums of pages, so the files are compared with their digests first: in a
    damaged page, it could miss a record.
    """
    from chatpb.table._sql import conditions, views  # they need an extra of their own

    def matching(parts: Sequence[Part]) -> Iterator[tuple[int, Rows]]:
        if parts:
            for part in parts:
                _check_whole(part)
            try:
                with views.over(parts) as connection:
                    yield from conditions.matching(connection, condition)
            except QueryError:
                for part in parts:
                    part.metadata  # noqa: B018 (raises if it is because a file is missing or damaged)
                raise

    return matching


def by_expression(where: pc.Expression) -> Matching:
    """Finds the rows for which an expression of Arrow is true."""
    import pyarrow.compute as pc  # takes time, see `kernels`

    def matching(parts: Sequence[Part]) -> Iterator[tuple[int, Rows]]:
        for number, part in enumerate(parts):
            if part.may_match(where):
                found = [np.empty(0, np.int64)]
                first = 0
                for batch in part.batches({"is_wanted": where}, None):
                    wanted = pc.indices_nonzero(pc.fill_null(batch.column(0), False))
                    found.append(wanted.to_numpy().astype(np.int64) + first)
                    first += batch.num_rows
                rows = np.concatenate(found)
                if len(rows):
                    yield number, rows

    return matching


def _check_whole(part: Part) -> None:
    """Checks that all bytes of a file are what was written, as far as that is known.

    A file of others has no digest; its pages may have checksums, so it is read.

    Raises:
        DatasetError: It is missing, damaged, or cannot be read.
    """
    if not check_digest(part):
        for _ in part.batches(None, None, schema=columns_of([part])):
            pass
