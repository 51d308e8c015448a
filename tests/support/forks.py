"""What a function does in a forked child of the test."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from contextlib import suppress

import pytest

from chatpb import _forks
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
        os.write(writing, _text(call).encode())
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


def as_child(call: Callable[[], object]) -> str:
    """The same without a fork: the process takes itself for a forked child.

    gRPC now and then aborts the child of a process whose threads are in it, as those of a server.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_forks, "_forks", _forks._forks + 1)
        return _text(call)


def _text(call: Callable[[], object]) -> str:
    try:
        return repr(call())
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
