"""The entry point of the script."""

from __future__ import annotations

import sys

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
    """Runs the command line, or says what is not installed."""
    try:
        from chatpb_server.running.cli import run
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRA:
            raise
        hint = f"chatpb-server: error: needs {missing}: pip install 'chatpb[server]'"
        print(hint, file=sys.stderr)
        sys.exit(2)
    sys.exit(run())
