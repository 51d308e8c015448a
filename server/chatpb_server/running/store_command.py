"""The command ``store``: the layout of the database of stored completions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import click

from chatpb_server.running import NAME

_VARIABLE: Final = "CHATPB_SERVER_STORE"
_URL: Final = click.argument("url", metavar="[URL]", envvar=_VARIABLE)


@click.group(short_help="Check or migrate the database of stored completions.")
def command() -> None:
    """Checks or migrates the database of stored completions.

    A new release of chatpb can need another layout of the database than the one before. A relay
    then does not start until `migrate` has been run, once for each database. Make a backup first.
    """


@command.command(short_help="Report which layout a database has.")
@_URL
def check(url: str) -> int:
    """Reports which layout a database has, and changes nothing.

    URL is that of --store; without it, that of CHATPB_SERVER_STORE.

    Exit codes: 0 this release can use it, 1 it cannot, 2 the command line is wrong.
    """
    return _run("check", url)


@command.command(short_help="Bring a database to the layout of this release.")
@_URL
def migrate(url: str) -> int:
    """Brings a database to the layout of this release, in one transaction.

    URL is that of --store; without it, that of CHATPB_SERVER_STORE. A new database is set up.

    Exit codes: 0 this release can use it now, 1 it cannot, 2 the command line is wrong.
    """
    return _run("migrate", url)


def _run(name: str, url: str) -> int:
    from chatpb import store  # other commands do not need it
    from chatpb.store import Layout, StoreError

    function: Callable[[str], Layout] = getattr(store, name)
    try:
        layout = function(url)
    except ModuleNotFoundError as error:
        raise click.UsageError(str(error)) from None
    except StoreError as error:
        click.echo(f"{NAME}: {error}", err=True)
        return 1
    click.echo(str(layout))
    return 0 if layout.is_current else 1
