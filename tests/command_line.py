"""How the tests run the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from click.testing import CliRunner, Result

from chatpb._cli import app

PYTHON = (sys.executable, "-m", "chatpb")


def run(*args: object, stdin: bytes | str | None = None) -> Result:
    """Runs a command in this process."""
    return CliRunner().invoke(app, [str(arg) for arg in args], input=stdin, prog_name="chatpb")


def start(args: Sequence[object], **options: object) -> subprocess.Popen[bytes]:
    """Starts a command as a process of its own, with pipes."""
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE) | options
    return subprocess.Popen([*PYTHON, *map(str, args)], env=environment, **pipes)  # type: ignore[call-overload, no-any-return]
