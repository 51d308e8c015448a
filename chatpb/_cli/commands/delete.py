"""The command ``delete``."""

from __future__ import annotations

import click

from chatpb._cli.failure import DATA_ERROR, USAGE_ERROR, CliError
from chatpb._cli.options import storage_option
from chatpb._cli.tally import counted


@click.command()
@click.argument("table", metavar="TABLE")
@click.argument("condition")
@click.option(
    "--vacuum",
    is_flag=True,
    help="Remove all earlier versions too, so that nothing of the records is left in the table.",
)
@click.option(
    "--level",
    type=click.IntRange(1, 22),
    default=3,
    show_default=True,
    help="The level of zstd of the files that are written again.",
)
@storage_option
def command(table: str, condition: str, vacuum: bool, level: int) -> None:
    """Delete the records of a table that match a condition.

    CONDITION is SQL over the view `exchanges`, as for `chatpb grep`. What it selects is deleted in
    one commit; the files without such records stay as they are.

    \b
      chatpb delete table "caller = 'alice'" --vacuum
      chatpb delete table "start_time < now() - interval 90 days"

    Without --vacuum, earlier versions still contain the records: `chatpb restore` brings them back,
    until `chatpb vacuum` removes those versions. With --vacuum, no file of the table contains them
    afterwards, nor does its log. Earlier versions are gone then, and those who are reading one
    fail. Backups, and the logs and files that were added to the table, are not touched.

    Exit code 1 if --vacuum had to keep files that another process may be writing, which are named;
    once they are older than an hour, `chatpb vacuum --older 0 TABLE` removes them.
    """  # noqa: D301 (\b is click's mark of lines that keep their breaks)
    from chatpb._cli.stored.files import table_at
    from chatpb.table import QueryError

    try:
        done = table_at(table).delete(condition, level=level, vacuum=vacuum)
    except QueryError as error:
        raise CliError(f"condition: {error}", USAGE_ERROR) from None
    click.echo(f"{counted(done.records, 'record')} deleted from {counted(done.files, 'file')}")
    if done.vacuumed is not None and done.vacuumed.unfinished:
        for name in done.vacuumed.unfinished:
            click.echo(f"chatpb: note: {name}: kept, another process may be writing it", err=True)
        raise click.exceptions.Exit(DATA_ERROR)
