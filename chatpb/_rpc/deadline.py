"""How long a call can still take, and when a relay ends one before its deadline."""

from __future__ import annotations

import time
from typing import Final

#: How many seconds before its caller's deadline a relay ends a call at most.
_MOST: Final = 0.1


def ends_early_by(seconds: float) -> float:
    """How long before its caller's deadline a relay ends a call, so that the error still arrives.

    Args:
        seconds: How long the caller waits.
    """
    return min(_MOST, max(0.0, seconds) / 10)


def seconds_until(deadline: float | None) -> float | None:
    """The time until a deadline, at least 0; None if there is none.

    Args:
        deadline: In seconds of `time.monotonic`.
    """
    return None if deadline is None else max(0.0, deadline - time.monotonic())
