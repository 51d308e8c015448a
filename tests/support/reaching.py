"""Calls with time limits that are to expire at the upstream, not before the call gets there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from support.http_upstream import HttpUpstream

_T = TypeVar("_T")
#: Time limits of calls, in seconds. A busy machine may need a longer one.
LIMITS: Final = (0.3, 3, 30)


async def until_asked(upstream: HttpUpstream, call: Callable[[float], Awaitable[_T]]) -> _T:
    """Makes a call with longer and longer time limits, until one is long enough to be received.

    Args:
        upstream: The upstream, which does not answer in time.
        call: The call, with a time limit in seconds.

    Returns:
        What the last call returned.
    """
    before = len((await upstream.state()).sent)
    for seconds in LIMITS:
        result = await call(seconds)
        if len((await upstream.state()).sent) > before:
            break
    return result
