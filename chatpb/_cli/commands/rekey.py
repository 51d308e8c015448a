"""The command ``rekey``."""

from __future__ import annotations

import click

from chatpb import _endings
from chatpb._cli.failure import USAGE_ERROR, CliError
from chatpb._cli.log_keys import LogKeys
from chatpb._cli.options import keys_option
from chatpb._cli.reading.input import nothing_in, walk
from chatpb._cli.tally import counted
from chatpb._errors import os_error_text


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@keys_option
def command(paths: tuple[str, ...], keys: LogKeys | None) -> None:
    """Encrypt logs that are encrypted with the last key of the file of keys.

    PATH is a log, or a directory: then all logs below it. Logs whose key is that one already stay
    as they are, and so do records that are not encrypted. Records keep their positions, so
    `chatpb compact` goes on where it was.

    \b
      chatpb-server key >> keys.txt
      chatpb rekey --keys keys.txt /var/log/chatpb

    The file of keys needs the old keys, too. Each log is replaced in one step; copies and backups
    stay encrypted with the old keys. Exit code 1 if a log could not be encrypted, for example
    because a relay writes to it with an old key: the old keys are still needed then.
    """  # noqa: D301 (\b is click's mark of lines that keep their breaks)
    from chatpb.log import LogError, rekey

    if keys is None:
        raise CliError("rekey: expected --keys FILE or CHATPB_LOG_KEYS", USAGE_ERROR)
    file = keys.file
    names = list(walk(paths, (_endings.LOG,)))
    if not names:
        raise CliError(nothing_in(paths), USAGE_ERROR)
    changed = failed = 0
    for name in names:
        try:
            changed += rekey(name, file) > 0
        except (LogError, OSError) as error:
            failed += 1
            text = error if isinstance(error, LogError) else f"{name}: {os_error_text(error)}"
            click.echo(f"chatpb: left as it is: {text}", err=True)
    click.echo(f"{counted(changed, 'log')} of {len(names):,} got the key {file.current.id}")
    if failed:
        raise CliError(f"{counted(failed, 'log')} could not be encrypted anew")
