"""How the tests run the command line."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from click.testing import CliRunner, Result

from chatpb._cli import app

PYTHON = (sys.executable, "-m", "chatpb")
SECONDS = 60


def run(*args: object, stdin: bytes | str | None = None) -> Result:
    """Runs a command in this process."""
    return CliRunner().invoke(app, [str(arg) for arg in args], input=stdin, prog_name="chatpb")


@contextmanager
def started(*args: object) -> Iterator[subprocess.Popen[bytes]]:
    """Starts a command as a process of its own, with pipes; it is ended after SECONDS."""
    pipe = subprocess.PIPE
    command = [*PYTHON, *map(str, args)]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        watchdog = threading.Timer(SECONDS, process.kill)
        watchdog.start()
        try:
            yield process
        except BaseException:
            process.kill()
            raise
        finally:
            watchdog.cancel()
