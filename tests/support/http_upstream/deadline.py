"""A time limit for events of the misbehaving upstream."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType


class Deadline:
    """Limits the time of its body; the TimeoutError reports which event is missing."""

    def __init__(self, seconds: float, kind: str, seen: Mapping[str, int]) -> None:
        self._seconds = seconds
        self._kind = kind
        self._seen = seen
        self._timeout = asyncio.timeout(seconds)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            missing = f"no {self._kind} within {self._seconds} seconds, but {dict(self._seen)}"
            raise TimeoutError(missing) from None
