"""How the tests run the command line."""

from __future__ import annotations

import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from click.testing import CliRunner, Result

from chatpb._cli.app import app
from support.interruptible import interruptible
from support.limits import TIMEOUT

PYTHON = (sys.executable, "-m", "chatpb")


def run(*args: object, stdin: bytes | str | None = None) -> Result:
    """Runs a command in this process."""
    return CliRunner().invoke(app, [str(arg) for arg in args], input=stdin, prog_name="chatpb")


@contextmanager
def started(*args: object) -> Iterator[subprocess.Popen[bytes]]:
    """Starts a command as a process of its own, with pipes; it is ended after TIMEOUT."""
    pipe = subprocess.PIPE
    command = [*PYTHON, *map(str, args)]
    with interruptible():
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)
    with process:
        watchdog = threading.Timer(TIMEOUT, process.kill)
        watchdog.start()
        try:
            yield process
        except BaseException:
            process.kill()
            raise
        finally:
            watchdog.cancel()


def peak_memory() -> int:
    """The most bytes of memory that this process has held since its program began."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count the process that this one was forked from
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) << 10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10
