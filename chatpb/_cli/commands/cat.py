"""The command ``cat``."""

from __future__ import annotations

from typing import Any

import click

from chatpb._cli.failure import CliError
from chatpb._cli.log_keys import LogKeys
from chatpb._cli.options import keys_option, storage_option
from chatpb._cli.stored.printing import print_records, printing_options


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@keys_option
@printing_options
@storage_option
def command(paths: tuple[str, ...], keys: LogKeys | None, output: str, **printing: Any) -> None:
    """Print what is in tables and logs, as lines of JSON.

    PATH is the directory of a table, a log, a directory of logs, or one file of a table. Prints
    the responses: streams are put together, and records without a response are left out. How many
    were is reported on standard error.

    \b
      chatpb cat table | jq -r '.choices[0].message.content'
      chatpb cat --chunks recent.chatpb.zst
      chatpb cat --what request table > requests.jsonl

    The JSON is equal to what was stored. Records that come before an error are printed. Exit code 1
    if there are no records.
    """  # noqa: D301 (\b is click's mark of lines that keep their breaks)
    from chatpb._cli.stored.records import records  # imports pyarrow

    if not print_records(records(paths, keys=keys), output, **printing):
        raise CliError("no records in the input")
