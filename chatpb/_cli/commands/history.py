"""The command ``history``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from chatpb._cli.options import storage_option
from chatpb._cli.tally import columns


@click.command()
@click.argument("table", metavar="TABLE")
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(min=1),
    metavar="COUNT",
    help="Show only that many of the last versions.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines.")
@storage_option
def command(table: str, limit: int | None, as_json: bool) -> None:
    """List the versions of a table, the newest first.

    For each: when it was made, by which operation, how many files were added (+) and removed (-),
    how many records came or went, and the program that made it. `chatpb restore` goes back to one.

    \b
      chatpb history table
      chatpb history --json table | jq 'select(.operation == "delete")'
    """  # noqa: D301 (\b is click's mark of lines that keep their breaks)
    from chatpb._cli.stored.files import table_at

    commits = table_at(table).history(limit)
    if as_json:
        for commit in commits:
            click.echo(json.dumps(asdict(commit), default=_text))
        return
    lines = [["version", "time", "operation", "files", "records", "written by"]]
    for commit in commits:
        time = "" if commit.time is None else f"{commit.time:%Y-%m-%d %H:%M:%S}"
        files = f"+{commit.files_added:,} -{commit.files_removed:,}"
        records = "" if commit.records is None else f"{commit.records:+,}"
        lines.append([f"{commit.version}", time, commit.operation, files, records, commit.engine])
    click.echo(columns(lines, left=(1, 2, 5)))


def _text(value: Any) -> str:
    return f"{value:%Y-%m-%dT%H:%M:%S.%fZ}"
