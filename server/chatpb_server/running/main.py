"""The entry point of the script."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from chatpb_server.running import NAME
from chatpb_server.running.garbage import collect_rarely

_EXTRA = (
    "aiohttp",
    "click",
    "google",
    "grpc",
    "grpc_channelz",
    "grpc_health",
    "grpc_reflection",
    "grpc_status",
    "prometheus_client",
    "pydantic",
)


def main(arguments: Sequence[str] | None = None, name: str = NAME) -> NoReturn:
    """Runs the command line, or prints what has to be installed.

    Args:
        arguments: The arguments. None: those of the process.
        name: How the command is called, in its help and before errors.
    """
    # gRPC's runtime writes a line to standard error for each failed handshake, as often as somebody
    # causes one. Whoever looks for the reason of one can set the variable.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    given = sys.argv[1:] if arguments is None else arguments
    collect_rarely()
    try:
        if list(given[:1]) == ["check"]:  # a probe does not wait for all that a server imports
            from chatpb_server.running.check import command
            from chatpb_server.running.entry import run_command

            sys.exit(run_command(command, given[1:], name, f"{name} check"))
        from chatpb_server.running.cli import run
    except ModuleNotFoundError as error:
        from chatpb._extras import install_command, package_of

        missing = package_of(error)
        if missing not in _EXTRA:
            raise
        hint = install_command("server")
        print(f"{name}: error: needs {missing}: {hint}", file=sys.stderr)
        sys.exit(2)
    sys.exit(run(given, name))
