"""Conversions, wherever the relay needs one: a long one leaves the event loop to other calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar

from chatpb import ConversionError, binary_to_json

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


def json_of(data: bytes, message_type: Any) -> bytes:
    """The JSON text of a message in binary form, with NaN where an upstream has written it.

    Raises:
        ConversionError: The message has no JSON form.
    """
    try:
        return binary_to_json(data, message_type)
    except ConversionError:  # NaN is not JSON, but some servers send it
        return binary_to_json(data, message_type, allow_nan=True)
