"""A pause for what fails again and again, so that not every call waits for it."""

from __future__ import annotations

import time
from typing import Final

#: After so many failures in a row there is a pause, of so many seconds after each failure.
_FAILURES: Final = 3
_PAUSE: Final = 1.0


class Pauses:
    """Says who may try. In a pause nobody does; after it, one at a time until one succeeds.

    Args:
        failures: How many failures in a row lead to a pause.
        seconds: How long it is.
    """

    def __init__(self, failures: int = _FAILURES, seconds: float = _PAUSE) -> None:
        self._most = failures
        self._seconds = seconds
        self._failures = 0
        self._until = 0.0
        self._is_probing = False

    @property
    def is_paused(self) -> bool:
        """Whether it has failed so often that not everybody may try."""
        return self._failures >= self._most

    def try_now(self) -> bool:
        """Whether to try. If so, `succeeded`, `failed` or `left` is called afterwards."""
        if not self.is_paused:
            return True
        if self._is_probing or time.monotonic() < self._until:
            return False
        self._is_probing = True
        return True

    def succeeded(self) -> None:
        """Notes a success."""
        self._failures = 0
        self._is_probing = False

    def failed(self) -> None:
        """Notes a failure."""
        self._failures += 1
        self._until = time.monotonic() + self._seconds
        self._is_probing = False

    def left(self) -> None:
        """Notes that nothing was learned."""
        self._is_probing = False
