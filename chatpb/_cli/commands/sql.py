"""The command ``sql``."""

from __future__ import annotations

import sys

import click

from chatpb._cli.failure import USAGE_ERROR, CliError
from chatpb._cli.options import storage_option
from chatpb._cli.output import STDOUT, open_output
from chatpb._cli.reading.input import STDIN

_FORMS = ("table", "csv", "json", "parquet")


@click.command()
@click.argument("table")
@click.argument("statement", required=False)
@click.option(
    "--format",
    "form",
    type=click.Choice(_FORMS),
    help="How to print the rows. JSON is one object a line; a table is for people, long values are"
    " cut. Default: by the ending of the output file (.csv, .json, .jsonl, .ndjson, .parquet, or"
    " .txt for a table); on standard output, a table.",
)
@click.option("-o", "--output", default=STDOUT, metavar="FILE", help="Write the rows to a file.")
@click.option(
    "--views",
    "as_statements",
    is_flag=True,
    help="Print the SQL that creates the views, for any DuckDB.",
)
@click.option(
    "--before",
    type=click.IntRange(min=0),
    metavar="VERSION",
    help="Add the views over the table as it was at a version, such as before.exchanges.",
)
@click.option(
    "--temp-directory",
    metavar="DIR",
    help="Where queries that need more than the memory may write. Default: they fail.",
)
@storage_option
def command(
    table: str,
    statement: str | None,
    form: str | None,
    output: str,
    as_statements: bool,
    before: int | None,
    temp_directory: str | None,
) -> None:
    """Query a table with SQL, as DuckDB understands it.

    There are the views exchanges, messages, tool_calls, tokens, alternatives, chunks and errors;
    docs/queries.md shows what to ask them. STATEMENT is SQL, or - for standard input. Without it,
    a prompt reads statements from a terminal; if there is no terminal, the views are printed with
    their columns.

    \b
      chatpb sql table "select model, sum(total_tokens) from exchanges group by model"
      chatpb sql table "select prompt, answer from exchanges" -o pairs.csv
      chatpb sql table "select content from messages where content ilike '%refund%'" --format json
      chatpb sql table --views > views.sql

    The table is not changed, and no other file is written.
    """  # noqa: D301 (\b is click's mark of lines that keep their breaks)
    from chatpb._cli.stored.sql import Session, statements  # imports pyarrow

    if as_statements:
        if statement is not None:
            raise CliError("--views and a statement exclude each other", USAGE_ERROR)
        with open_output(output, binary=False) as out:
            out.write(statements(table).encode())
        return
    with Session(table, before, temp_directory) as session:
        if statement is None and sys.stdin.isatty() and sys.stdout.isatty():
            session.prompt()
        elif statement is None:
            click.echo(session.columns())
        else:
            if statement == STDIN:
                statement = sys.stdin.buffer.read().decode("utf-8", "replace")
            session.write(statement, output, form)
