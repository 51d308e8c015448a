"""Ends a call from the side of the server, for which gRPC has no function in asyncio.

A call whose caller does not read its answer has a message in gRPC that cannot be taken back, and
its status would wait behind that message. gRPC gives such a call up when nobody listens for its end
any more. The task that listens is the one that has started the handler's task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final
from weakref import WeakKeyDictionary

#: The function of gRPC whose task calls the handler.
_HANDLING: Final = "_handle_exceptions"
_Parents = WeakKeyDictionary[asyncio.Task[Any], "asyncio.Task[Any] | None"]
_PARENTS: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, _Parents]] = WeakKeyDictionary()


class Runtime:
    """gRPC's tasks in the running event loop, from now on."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        if loop not in _PARENTS:
            _PARENTS[loop] = _follow(loop)
        self._parents = _PARENTS[loop]

    def reset_call(self) -> None:
        """Ends the call whose handler runs in this task, which is to end at once.

        The caller gets CANCELLED, without the rest of the message. gRPC itself keeps the first call
        of a server to the end, and the last one until another comes.
        """
        task = asyncio.current_task()
        parent = None if task is None else self._parents.get(task)
        # If it waits for this task already, the caller has ended the call.
        if parent is not None and getattr(parent, "_fut_waiter", None) is not task:
            parent.cancel()


def _follow(loop: asyncio.AbstractEventLoop) -> _Parents:
    """Notes the parents of the tasks that call handlers."""
    parents: _Parents = WeakKeyDictionary()
    make: Any = loop.get_task_factory() or _make

    def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
        task = make(loop, coroutine, **options)
        if getattr(coroutine, "__name__", "") == _HANDLING:
            parents[task] = asyncio.current_task(loop)
        return task

    loop.set_task_factory(factory)
    return parents


def _make(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
) -> asyncio.Task[Any]:
    return asyncio.Task(coroutine, loop=loop, **options)
