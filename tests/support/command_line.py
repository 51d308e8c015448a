"""Runs the command line for tests."""

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
    """Starts a command as a process with pipes, which is killed after TIMEOUT seconds."""
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
    """The peak memory of this process in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would include the process that this one was forked from
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) << 10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10
