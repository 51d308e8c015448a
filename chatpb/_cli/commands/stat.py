"""The command ``stat``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

import click

from chatpb._cli.failure import USAGE_ERROR, CliError
from chatpb._cli.options import storage_option
from chatpb._cli.tally import Row, columns, counted, share
from chatpb._mapping.residue import residue_size
from chatpb.v1 import CompletionRecord, Residue

_INNER: Final = re.compile(r"\.(list\.(element|item)|key_value)\b")


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="TABLE...")
@click.option(
    "--residue",
    "count_residue",
    is_flag=True,
    help="Read all records, and count what the typed fields could not hold.",
)
@storage_option
def command(paths: tuple[str, ...], count_residue: bool) -> None:
    """Show which columns of a table take how many bytes.

    Prints for each column its bytes in the files, their share, its bytes before compression, and
    the number of values; then the rows, files and row groups, and the ratio to the JSON that was
    read.

    \b
      chatpb stat table
      chatpb stat --residue table

    Reads only the ends of the files, except with --residue.
    """  # noqa: D301 (\b is click's mark of lines that keep their breaks)
    from chatpb._cli.stored.files import LogFile, column_chunks, opened

    small: Counter[str] = Counter()
    large: Counter[str] = Counter()
    values: Counter[str] = Counter()
    rows = groups = files = size = json = 0
    is_known = True
    for file in opened(paths):
        if isinstance(file, LogFile):
            raise CliError(f"{file.place}: a log, which has no columns", USAGE_ERROR)
        metadata = file.metadata
        files += 1
        rows += metadata.num_rows
        groups += metadata.num_row_groups
        size += file.size or 0
        json += file.json_bytes or 0
        is_known &= file.json_bytes is not None
        for chunk in column_chunks(file):
            name = _INNER.sub("", chunk.path_in_schema)
            small[name] += chunk.total_compressed_size
            large[name] += chunk.total_uncompressed_size
            values[name] += chunk.num_values
    head = ["column", "bytes", "share", "uncompressed", "values"]
    lines = [head]
    for name, count in small.most_common():
        share = f"{count / size:.1%}"
        lines.append([name, f"{count:,}", share, f"{large[name]:,}", f"{values[name]:,}"])
    rest = size - small.total()
    if size:
        lines.append(["(footers)", f"{rest:,}", f"{rest / size:.1%}", f"{rest:,}", ""])
    click.echo(columns(lines, left=(0,)))
    counts = (counted(rows, "row"), counted(files, "file"), counted(groups, "row group"))
    click.echo("\n{} in {} and {}, {} bytes".format(*counts, f"{size:,}"))
    if is_known and json:
        click.echo(f"{json:,} bytes of JSON, ratio {size / json:.1%}")
    if count_residue:
        click.echo(_residue(paths))


def _residue(paths: Sequence[str]) -> str:
    """What the messages of all records have besides their typed fields."""
    from chatpb._cli.stored.records import records

    total = Row()
    for stored in records(paths):
        record = CompletionRecord.FromString(stored.data)
        for field, value in record.ListFields():
            below = field.message_type
            if below is None or Residue.DESCRIPTOR not in (
                part.message_type for part in below.fields
            ):
                continue
            for message in value if field.is_repeated else [value]:
                size, has_extra = residue_size(message)
                total.add(True, 0, message.ByteSize())
                total.add_residue(size, has_extra, not size)
    return (
        f"{counted(total.objects, 'message')}: {total.clean:,} without residue, {total.extra:,}"
        f" with extra members; residue {share(total.residue, total.protobuf)} of their bytes"
    )
