"""Conversions on an event loop: a long one leaves the loop to other calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")

#: Work on more bytes than this takes milliseconds, so it is done in a thread.
LARGE: Final = 256 * 1024


async def convert(size: int, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Calls a function, in a thread if it works on more than `LARGE` bytes.

    Args:
        size: How many bytes the function works on.
        function: The function.
        *args: Its arguments.
        **kwargs: Its keyword arguments.
    """
    if size > LARGE:
        return await asyncio.to_thread(function, *args, **kwargs)
    return function(*args, **kwargs)
