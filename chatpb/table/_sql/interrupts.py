"""Lets Ctrl-C end a query of DuckDB.

DuckDB looks for signals only now and then, and reports them in several ways. So a query runs in a
thread of its own, while the main thread waits for it and for signals.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

_T = TypeVar("_T")
_AGAIN: Final = 0.05  # seconds: an interruption before a query has begun has no effect
_PATIENCE: Final = 5.0  # seconds, after a second SIGINT


class _Connection(Protocol):
    def interrupt(self) -> None: ...


def interruptible(connection: _Connection, call: Callable[[], _T]) -> _T:
    """What a call that runs a query returns.

    Args:
        connection: The connection that the query uses.
        call: The call. It runs in another thread, if this is the main thread, which alone gets
            signals.

    Raises:
        KeyboardInterrupt: SIGINT came. The query has ended, unless SIGINT came again and the
            query did not end for some seconds after that.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()
    results: list[_T] = []
    errors: list[BaseException] = []
    ended = threading.Event()  # after a signal, `Thread.join` takes the thread for ended
    begins = threading.Lock()  # is taken by the query, or by a signal that comes before it begins

    def run() -> None:
        if not begins.acquire(blocking=False):
            return
        try:
            results.append(call())
        except BaseException as error:  # raised where the call was made
            errors.append(error)
        finally:
            ended.set()

    try:
        threading.Thread(target=run, name="chatpb query", daemon=True).start()
        ended.wait()
    except KeyboardInterrupt:
        if not begins.acquire(blocking=False):
            _end(connection, ended)
        raise
    if errors:
        raise errors[0]
    return results[0]


def _end(connection: _Connection, ended: threading.Event) -> None:
    """Interrupts a query until it ends. A connection that is busy could not even be closed."""
    until = math.inf
    while not ended.is_set() and time.monotonic() < until:
        try:
            connection.interrupt()
            ended.wait(_AGAIN)
        except KeyboardInterrupt:
            until = min(until, time.monotonic() + _PATIENCE)
