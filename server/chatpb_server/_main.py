"""The entry point of the script."""

from __future__ import annotations

import sys

_EXTRA = ("click", "google", "grpc", "grpc_health", "grpc_reflection", "grpc_status")


def main() -> None:
    """Runs the command line, or says what is not installed."""
    try:
        from chatpb_server._cli import run
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRA:
            raise
        sys.exit(f"chatpb-server: {missing} is not installed; try: pip install 'chatpb[server]'")
    sys.exit(run())
