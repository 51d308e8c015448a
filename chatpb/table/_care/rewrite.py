"""Copies rows from files of a table to new files, with all their columns, as they are.

The records are not taken apart: a row can be in any file, next to any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from chatpb.table._care.whole import check_digest
from chatpb.table._delta.changes import Changes, NewFile
from chatpb.table._delta.commits import commit
from chatpb.table._delta.location import Location, absence
from chatpb.table._delta.partitions import partitioning_of
from chatpb.table._delta.snapshot import Snapshot, load
from chatpb.table._delta.trouble import one_line
from chatpb.table._errors import DatasetConflictError, DatasetError
from chatpb.table._files.file_writer import FileWriter, Limits, remove
from chatpb.table._files.parts import Part
from chatpb.table._files.unknown import unknown
from chatpb.table._rows.columns import SCHEMA
from chatpb.table._rows.conform import plain
from chatpb.table._rows.long import apart

#: Numbers of rows of a file, ascending.
Rows: TypeAlias = npt.NDArray[np.int64]

_GROUP_BYTES: Final = 64 << 20
_GROUP_ROWS: Final = 100_000


def loaded(location: Location, version: int | None = None, *, checked: bool = True) -> Snapshot:
    """A table at a version, by default the last one.

    Raises:
        DatasetError: There is none, or it cannot be read.
    """
    snapshot = load(location, version, checked=checked)
    if snapshot is None:
        raise DatasetError(location.uri, absence(location))
    return snapshot


def rewritten(
    snapshot: Snapshot, parts: Iterable[tuple[Part, Rows | None]], level: int
) -> list[NewFile]:
    """New files with the rows of others, in order. They are not part of the table yet.

    Args:
        snapshot: The table.
        parts: The files, and the numbers of the rows of each that are left out.
        level: The level of zstd.

    Raises:
        DatasetError: A file cannot be read. Nothing is left behind.
    """
    given = list(parts)
    columns = columns_of([part for part, _ in given])
    others = set(unknown(columns)).difference(*(part.unknown for part, _ in given))
    limits = Limits(1 << 62, _GROUP_BYTES, _GROUP_ROWS)
    kind = partitioning_of(snapshot.partition_by)
    writer = FileWriter(snapshot.location, level, limits, kind, others)
    try:
        for part, left_out in given:
            check_digest(part)  # the headers of pages have no checksum
            _copy(part, left_out, columns, writer)
        return writer.close()
    except BaseException:
        writer.abandon()
        raise


def commit_files(location: Location, version: int, changes: Changes) -> int:
    """Commits files that were written; removes them after a conflict.

    After another failure, it may be unknown whether the commit happened: `vacuum` finds out.

    Raises:
        DatasetConflictError: As for `commit`.
    """
    try:
        return commit(location, version, changes)
    except DatasetConflictError:
        for file in changes.adds:
            remove(location, file.name)
        raise


def columns_of(parts: Sequence[Part]) -> pa.Schema:
    """All columns of files, also those of later versions of chatpb, in the form to be written."""
    found = pa.schema([])
    for part in parts:
        there = pa.schema([each.with_type(plain(each.type)) for each in part.schema])
        try:
            found = pa.unify_schemas([found, there])
        except pa.ArrowException as error:
            reason = f"has columns of other types than the files before it: {one_line(error)}"
            raise DatasetError(part.place, reason) from None
    return pa.schema(
        [
            SCHEMA.field(each.name)
            if each.name in SCHEMA.names and plain(SCHEMA.field(each.name).type) == plain(each.type)
            else each
            for each in found
        ]
    )


def _copy(part: Part, left_out: Rows | None, columns: pa.Schema, writer: FileWriter) -> None:
    json_share = (part.json_bytes or 0) / max(part.metadata.num_rows, 1)
    first = 0
    for batch in part.batches(None, None, schema=columns):
        if batch.schema != columns:  # of others, without dictionaries
            batch = batch.cast(columns)
        rows, end = batch, first + batch.num_rows
        if left_out is not None:
            some = left_out[np.searchsorted(left_out, first) : np.searchsorted(left_out, end)]
            if len(some):
                mask = np.ones(batch.num_rows, bool)
                mask[some - first] = False
                rows = batch.filter(pa.array(mask))
        first = end
        for each in apart(rows):
            _add(each, json_share, writer)
            del each
        del batch, rows  # before the next ones are read


def _add(rows: pa.RecordBatch, json_share: float, writer: FileWriter) -> None:
    while rows.num_rows:
        writer.make_room(rows.nbytes)
        piece = rows.slice(0, writer.free_rows)
        writer.add(piece, piece.nbytes, round(json_share * piece.num_rows))
        rows = rows.slice(piece.num_rows)
