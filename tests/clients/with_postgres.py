"""Runs a command while a PostgreSQL server runs, with a new database for `openai_sdk`."""

from __future__ import annotations

import os
import subprocess
import sys

from support import postgres


def main() -> int:
    """Runs the command in the arguments."""
    with postgres.served(os.environ[postgres.VARIABLE]) as server:
        environ = {**os.environ, "CHATPB_SDK_STORE": server.new_database()}
        return subprocess.run(sys.argv[1:], env=environ, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
