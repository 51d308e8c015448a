"""Ends a call from the side of the server, for which gRPC has no function in asyncio.

A call whose caller does not read its answer has a message in gRPC that cannot be taken back, and
its status would wait behind that message. gRPC gives such a call up when nobody listens for its end
any more. The task that listens is the one that has started the handler's task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final
from weakref import WeakSet

#: The function of gRPC whose task calls the handler.
_HANDLING: Final = "_handle_exceptions"
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


def _make(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
) -> asyncio.Task[Any]:
    return asyncio.Task(coroutine, loop=loop, **options)
