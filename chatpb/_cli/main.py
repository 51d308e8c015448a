"""The entry point of the command line, which needs the extra `cli`, and more for some commands."""

from __future__ import annotations

import sys

_EXTRAS = {
    "click": "cli",
    "grpc": "cli",
    "grpc_status": "cli",
    "rich": "cli",
    "numpy": "cli,table",
    "pyarrow": "cli,table",
    "zstandard": "cli,log",
}


def main() -> None:
    """Runs the command line, or says how to install what it needs."""
    try:
        from chatpb._cli.app import app

        app()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRAS:
            raise
        extra = _EXTRAS[missing]
        what = "the command line" if extra == "cli" else "this command"
        sys.stderr.write(f"chatpb: error: {what} needs {missing}: pip install 'chatpb[{extra}]'\n")
        sys.exit(2)
