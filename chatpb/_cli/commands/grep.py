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
@click.argument("arguments", nargs=-1, required=True, metavar="[PREDICATE] PATH...")
@click.option(
    "--text",
    metavar="PATTERN",
    help="Print only records with an answer that this regular expression (RE2) matches anywhere."
    " PREDICATE is then optional.",
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
    """Print the records that match a predicate, as `cat` prints them.

    PREDICATE compares columns of the table with values: =, !=, <, <=, >, >=, ~ (a regular
    expression that matches anywhere in the text), in (A, B), is null. Join comparisons with and,
    or, not and parentheses; quote values with spaces. A list such as messages matches if one
    of its elements does. For a map such as labels, name a key, as in labels.team. Null matches no
    comparison. Only the parts of a table that can match are read.

    \b
      chatpb grep 'model = gpt-4.1 and total_tokens > 1000' table
      chatpb grep 'messages.finish_reason = length or http_status >= 500' --what record table
      chatpb grep 'start_time >= 2026-01-31T12:00Z and labels.team in (search, "ad sales")' table
      chatpb grep 'tool_names ~ ^get_ and not model ~ mini' table
      chatpb grep --text '(?i)refund' table logs/

    Records that match but lack the part that is printed are counted on standard error. Exit code 1
    if no record matches.
    """  # noqa: D301 (\b is click's mark of lines that keep their breaks)
    from chatpb._cli.stored.language import parse  # imports pyarrow
    from chatpb._cli.stored.predicate import both, matching_text
    from chatpb._cli.stored.records import records

    first, *paths = arguments
    if text is None:
        wanted = parse(first)
    elif os.path.exists(first):
        wanted, paths = matching_text(text, "messages.content"), list(arguments)
    else:
        wanted = both(parse(first), matching_text(text, "messages.content"))
    if not paths:
        raise CliError("grep: no table or log is named after the predicate", USAGE_ERROR)
    if count:
        found = sum(1 for _ in records(paths, wanted, keys=keys))
        click.echo(found)
    else:
        found = print_records(records(paths, wanted, keys=keys), output, **printing)
    if not found:
        click.get_current_context().exit(1)
