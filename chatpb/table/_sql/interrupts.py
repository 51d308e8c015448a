"""Lets Ctrl-C end a query of DuckDB.

DuckDB looks for signals only now and then, and reports them in several ways. So a query runs in a
thread of its own, while the main thread waits for it and for signals.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

_T = TypeVar("_T")
_AGAIN: Final = 0.05  # seconds: an interruption before a query has begun has no effect


class _Connection(Protocol):
    def interrupt(self) -> None: ...


def interruptible(connection: _Connection, call: Callable[[], _T]) -> _T:
    """What a call that runs a query returns.

    Args:
        connection: The connection that the query uses.
        call: The call. It runs in another thread, if this is the main thread, which alone gets
            signals.

    Raises:
        KeyboardInterrupt: SIGINT came. The query has ended, unless SIGINT came twice.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()
    results: list[_T] = []
    errors: list[BaseException] = []
    ended = threading.Event()  # after a signal, `Thread.join` takes the thread for ended

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:  # raised where the call was made
            errors.append(error)
        finally:
            ended.set()

    threading.Thread(target=run, name="chatpb query", daemon=True).start()
    try:
        ended.wait()
    except KeyboardInterrupt:
        while not ended.is_set():
            connection.interrupt()
            ended.wait(_AGAIN)
        raise
    if errors:
        raise errors[0]
    return results[0]
