"""How tables and logs are read: as records, all or those that are wanted."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
import pyarrow as pa

from chatpb._cli.failure import USAGE_ERROR, CliError
from chatpb._cli.reading.sniff import LOG_ENDING, is_log
from chatpb._cli.stored.predicate import Predicate
from chatpb._errors import ConversionError
from chatpb._stream.fold import fold
from chatpb.table import _commit
from chatpb.table._columns import COUNTS, ROOT, SCHEMA, column_of, made_texts
from chatpb.table._dataset import Dataset, Part
from chatpb.table._rows import from_batch, to_batch
from chatpb.v1 import CompletionRecord

_PARQUET: Final = ".parquet"
_ROWS: Final = 1000  # of a log that are looked at together
_CHUNKS: Final = "chunk_"
#: Columns that lack a text which the tokens beside it spell, with the field of the text.
_SPELLED: Final = {column_of(text.text): text.text.name for text in made_texts(ROOT)}


class Stored(NamedTuple):
    """A record that was stored.

    Attributes:
        data: It, in binary form.
        place: Where it is from.
    """

    data: bytes
    place: str


@dataclass(frozen=True)
class LogFile:
    """A file of a log.

    Attributes:
        path: The file.
    """

    path: Path

    def records(self) -> Iterator[bytes]:
        """Its records. Damage is told on standard error, if it is a torn end; else it is raised.

        Raises:
            DamagedLogError: It is damaged.
        """
        from chatpb.log import LogReader

        with LogReader(self.path, on_damage=_tell) as reader:
            for entry in reader:
                yield entry.data


def opened(paths: Sequence[str]) -> Iterator[Part | LogFile]:
    """The files of tables and logs.

    Raises:
        CliError: A path is neither.
    """
    for name in paths:
        path = Path(name)
        if not path.exists():
            raise CliError(f"{name}: no such file or directory", USAGE_ERROR)
        if path.is_file():
            if name.endswith(_PARQUET):
                yield Part(path.name, path.parent)
            elif is_log(name):
                yield LogFile(path)
            else:
                raise CliError(f"{name}: neither a table nor a log", USAGE_ERROR)
            continue
        logs = [
            Path(folder, member)
            for folder, _, members in os.walk(path)
            for member in members
            if member.endswith(LOG_ENDING)
        ]
        if _is_dataset(path):
            yield from Dataset(path).parts()
        elif not logs:
            raise CliError(f"{name}: there is no table in it and no log", USAGE_ERROR)
        for log in sorted(logs):
            yield LogFile(log)


def records(paths: Sequence[str], wanted: Predicate | None = None) -> Iterator[Stored]:
    """The records of tables and logs.

    Args:
        paths: Directories of tables or logs, or files of them.
        wanted: Which; None: all.

    Raises:
        CliError: A path is neither table nor log.
        DatasetError: A table is damaged.
        LogError: A log is damaged.
    """
    for file in opened(paths):
        if isinstance(file, Part):
            found = _of_part(file, wanted)
        else:
            found = file.records() if wanted is None else _of_log(file, wanted)
        for number, data in enumerate(found, 1):
            yield Stored(
                data, f"{file.path}: record {number}" if wanted is None else str(file.path)
            )


def _is_dataset(path: Path) -> bool:
    return (path / _commit.COMMIT).exists() or any(map(_commit.is_part, os.listdir(path)))


def _of_part(part: Part, wanted: Predicate | None) -> Iterator[bytes]:
    if wanted is None:
        for rows in part.batches(None, None):
            yield from from_batch(rows)
        return
    names = wanted.columns()
    looked_at = sorted({COUNTS, *names})
    for group in part.row_groups(wanted.pushed()):
        # Most columns are read only where there may be something to find.
        some = part.batches(looked_at, None, group)
        if any(
            any(_lacking(rows, name) for name in names) or wanted.mask(rows).true_count
            for rows in some
        ):
            for rows in part.batches(None, None, group):
                yield from from_batch(_chosen(rows, wanted))


def _of_log(log: LogFile, wanted: Predicate) -> Iterator[bytes]:
    found = log.records()
    while some := list(islice(found, _ROWS)):
        rows = to_batch(some)
        mask = wanted.mask(_with_texts(rows, wanted.columns()))
        yield from (data for data, hit in zip(some, mask.to_pylist(), strict=True) if hit)


def _chosen(rows: pa.RecordBatch, wanted: Predicate) -> pa.RecordBatch:
    return rows.filter(wanted.mask(_with_texts(rows, wanted.columns())))


def _lacking(rows: pa.RecordBatch, column: str) -> list[int]:
    """The rows in which tokens may spell a text that the column lacks."""
    with_tokens = rows.column(COUNTS).is_valid()
    if _spelled(column) is None or not with_tokens.true_count:
        return []
    texts = rows.column(column).to_pylist()
    return [
        index
        for index, has_tokens in enumerate(with_tokens.to_pylist())
        if has_tokens and (texts[index] is None or None in texts[index])
    ]


def _spelled(column: str) -> str | None:
    return _SPELLED.get(column.removeprefix(_CHUNKS))


def _with_texts(rows: pa.RecordBatch, columns: set[str]) -> pa.RecordBatch:
    """The columns, with the texts that are left out because tokens spell them."""
    found: dict[str, Any] = {name: rows.column(name) for name in sorted(columns)}
    for name in columns:
        member = _spelled(name)
        lacking = _lacking(rows, name)
        if member is None or not lacking:
            continue
        texts = found[name].to_pylist()
        for index in lacking:
            (data,) = from_batch(rows.slice(index, 1))
            texts[index] = _texts(CompletionRecord.FromString(data), name, member)
        found[name] = pa.array(texts, SCHEMA.field(name).type)
    return pa.RecordBatch.from_pydict(found)


def _texts(record: CompletionRecord, column: str, member: str) -> list[str | None]:
    if column.startswith(_CHUNKS):
        messages: list[Any] = [each.delta for c in record.chunks for each in c.choices]
    else:
        messages = [choice.message for choice in completion_of(record).choices]
    return [getattr(each, member) if each.HasField(member) else None for each in messages]


def completion_of(record: CompletionRecord) -> Any:
    """The completion of a record, put together if it came in chunks."""
    if record.HasField("completion") or not record.chunks:
        return record.completion
    try:
        return fold(record.chunks)
    except ConversionError:
        return record.completion


def _tell(damage: object) -> None:
    click.echo(f"chatpb: note: {damage}", err=True)
