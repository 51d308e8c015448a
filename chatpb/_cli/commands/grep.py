"""The command ``grep``."""

from __future__ import annotations

import os
from typing import Any

import click

from chatpb._cli.failure import USAGE_ERROR, CliError
from chatpb._cli.log_keys import LogKeys
from chatpb._cli.options import keys_option, storage_option
from chatpb._cli.stored.printing import print_records, printing_options


@click.command()
@click.argument("arguments", nargs=-1, required=True, metavar="[CONDITION] PATH...")
@click.option(
    "--text",
    metavar="PATTERN",
    help="Print only records with a message, of the request or the answer, that this regular"
    " expression (RE2) matches anywhere. CONDITION is then optional.",
)
@click.option("-c", "--count", is_flag=True, help="Print only the number of records.")
@keys_option
@printing_options
@storage_option
def command(
    arguments: tuple[str, ...],
    text: str | None,
    count: bool,
    keys: LogKeys | None,
    output: str,
    **printing: Any,
) -> None:
    """Print the records for which a condition is true, as `cat` prints them.

    CONDITION is SQL, as in the WHERE clause of a query of the view exchanges; `chatpb sql TABLE`
    lists its columns. For what messages contain there are functions: says(messages, PATTERN) is
    true if a regular expression matches anywhere in a message, asks does the same in the request,
    answers in the answer, and calls(messages, NAME) is true if the answer calls that tool. Only
    the parts of a table that can match are read.

    \b
      chatpb grep "model = 'gpt-4.1' and total_tokens > 1000" table
      chatpb grep "finish_reason = 'length' or http_status >= 500" --what record table
      chatpb grep "start_time >= '2026-01-31 12:00' and labels['team'] = 'search'" table
      chatpb grep "calls(messages, 'get_weather') and model not like '%mini%'" table
      chatpb grep --text '(?i)refund' table logs/

    Times are UTC. Records that match but lack the part that is printed are counted on standard
    error. Exit code 1 if no record matches.
    """  # noqa: D301 (\b is click's mark of lines that keep their breaks)
    from chatpb._cli.stored.condition import Condition, saying  # imports pyarrow
    from chatpb._cli.stored.files import is_uri
    from chatpb._cli.stored.records import records

    first, *paths = arguments
    if text is None:
        wanted = Condition(first)
    elif os.path.exists(first) or is_uri(first):
        wanted, paths = Condition(saying(text)), list(arguments)
    else:
        wanted = Condition(f"({first}\n) AND {saying(text)}")
    if not paths:
        raise CliError("grep: no table or log is named after the condition", USAGE_ERROR)
    if count:
        found = sum(1 for _ in records(paths, wanted, keys=keys))
        click.echo(found)
    else:
        found = print_records(records(paths, wanted, keys=keys), output, **printing)
    if not found:
        click.get_current_context().exit(1)
