"""Threads that the end of the process does not wait for, or not for long."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

_T = TypeVar("_T")

#: How many seconds they get at the end. One that waits for a lost disk never ends.
_LAST: Final = 1.0
_running: Final[set[threading.Thread]] = set()


async def in_daemon_thread(function: Callable[..., _T], *arguments: Any) -> _T:
    """What a function returns that may wait for a file for ever, such as one on a lost disk.

    The end of the process does not wait for it.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    result: concurrent.futures.Future[_T] = concurrent.futures.Future()

    def wake() -> None:
        if not done.done():  # nobody waits any more otherwise
            done.set_result(None)

    def run() -> None:
        try:
            result.set_result(function(*arguments))
        except Exception as error:
            result.set_exception(error)
        finally:
            with suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(wake)
            _running.discard(threading.current_thread())

    thread = threading.Thread(target=run, name="files", daemon=True)
    _running.add(thread)
    thread.start()
    await done
    return result.result()


@atexit.register
def _let_end() -> None:
    """Lets those that are at work come to their end.

    The interpreter ends a daemon thread where it next takes the lock; in the middle of a native
    library this can crash the process.
    """
    until = time.monotonic() + _LAST
    for thread in tuple(_running):
        with suppress(RuntimeError):  # it was not started
            thread.join(max(0.0, until - time.monotonic()))
