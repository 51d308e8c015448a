"""The command ``compact``, which writes tables; the compact chunks of streams are unrelated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from chatpb._cli.failure import USAGE_ERROR, CliError
from chatpb._cli.log_keys import LogKeys
from chatpb._cli.options import input_options, keys_option
from chatpb._cli.progress import progress
from chatpb._cli.reading.collect import Collector, files
from chatpb._cli.reading.input import STDIN, Reading, nothing_in
from chatpb._cli.reading.known import PREFIX, Known
from chatpb._cli.reading.streams import MadeRows
from chatpb._cli.tally import counted
from chatpb._pairs import key_and_value
from chatpb._record import label_fields, labelled

if TYPE_CHECKING:
    from chatpb.table import Added

_ATTEMPTS: Final = 10  # while other processes add the same input


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


def _labels(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    labels = {}
    for text in texts:
        try:
            key, value = key_and_value(text)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
        labels[key] = value
    return labels


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.argument("dataset", metavar="DATASET")
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="KEY=VALUE",
    callback=_labels,
    help="A label for each record that is added. Can be given several times.",
)
@click.option(
    "--level",
    type=click.IntRange(1, 22),
    default=3,
    show_default=True,
    help="The level of zstd.",
)
@click.option(
    "--max-file-size",
    "file_mib",
    type=click.IntRange(min=1),
    default=1024,
    show_default=True,
    metavar="MIB",
    help="The size of the records in one file, in binary form before compression, about.",
)
@click.option(
    "--skip-damage",
    is_flag=True,
    help="Leave out what cannot be read, report it on standard error, and go on.",
)
@click.option(
    "--skip-unknown",
    is_flag=True,
    help="Leave out JSON of an unknown shape, report how much, and go on.",
)
@click.option(
    "--partition-by",
    type=click.Choice(["day", "month", "model", "caller"]),
    help="Which records share a file. A table keeps what it was created with.",
)
@keys_option
@input_options
def command(
    inputs: tuple[str, ...],
    dataset: str,
    labels: dict[str, str],
    level: int,
    file_mib: int,
    partition_by: str | None,
    skip_damage: bool,
    skip_unknown: bool,
    keys: LogKeys | None,
    reading: Reading,
) -> None:
    """Add logs and recorded JSON to a table.

    Reads logs (.chatpb.zst); and responses, pages of stored completions, chunks, requests and
    errors as JSON, JSON lines or server-sent events. In a directory, reads all files below it that
    end in .chatpb.zst, .json, .jsonl, .ndjson or .sse; all but the first also with .gz or .zst
    after that. Each exchange becomes a row: a stream is one row with all its chunks, and an answer
    x.json or x.sse is joined with its request x.request.json. In JSON lines, chunks with the same
    id are one stream.

    An object may also hold a request and its response: what `chatpb cat --what record` prints,
    request and response, messages and response, and the lines of OpenAI's batch files. Their other
    members become labels. JSON of any other shape is an error, unless --skip-unknown is given.

    DATASET is a Delta Lake table: a directory, or a URI such as s3://bucket/table. It is created if
    it does not exist.

    \b
      chatpb compact /var/log/chatpb table
      chatpb compact --label run=eval-7 responses.jsonl table
      chatpb compact --partition-by day /var/log/chatpb s3://bucket/table

    Adds everything or nothing: if the command fails or is interrupted, the table stays as it was.
    Nothing is added twice: input that was added before is recognised, even if it was moved, and the
    same command adds only what logs and files of JSON lines have grown by. Several processes may
    add to a table at the same time.

    Exit code 1 or 2 if there is nothing to read; 0 if all of it is in the table already.

    Prints the number of records added, the size of their JSON, the size of the files that contain
    them, and the ratio.
    """  # noqa: D301 (\b is click's mark of lines that keep their breaks)
    from chatpb.table import DatasetConflictError

    names = _files(inputs, dataset)
    how = How(labels, level, file_mib << 20, partition_by, skip_damage, skip_unknown, keys, reading)
    for attempt in range(_ATTEMPTS):
        try:
            added, collector = _add(names, dataset, how)
            break
        except DatasetConflictError:  # another process has added some of the input meanwhile
            if attempt == _ATTEMPTS - 1 or STDIN in names:
                raise
    if not added.records:
        click.echo("nothing new")
    else:
        click.echo(
            f"{counted(added.records, 'record')}, {added.json_bytes:,} bytes of JSON,"
            f" {added.table_bytes:,} of table: {added.table_bytes / max(added.json_bytes, 1):.1%}"
        )
    if collector.skipped:
        click.echo(f"{collector.skipped:,} could not be read and were left out")
    if collector.unknown:
        verb = "was" if collector.unknown == 1 else "were"
        click.echo(f"{collector.unknown:,} of an unknown shape {verb} left out")


def _add(names: list[str], dataset: str, how: How) -> tuple[Added, Collector]:
    """Adds what is new of the files, in one commit."""
    from chatpb._cli.stored.labels import with_labels
    from chatpb.table import Dataset  # few commands need pyarrow

    with (
        Dataset(dataset).writer(
            level=how.level, max_file_bytes=how.file_bytes, partition_by=how.partition_by
        ) as writer,
        progress(names) as advance,
    ):
        known = Known(writer.taken_before(PREFIX))
        collector = Collector(
            known, how.reading, how.skip_damage, how.skip_unknown, advance, _note, how.keys
        )
        fields = label_fields(how.labels)
        for made in collector.records(names):
            if isinstance(made, MadeRows):
                writer.write_rows(with_labels(made.rows, how.labels), made.json_bytes)
            else:
                writer.write(labelled(made.data, fields), made.json_bytes)
        writer.taken = known.taken()
    return writer.added, collector


def _files(inputs: tuple[str, ...], dataset: str) -> list[str]:
    """The files to read, of which there is at least one, and no table without one."""
    from chatpb._cli.stored.files import is_dataset

    names: list[str] = []
    for name in inputs:
        found = files([name])
        if not found and is_dataset(Path(name)):
            raise CliError(
                f"{name}: a table, which is not input; try `chatpb cat --what record {name} |"
                f" chatpb compact - {dataset}`",
                USAGE_ERROR,
            )
        names += found
    if not names:
        raise CliError(nothing_in(inputs), USAGE_ERROR)
    return names


def _note(text: str) -> None:
    click.echo(f"chatpb: note: {text}", err=True)
