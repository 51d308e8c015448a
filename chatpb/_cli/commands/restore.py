"""The command ``restore``."""

from __future__ import annotations

import click

from chatpb._cli.options import storage_option


@click.command()
@click.argument("table", metavar="TABLE")
@click.argument("version", type=click.IntRange(min=0))
@storage_option
def command(table: str, version: int) -> None:
    """Make a table what it was at an earlier version.

    That is a new version, so it can be undone in the same way. `chatpb history` lists the versions.
    Input that was added since is forgotten, so that `chatpb compact` adds it again.

    \b
      chatpb history table
      chatpb restore table 41

    Fails if files of the version have been removed by `chatpb vacuum` or `delete --vacuum`.
    """  # noqa: D301 (\b is click's mark of lines that keep their breaks)
    from chatpb._cli.stored.files import table_at

    made = table_at(table).restore(version)
    click.echo(f"version {made} is what version {version} was")
