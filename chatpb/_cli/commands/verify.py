"""The command ``verify``."""

from __future__ import annotations

import click

from chatpb._cli.failure import CliError
from chatpb._cli.options import storage_option
from chatpb._cli.tally import counted


@click.command()
@click.argument("tables", nargs=-1, required=True, metavar="TABLE...")
@storage_option
def command(tables: tuple[str, ...]) -> None:
    """Check whether all files of a table are there and whole.

    Reads every byte of every file that belongs to the table now: compares it with the digest that
    was noted when the file was written, and turns all rows into records. Delta's log is compared
    with the digests of commits, and what it says of files with their rows. Names each file that is
    missing or damaged, with the reason.

    TABLE is a directory, or a URI such as s3://bucket/table.

    \b
      chatpb verify table
      chatpb verify table && rsync -a table/ backup/

    Exit code 1 if something is missing or damaged. Put a copy of such a file back under its name,
    or go back to a version without it with `chatpb restore`.
    """  # noqa: D301 (\b is click's mark of lines that keep their breaks)
    from chatpb._cli.stored.files import table_at  # few commands need pyarrow

    damaged = 0
    for table in tables:
        found = table_at(table).verify()
        for error in found.damaged:
            click.echo(f"chatpb: error: {error}", err=True)
        damaged += len(found.damaged)
        whole = found.files - len(found.damaged) + found.log_damaged
        click.echo(
            f"{table}: {counted(whole, 'file')} whole, with {counted(found.records, 'record')}"
            f" in {found.table_bytes:,} bytes"
        )
        if found.without_digest:
            click.echo(
                f"{counted(found.without_digest, 'file')} without a digest, which others wrote:"
                " the rows were read, but there is nothing to compare the bytes with"
            )
    if damaged:
        raise CliError(f"{counted(damaged, 'file')} missing or damaged")
