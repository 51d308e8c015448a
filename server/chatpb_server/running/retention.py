"""Retention: stored completions that are too old are deleted."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Final

from chatpb.store import Store, StoreError

#: How many are deleted at once, so that others can write in between, and the pause after that.
_MOST: Final = 500
_PAUSE: Final = 0.05
#: The least and the longest time, in seconds, between two looks at what is too old. In between, it
#: is a part of the age.
_LEAST: Final = 1.0
_LONGEST: Final = 3600.0
_PART: Final = 24

_logger = logging.getLogger(__name__)


class Retention:
    """Deletes what is older than the settings allow, again and again.

    Args:
        store: The store.
        age: How old completions may get; None for any age.
    """

    def __init__(self, store: Store, age: timedelta | None) -> None:
        self._store = store
        self._age = age
        self._changed = asyncio.Event()

    def renew(self, age: timedelta | None) -> None:
        """Changes how old completions may get."""
        if age != self._age:
            self._age = age
            self._changed.set()

    async def run(self) -> None:
        """Deletes, for as long as it runs."""
        while True:
            self._changed.clear()
            seconds = None
            if self._age is not None:
                await self._forget(self._age)
                seconds = min(max(self._age.total_seconds() / _PART, _LEAST), _LONGEST)
            try:
                async with asyncio.timeout(seconds):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def _forget(self, age: timedelta) -> None:
        total = 0
        try:
            while count := await self._store.forget(datetime.now(UTC) - age, _MOST):
                total += count
                if count < _MOST:
                    break
                await asyncio.sleep(_PAUSE)
        except StoreError as error:
            _logger.warning("stored completions that are too old stay for now: %s", error)
        except Exception as error:
            _logger.error("stored completions that are too old stay for now", exc_info=error)
        if total:
            _logger.info("deleted %d stored completions that were too old", total)
