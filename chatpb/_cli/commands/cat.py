"""The commands ``cat`` and ``grep``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click

from chatpb._cli.failure import USAGE_ERROR, CliError
from chatpb._cli.options import nan_option, output_option, unknown_option
from chatpb._cli.output import open_output
from chatpb._cli.stored.what import Printer, What

if TYPE_CHECKING:
    from chatpb._cli.stored.records import Stored

_what_option = click.option(
    "--what",
    type=click.Choice([what.value for what in What]),
    default=What.RESPONSE.value,
    show_default=True,
    help="What to print of each record that has it. A record is an object with all its parts.",
)
_chunks_option = click.option(
    "--chunks", is_flag=True, help="Print the chunks of a stream, not the completion they make."
)


def _printing(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options of printing."""
    for option in (unknown_option, nan_option, output_option, _chunks_option, _what_option):
        command = option(command)
    return command


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@_printing
def cat(paths: tuple[str, ...], output: str, **printing: Any) -> None:
    """Print what is in tables and logs, as lines of JSON.

    PATH is the directory of a table, a log, a directory of logs, or one file of a table. Prints
    the responses; streams are put together, and records without a response are passed over.

    \b
      chatpb cat table | jq -r '.choices[0].message.content'
      chatpb cat --chunks recent.chatpb.zst
      chatpb cat --what request table > requests.jsonl

    The JSON is equal to what was stored. What stands before an error is written.
    """  # noqa: D301 (click's mark of lines that keep their breaks)
    from chatpb._cli.stored.records import records  # few commands need pyarrow

    _print(records(paths), output, **printing)


@click.command()
@click.argument("arguments", nargs=-1, required=True, metavar="[PREDICATE] PATH...")
@click.option(
    "--text",
    metavar="PATTERN",
    help="Only records whose answer has a match of a regular expression (RE2) in its contents."
    " Then PREDICATE may be left out.",
)
@click.option("-c", "--count", is_flag=True, help="Print how many there are, and nothing else.")
@_printing
def grep(
    arguments: tuple[str, ...], text: str | None, count: bool, output: str, **printing: Any
) -> None:
    """Print the records that are wanted, as `cat` prints them.

    PREDICATE compares columns of the table with values: =, !=, <, <=, >, >=, ~ (a regular
    expression that is searched for), in (A, B), is null; and joins comparisons with and, or, not
    and parentheses. Values with spaces are quoted. Of a list such as finish_reasons one element
    must compare so; of a map such as labels a key is named, as in labels.team. What is null
    compares to nothing. Of a table, only what may match is read.

    \b
      chatpb grep 'model = gpt-4.1 and total_tokens > 1000' table
      chatpb grep 'finish_reasons = length or http_status >= 500' --what record table
      chatpb grep 'start_time >= 2026-01-31T12:00Z and labels.team in (search, "ad sales")' table
      chatpb grep 'tool_names ~ ^get_ and not model ~ mini' table
      chatpb grep --text '(?i)refund' table logs/

    Exit code 1 if there is none.
    """  # noqa: D301 (click's mark of lines that keep their breaks)
    from chatpb._cli.stored.predicate import both, matching_text, parse
    from chatpb._cli.stored.records import records

    first, *paths = arguments
    if text is None:
        wanted = parse(first)
    elif os.path.exists(first):
        wanted, paths = matching_text(text, "contents"), list(arguments)
    else:
        wanted = both(parse(first), matching_text(text, "contents"))
    if not paths:
        raise CliError("grep: no table or log is named after the predicate", USAGE_ERROR)
    if count:
        found = sum(1 for _ in records(paths, wanted))
        click.echo(found)
    else:
        found = _print(records(paths, wanted), output, **printing)
    if not found:
        click.get_current_context().exit(1)


def _print(
    found: Iterable[Stored],
    output: str,
    what: str,
    chunks: bool,
    allow_nan: bool,
    ignore_unknown: bool,
) -> int:
    """Prints records and says how many there were."""
    printer = Printer(What(what), chunks, allow_nan, ignore_unknown)
    count = 0
    with open_output(output, binary=False) as out:
        for data, place in found:
            count += 1
            for text in printer.texts(data, place):
                out.write(text + b"\n")
    return count
