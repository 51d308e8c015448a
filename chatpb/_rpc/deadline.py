"""When a relay ends a call whose caller waits for a limited time."""

from __future__ import annotations

from typing import Final

#: How many seconds before its caller's deadline a relay ends a call at most.
_MOST: Final = 0.1


def ends_early_by(seconds: float) -> float:
    """How long before its caller's deadline a relay ends a call, so that the error still arrives.

    Args:
        seconds: How long the caller waits.
    """
    return min(_MOST, max(0.0, seconds) / 10)
