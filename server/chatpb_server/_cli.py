"""The command line."""

from __future__ import annotations

import asyncio
import logging
import signal

import click

from chatpb_server.address import Address, AddressError
from chatpb_server.app import serving
from chatpb_server.builtin import BuiltinUpstream

_EXAMPLES = """\b
Examples:
  chatpb-server
  chatpb-server --listen 127.0.0.1:0      # a free port, named in the first line of output
  chatpb-server --listen '[::1]:50051' --grace 5
"""


@click.command(epilog=_EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--listen",
    default="127.0.0.1:50051",
    show_default=True,
    metavar="HOST:PORT",
    help="Where to listen: a loopback address. Port 0 takes a free port.",
)
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    default=30,
    show_default=True,
    metavar="SECONDS",
    help="How long running calls may take to finish after SIGTERM or SIGINT.",
)
@click.version_option(package_name="chatpb")
def _command(listen: str, grace: float) -> int:
    """Serves chat completions over gRPC, with health and reflection.

    The answers come from the builtin upstream, a deterministic model that needs no key and no
    network. When it is ready, the server prints one line, "listening on HOST:PORT". SIGTERM or
    SIGINT ends it after the running calls, and a second one at once.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        address = Address.parse(listen)
    except AddressError as error:
        raise click.UsageError(str(error)) from None
    try:
        asyncio.run(_serve(address, grace))
    except AddressError as error:
        raise click.ClickException(str(error)) from None
    except asyncio.CancelledError:  # by a second signal
        return 1
    return 0


async def _serve(address: Address, grace: float) -> None:
    stopping = asyncio.Event()
    task = asyncio.current_task()

    def stop() -> None:
        if stopping.is_set() and task is not None:
            task.cancel()
        stopping.set()

    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_number, stop)
    async with serving(BuiltinUpstream(), str(address), grace=grace) as port:
        click.echo(f"listening on {address._replace(port=port)}")
        await stopping.wait()


def run() -> int:
    """Runs the command and returns the exit code; a user's mistake is one line, not a traceback."""
    try:
        return _command.main(prog_name="chatpb-server", standalone_mode=False) or 0
    except click.ClickException as error:
        click.echo(f"chatpb-server: {error.format_message()}", err=True)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
