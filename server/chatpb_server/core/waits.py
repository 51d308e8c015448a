"""Time limits of many waits, with one timer for all of them. Most waits end long before."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Hashable
from typing import Generic, Self, TypeVar

_T = TypeVar("_T", bound=Hashable)


class Waits(Generic[_T]):
    """What waits, in the order in which it began to; each may take the same time.

    Args:
        seconds: How long. None: as long as it likes.
        late: Is called with each that takes longer, which is then no longer in here.
    """

    def __init__(self, seconds: float | None, late: Callable[[_T], None]) -> None:
        self._seconds = seconds
        self._late = late
        self._due: dict[_T, float] = {}
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._due)

    def add(self, wait: _T) -> None:
        """Begins to wait, or begins again."""
        self._due.pop(wait, None)  # the last one that began is last
        if self._seconds is None:
            self._due[wait] = math.inf
            return
        due = self._due[wait] = self._loop.time() + self._seconds
        if self._timer is None:
            self._timer = self._loop.call_at(due, self._look)

    def discard(self, wait: _T) -> None:
        """Waits no longer."""
        self._due.pop(wait, None)

    def shorten(self, seconds: float) -> None:
        """Lets no wait take longer than that from now on, those that have begun included."""
        self._seconds = seconds if self._seconds is None else min(self._seconds, seconds)
        latest = self._loop.time() + seconds
        for wait, due in self._due.items():
            self._due[wait] = min(due, latest)
        if self._timer is not None:
            self._timer.cancel()
        self._look()

    def _look(self) -> None:
        """Calls `late` with those whose time is up, and looks again when the next one's is."""
        self._timer = None
        now = self._loop.time()
        while self._due:
            wait, due = next(iter(self._due.items()))
            if due > now:
                if due < math.inf:
                    self._timer = self._loop.call_at(due, self._look)
                return
            del self._due[wait]
            self._late(wait)


class Wait:
    """A context of this task that ends in time, like `asyncio.timeout`, but without its own timer.

    Args:
        waits: Has the time limit. `end` is what it calls.

    Attributes:
        is_over: Whether its time was up.
    """

    __slots__ = ("_cancelling", "_task", "_waits", "is_over")

    def __init__(self, waits: Waits[Wait]) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._waits = waits
        self.is_over = False

    def __enter__(self) -> Self:
        self._waits.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        self._waits.discard(self)
        if not self.is_over:
            return
        if self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def end(self) -> None:
        """Ends it: its time is up."""
        if not self.is_over:
            self.is_over = True
            self._task.cancel()
