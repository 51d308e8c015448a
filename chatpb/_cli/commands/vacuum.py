"""The command ``vacuum``."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

import click

from chatpb._cli.options import storage_option
from chatpb._cli.tally import counted

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)")
_UNITS: Final = {"": "days", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def duration(_: click.Context, __: click.Parameter, text: str) -> timedelta:
    """A number with a unit, or of days."""
    match = _DURATION.fullmatch(text)
    if match is not None:
        try:
            return timedelta(**{_UNITS[match[2]]: float(match[1])})
        except OverflowError:
            pass
    raise click.BadParameter(f"{text} is not a number with one of the units s, m, h and d")


@click.command()
@click.argument("table", metavar="TABLE")
@click.option(
    "--older",
    callback=duration,
    default="7d",
    show_default=True,
    metavar="TIME",
    help="Keep the versions that were current since then: 30d, 12h, 90m.",
)
@click.option("--dry-run", is_flag=True, help="Remove nothing; only say what would be removed.")
@storage_option
def command(table: str, older: timedelta, dry_run: bool) -> None:
    """Remove the files that only old versions of a table need.

    `optimize`, `delete` and `restore` leave the files that they replace, for those who read an
    older version. This removes them, the files of the log that describe only such versions, and
    what killed writers have left.

    \b
      chatpb vacuum table
      chatpb vacuum --older 30d --dry-run table

    Whoever still reads a version that is removed fails. Files that no version contains are kept for
    an hour at least, since another process may be about to commit them.
    """  # noqa: D301 (\b is click's mark of lines that keep their breaks)
    from chatpb._cli.stored.files import table_at

    done = table_at(table).vacuum(older, dry_run=dry_run)
    verb = "would be removed" if dry_run else "removed"
    click.echo(
        f"{counted(done.files, 'file')} of {done.bytes:,} bytes, and"
        f" {counted(done.log_files, 'file')} of the log, {verb}"
    )
    click.echo(f"version {done.oldest} is the oldest that can be read")
    if done.unfinished:
        click.echo(f"{counted(len(done.unfinished), 'file')} of no version kept: too young")
