"""How fast a caller has to send what it asks, and to read what it gets."""

from __future__ import annotations

import time
from typing import Final

#: Over how many seconds the rate is measured at most, once the relay is stopping.
_STOPPING: Final = 2.0


class TooSlowError(Exception):
    """Too few bytes have moved."""


class Pace:
    """The least rate of all transfers with callers.

    Args:
        seconds: Over how many seconds it is measured. None: it is not.
        rate: How many bytes have to move in a second, on average over that time. At least one
            byte has to move in that time.
    """

    def __init__(self, seconds: float | None, rate: int) -> None:
        self._seconds = seconds
        self._rate = rate

    @property
    def seconds(self) -> float | None:
        """Over how many seconds the rate is measured."""
        return self._seconds

    def hurry(self) -> None:
        """The relay stops: measures over a few seconds, so that transfers that stall end soon."""
        if self._seconds is not None:
            self._seconds = min(self._seconds, _STOPPING)

    def meter(self) -> Meter:
        """Measures one transfer, from now on."""
        return Meter(self)

    def least(self, seconds: float) -> float:
        """How many bytes have to move in a number of seconds."""
        return max(1.0, seconds * self._rate)


class Meter:
    """Measures one transfer. See `Pace.meter`."""

    __slots__ = ("_began", "_moved", "_pace")

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._began = time.monotonic()
        self._moved = 0

    def left(self) -> float:
        """After how many seconds to check at the latest.

        Never more than a few: the time over which the rate is measured may become shorter.
        """
        seconds = self._pace.seconds
        if seconds is None:
            return _STOPPING
        return max(0.0, min(_STOPPING, self._began + seconds - time.monotonic()))

    def skip(self, seconds: float) -> None:
        """Nothing could move for that time, and not through the fault of the caller."""
        self._began += seconds

    def moved(self, count: int) -> None:
        """That many more bytes have moved.

        Raises:
            TooSlowError: The time is over, and in all of it too few bytes have moved.
        """
        self._moved += count
        now = time.monotonic()
        seconds = self._pace.seconds
        if seconds is None or (passed := now - self._began) < seconds:
            return
        if self._moved < self._pace.least(passed):
            raise TooSlowError
        self._began, self._moved = now, 0
