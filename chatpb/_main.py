"""The entry point of the command line, which needs the extra `cli`."""

from __future__ import annotations

import sys

_EXTRA = {"click", "grpc", "grpc_status", "rich"}


def main() -> None:
    """Runs the command line, or says how to install what it needs."""
    try:
        from chatpb._cli import app

        app()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRA:
            raise
        sys.stderr.write(
            f"chatpb: error: the command line needs {missing}: pip install 'chatpb[cli]'\n"
        )
        sys.exit(2)
