"""What a function does in a forked child of the test."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from contextlib import suppress

import pytest

from support.limits import TIMEOUT

#: From Python 3.12 on, a fork of a process with threads is warned of: that is what is tested.
allowed = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


def in_child(call: Callable[[], object]) -> str:
    """The result of a call in a forked child, or the type and the text of its error.

    Raises:
        TimeoutError: The call takes too long.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            text = repr(call())
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(writing, text.encode())
        os._exit(0)
    os.close(writing)
    try:
        if not select.select([reading], [], [], TIMEOUT)[0]:
            raise TimeoutError("the child hangs")
        return os.read(reading, 65536).decode()
    finally:
        os.close(reading)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
