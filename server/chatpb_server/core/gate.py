"""How many calls run at once, and how many may wait."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress


class OverloadError(Exception):
    """No room for one more call: too many run and wait already.

    Attributes:
        lacks: What there is no room in, for the metrics: ``queue`` or ``memory``.
    """

    lacks = "queue"


class MemoryLimitError(OverloadError):
    """No room for the bytes of a request: the others hold too many."""

    lacks = "memory"


class Gate:
    """Admits calls, first come, first served.

    Args:
        most_running: How many calls run at once.
        most_waiting: How many more may wait for their turn; the next is refused at once.
    """

    def __init__(self, most_running: int, most_waiting: int) -> None:
        self._most_running = most_running
        self._free = most_running  # less than none after `resize`, until enough calls have ended
        self._most_waiting = most_waiting
        self._waiting: deque[asyncio.Future[None]] = deque()

    def resize(self, most_running: int, most_waiting: int) -> None:
        """Changes how many may run and wait. Those that do already stay."""
        more = most_running - self._most_running
        self._most_running, self._most_waiting = most_running, most_waiting
        self._free += more
        while self._waiting and self._free > 0:
            self._free -= 1
            self._pass_on()

    def check(self) -> None:
        """Checks that one more call could run or wait now.

        Raises:
            OverloadError: There is no room.
        """
        if self._free <= 0 and len(self._waiting) >= self._most_waiting:
            raise OverloadError

    def turn(self, on_wait: Callable[[int], None]) -> Turn:
        """A turn, for as long as the context lasts, which is entered once.

        Args:
            on_wait: Is called with the number of waiting calls, when this one joins or leaves them.

        Raises:
            OverloadError: There is no room to wait.
        """
        return Turn(self, on_wait)

    async def _wait(self, on_wait: Callable[[int], None]) -> None:
        self.check()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        on_wait(len(self._waiting))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the turn came, too late
                self._pass_on()
            else:
                with suppress(ValueError):  # passed over already
                    self._waiting.remove(turn)
            raise
        finally:
            on_wait(len(self._waiting))

    def _pass_on(self) -> None:
        """Gives the turn to the one that has waited longest."""
        while self._waiting and self._free >= 0:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class Turn:
    """See `Gate.turn`."""

    __slots__ = ("_gate", "_on_wait")

    def __init__(self, gate: Gate, on_wait: Callable[[int], None]) -> None:
        self._gate = gate
        self._on_wait = on_wait

    async def __aenter__(self) -> None:
        if self._gate._free > 0:
            self._gate._free -= 1
        else:
            await self._gate._wait(self._on_wait)

    async def __aexit__(self, *_: object) -> None:
        self._gate._pass_on()
