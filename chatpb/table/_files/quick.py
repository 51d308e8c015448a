"""Reads all rows of a Parquet file, without what `pyarrow.dataset` adds.

A dataset gives each batch all columns of the schema, also those that the file lacks, and looks up
each single word. Its module imports pandas, if that is installed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet

from chatpb.table._rows.columns import COLUMNS, SCHEMA
from chatpb.table._rows.long import let_go
from chatpb.table._rows.tree import Column, ListColumn

_IN_LIST: Final = "list.element"
_DICTIONARY: Final = "RLE_DICTIONARY"


def read(
    stream: Any,
    metadata: pa.parquet.FileMetaData,
    rows: int,
    groups: Sequence[int],
    *,
    is_own: bool,
    is_near: bool,
) -> Iterator[pa.RecordBatch]:
    """The rows of row groups, with those columns of `SCHEMA` that the file has.

    Args:
        stream: The file.
        metadata: Its footer.
        rows: How many rows a batch has at most.
        groups: The numbers of the row groups.
        is_own: Whether chatpb wrote it.
        is_near: Whether it is on this machine. Else it is read in few and large pieces.

    Raises:
        OSError: It cannot be read, or is damaged.
        pyarrow.ArrowException: It is damaged.
    """
    file = pa.parquet.ParquetFile(
        stream,
        metadata=metadata,
        read_dictionary=_with_dictionary(metadata) if is_own else [],
        pre_buffer=not is_near,
        page_checksum_verification=True,
    )
    there = set(file.schema_arrow.names)
    names = [name for name in SCHEMA.names if name in there]
    for group in groups:  # Arrow cannot join the dictionaries of several
        batches = file.iter_batches(rows, [group], names, use_threads=False)
        yield from let_go(batches, metadata.row_group(group).num_rows)


def _with_dictionary(metadata: pa.parquet.FileMetaData) -> list[str]:
    """The columns of words that have a dictionary in each row group, and nothing else."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    schema = metadata.schema
    return [
        schema.column(number).path
        for number in range(len(schema))
        if schema.column(number).path in _WORDS
        and all(_DICTIONARY in group.column(number).encodings for group in groups)
    ]


def _words(columns: Sequence[Column | ListColumn], around: str) -> Iterator[str]:
    """The paths of columns of words. Read as dictionaries, each word is looked at once."""
    for column in columns:
        if isinstance(column, ListColumn):
            yield from _words(column.columns, f"{around}{column.name}.{_IN_LIST}.")
        elif column.words is not None:
            yield around + column.name


_WORDS: Final = frozenset(_words(COLUMNS, ""))
