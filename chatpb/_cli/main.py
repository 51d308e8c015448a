"""The entry point of the command line, which needs the extra `cli`, and more for some commands."""

from __future__ import annotations

import gc
import os
import sys
from typing import Final

from chatpb._extras import install_command, package_of

_EXTRAS = {
    "click": "cli",
    "grpc": "cli",
    "grpc_status": "cli",
    "httpx2": "cli",
    "rich": "cli",
    "deltalake": "cli,table",
    "numpy": "cli,table",
    "pyarrow": "cli,table",
    "duckdb": "cli,sql",
    "fsspec": "cli,sql",
    "cryptography": "cli,encryption",
    "zstandard": "cli,log",
}


#: How many objects are made before Python looks for garbage: modules make many and leave none.
_OBJECTS: Final = 100_000


def main() -> None:
    """Runs the command line, or reports how to install what it needs."""
    gc.set_threshold(_OBJECTS)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy would start threads; none is used
    os.environ.setdefault("RUST_LOG", "off")  # delta-rs would write its own lines about errors
    if sys.stdout is None:  # it was closed before the start
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (until the end)
    try:
        from chatpb._cli.app import app

        app()
    except ModuleNotFoundError as error:
        missing = package_of(error)
        if missing not in _EXTRAS:
            raise
        extra = _EXTRAS[missing]
        what = "the command line" if extra == "cli" else "this command"
        hint = install_command(extra)
        sys.stderr.write(f"chatpb: error: {what} needs {missing}: {hint}\n")
        sys.exit(2)
