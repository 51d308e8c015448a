"""The command ``optimize``."""

from __future__ import annotations

import click

from chatpb._cli.options import level_option, storage_option
from chatpb._cli.tally import counted


@click.command()
@click.argument("table", metavar="TABLE")
@click.option(
    "--file-size",
    "file_mib",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    metavar="MIB",
    help="The size of a file. Files of half of it and more stay as they are.",
)
@level_option
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Write the large files again too, such as for another --level.",
)
@storage_option
def command(table: str, file_mib: int, level: int, everything: bool) -> None:
    """Put the records of a table's small files into large ones.

    A query opens every file, and a small file compresses badly. Run this from time to time on a
    table to which little is added often, or let `chatpb compact --optimize-after` do it.

    \b
      chatpb optimize table
      chatpb optimize --all --level 19 table

    Others can read the table meanwhile, and add to it. The replaced files stay where they are for
    readers of older versions; `chatpb vacuum` removes them.
    """  # noqa: D301 (\b is click's mark of lines that keep their breaks)
    from chatpb._cli.stored.files import table_at

    done = table_at(table).optimize(file_bytes=file_mib << 20, level=level, everything=everything)
    if not done.removed:
        click.echo("nothing to do")
        return
    click.echo(
        f"{counted(done.removed, 'file')} of {done.bytes_removed:,} bytes became"
        f" {done.added:,} of {done.bytes_added:,}"
    )
