"""How long tests wait, and how much they do."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable
from typing import Any, Final

#: Seconds that no step of a test takes, even on a busy machine: whatever takes longer hangs.
TIMEOUT: Final = 60
#: The same for steps that start a Java virtual machine or another language's runner.
LONG_TIMEOUT: Final = 300
#: Whether to run the tests at full length (`make soak`).
SOAK: Final = bool(os.environ.get("CHATPB_SOAK"))


async def within(awaitable: Awaitable[Any], seconds: float = TIMEOUT) -> Any:
    """Awaits something.

    Raises:
        TimeoutError: It takes longer than `seconds`.
    """
    return await asyncio.wait_for(awaitable, seconds)
