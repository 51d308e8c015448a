"""Adds to a table what is new of files."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click

from chatpb._cli.log_keys import LogKeys
from chatpb._cli.progress import progress
from chatpb._cli.reading.collect import Collector
from chatpb._cli.reading.input import STDIN, Reading
from chatpb._cli.reading.stores import is_store, new_stored
from chatpb._cli.reading.streams import Made, MadeRows
from chatpb._cli.tally import counted
from chatpb._known import PREFIX, Known
from chatpb._record import label_fields, labelled

if TYPE_CHECKING:
    from chatpb.table import Added, DatasetWriter

_ATTEMPTS: Final = 10  # while other processes add the same input
_PAUSE: Final = 0.05  # seconds, see `pause`


@dataclass(frozen=True)
class How:
    """How input is added, by the options of the command."""

    labels: dict[str, str]
    level: int
    file_bytes: int
    partition_by: str | None
    skip_damage: bool
    skip_unknown: bool
    keys: LogKeys | None
    reading: Reading
    small_files: int


def added(names: list[str], dataset: str, how: How, due: Callable[[], bool] | None = None) -> bool:
    """Adds what is new, and reports it.

    Args:
        names: The files to read.
        dataset: The table.
        how: How to add it.
        due: When to end before everything is read. Default: never; and nothing new is reported too.

    Returns:
        Whether it ended before everything was read.
    """
    from chatpb._cli.stored.files import table_at  # few commands need pyarrow
    from chatpb.table import DatasetConflictError
    from chatpb.table._delta.commits import pause

    for attempt in range(_ATTEMPTS):
        try:
            done, collector, is_cut = _add(names, dataset, how, due)
            break
        except DatasetConflictError:  # another process has added some of the input meanwhile
            if attempt == _ATTEMPTS - 1 or STDIN in names:
                raise
            pause(attempt, _PAUSE)
    if not done.records:
        if due is None:
            click.echo("nothing new")
    elif not done.json_bytes:  # of a table that others wrote
        click.echo(f"{counted(done.records, 'record')}, {done.table_bytes:,} bytes of table")
    else:
        click.echo(
            f"{counted(done.records, 'record')}, {done.json_bytes:,} bytes of JSON,"
            f" {done.table_bytes:,} of table: {done.table_bytes / done.json_bytes:.1%}"
        )
    if collector.skipped:
        click.echo(f"{collector.skipped:,} could not be read and were left out")
    if collector.unknown:
        verb = "was" if collector.unknown == 1 else "were"
        click.echo(f"{collector.unknown:,} of an unknown shape {verb} left out")
    if how.small_files and done.records:
        with suppress(DatasetConflictError):  # others replace files too
            table_at(dataset).optimize(level=how.level, more_than=how.small_files)
    return is_cut


def _add(
    names: list[str], dataset: str, how: How, due: Callable[[], bool] | None
) -> tuple[Added, Collector, bool]:
    """Adds what is new of the files, in one commit; see `added`."""
    from chatpb._cli.stored.files import table_at
    from chatpb._cli.stored.tables import check_other, is_table, new_records

    stores = [name for name in names if is_store(name)]
    names = [name for name in names if name not in stores]
    tables = [name for name in names if is_table(name)]
    names = [name for name in names if name not in tables]
    with (
        table_at(dataset).writer(
            level=how.level, max_file_bytes=how.file_bytes, partition_by=how.partition_by
        ) as writer,
        progress(names) as advance,
    ):
        known = Known(writer.taken_before(PREFIX))
        collector = Collector(
            known, how.reading, how.skip_damage, how.skip_unknown, advance, _note, how.keys
        )
        fields = label_fields(how.labels)
        is_cut = False
        for table in tables:
            check_other(table, dataset)
            for made in new_records(table, known, as_rows=not fields):
                _write(writer, [made], how.labels, fields)
        for store in stores:
            for stored in new_stored(store, known):
                is_cut = due is not None and due()
                if is_cut:
                    break
                _write(writer, [stored], how.labels, fields)
        for made in () if is_cut else collector.records(names):
            is_cut = due is not None and collector.can_stop and due()
            if is_cut:
                break
            given = [made]
            del made
            _write(writer, given, how.labels, fields)
        writer.taken = known.taken()
        writer.input = known.new_files()
    return writer.added, collector, is_cut


def _write(
    writer: DatasetWriter, given: list[Made | MadeRows], labels: dict[str, str], fields: bytes
) -> None:
    """Writes what it takes out of a list: nothing else has it while a large record is written."""
    from chatpb._cli.stored.tables import with_labels

    made = given.pop()
    if isinstance(made, MadeRows):
        writer.write_rows(with_labels(made.rows, labels), made.json_bytes)
        return
    data, json_bytes = made
    del made
    given_data = [labelled(data, fields)]
    del data
    writer.write(given_data.pop(), json_bytes)


def _note(text: str) -> None:
    click.echo(f"chatpb: note: {text}", err=True)
