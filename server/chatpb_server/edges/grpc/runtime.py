"""What gRPC has no function for in asyncio.

It cannot end a call from the side of the server. A call whose caller does not read its answer has a
message in gRPC that cannot be taken back, and its status would wait behind that message. gRPC gives
such a call up when nobody listens for its end any more. The task that listens is the one that has
started the handler's task.

It also wakes the loop too often. Its thread writes a byte to a socket for each event. When the loop
wakes, gRPC handles all events that have come, but reads one byte; the others wake the loop for
nothing.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final
from weakref import WeakSet

#: The function of gRPC whose task calls the handler.
_HANDLING: Final = "_handle_exceptions"
#: The function of gRPC that handles the events that have come.
_WOKEN: Final = "_handle_events"
#: How many bytes are taken at once; the others wake the loop again.
_MOST_EVENTS: Final = 256
_FOLLOWED: Final[WeakSet[asyncio.AbstractEventLoop]] = WeakSet()


class _HandlerTask(asyncio.Task[Any]):
    """A task that calls a handler.

    Attributes:
        parent: The task that has started it.
    """

    __slots__ = ("parent",)

    parent: asyncio.Task[Any] | None


def follow_handlers() -> None:
    """Notes the parents of the tasks that call handlers, from now on in the running event loop."""
    loop = asyncio.get_running_loop()
    if loop in _FOLLOWED:
        return
    _FOLLOWED.add(loop)
    make: Any = loop.get_task_factory() or _make

    def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
        if getattr(coroutine, "__name__", "") != _HANDLING:
            return make(loop, coroutine, **options)
        task = _HandlerTask(coroutine, loop=loop, **options)
        task.parent = asyncio.current_task(loop)
        return task

    loop.set_task_factory(factory)


def reset_call() -> None:
    """Ends the call whose handler runs in this task, which is to end at once.

    The caller gets CANCELLED, without the rest of the message. gRPC itself keeps the first call of
    a server to the end, and the last one until another comes.
    """
    task = asyncio.current_task()
    parent = task.parent if isinstance(task, _HandlerTask) else None
    # If it waits for this task already, the caller has ended the call.
    if parent is not None and getattr(parent, "_fut_waiter", None) is not task:
        parent.cancel()


@contextmanager
def events_at_once() -> Iterator[None]:
    """Lets all events that gRPC has at one moment wake the running loop once.

    What gRPC makes first for this loop has to be made in this context.
    """
    loop: Any = asyncio.get_running_loop()
    add = loop.add_reader

    def add_reader(source: Any, callback: Callable[..., object], *args: Any) -> Any:
        function = getattr(callback, "func", callback)
        if getattr(function, "__name__", "") == _WOKEN:
            return add(source, _all_at_once, source, callback, *args)
        return add(source, callback, *args)

    loop.add_reader = add_reader
    try:
        yield
    finally:
        loop.add_reader = add


def _all_at_once(source: socket.socket, handle: Callable[..., object], *args: Any) -> None:
    """Takes all bytes that have come but one, which gRPC reads: their events are there already."""
    more = len(source.recv(_MOST_EVENTS, socket.MSG_PEEK)) - 1
    if more > 0:
        source.recv(more)
    handle(*args)


def _make(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
) -> asyncio.Task[Any]:
    return asyncio.Task(coroutine, loop=loop, **options)
