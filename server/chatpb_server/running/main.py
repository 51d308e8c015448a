"""The entry point of the script."""

from __future__ import annotations

import os
import sys

from chatpb._extras import install_command, package_of

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


def main() -> None:
    """Runs the command line, or prints what has to be installed."""
    # gRPC's runtime writes a line to standard error for each failed handshake, as often as somebody
    # causes one. Whoever looks for the reason of one can set the variable.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        from chatpb_server.running.cli import run
    except ModuleNotFoundError as error:
        missing = package_of(error)
        if missing not in _EXTRA:
            raise
        hint = install_command("server")
        print(f"chatpb-server: error: needs {missing}: {hint}", file=sys.stderr)
        sys.exit(2)
    sys.exit(run())
