"""Work on what may be large, none of which holds the event loop.

What is short is done at once. Work that runs without Python's lock, or in short steps, goes to a
thread (`threaded`); all other work goes to another process (`apart`). Threads and processes are
few and serve nothing else, so a caller who keeps them busy delays only large or unusual contents.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar, TypeVarTuple

from chatpb._mapping import convert
from chatpb._rpc.offload import LARGE
from chatpb_server.core.apart import Job
from chatpb_server.core.reading import json_of

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

#: The reference works on so many bytes for milliseconds, whatever they are.
SHORT: Final = 16 * 1024
#: It works as long on a chunk or an event, however short it is, as on so many bytes.
_EACH: Final = 200

_threads: Final = ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 2), "chatpb.convert")
#: Each waits for another process.
_waiting: Final = ThreadPoolExecutor(2, "chatpb.apart")


def work_on(pieces: Sequence[bytes]) -> int:
    """The size, for `apart`, of work on chunks or events that is not worth another process."""
    return min(sum(map(len, pieces)) + _EACH * len(pieces), LARGE)


async def threaded(size: int, function: Callable[[*_Ts], _T], *args: *_Ts) -> _T:
    """Calls a function, in a thread if it works on more than `LARGE` bytes.

    Args:
        size: How many bytes the function works on.
        function: The function. It runs without Python's lock, or gives that up every few
            milliseconds.
        *args: Its arguments.
    """
    if size <= LARGE:
        return function(*args)
    return await asyncio.get_running_loop().run_in_executor(_threads, function, *args)


async def stepwise(size: int, function: Callable[[*_Ts], _T], *args: *_Ts) -> _T:
    """Calls a function of short steps, in a thread if it works on more than `SHORT` bytes.

    Args:
        size: How many bytes the function works on.
        function: The function, such as one that goes over the fields of a message.
        *args: Its arguments.
    """
    if size <= SHORT:
        return function(*args)
    return await asyncio.get_running_loop().run_in_executor(_threads, function, *args)


async def apart(size: int, function: Callable[[*_Ts], _T], *args: *_Ts) -> _T:
    """Calls a function that may hold Python's lock.

    More than `SHORT` bytes go to a thread, more than `LARGE` to another process, which ends if the
    task is cancelled.

    Args:
        size: How many bytes the function works on.
        function: The function, of a module.
        *args: Its arguments.

    Raises:
        ConversionError: From the function; or it needs too much memory.
        RuntimeError: The function failed in another way, in another process.
    """
    if size <= SHORT:
        return function(*args)
    loop = asyncio.get_running_loop()
    if size <= LARGE:
        return await loop.run_in_executor(_threads, function, *args)
    job = Job(function, *args)
    try:
        result: _T = await loop.run_in_executor(_waiting, job.run)
    except asyncio.CancelledError:
        job.end()
        raise
    return result


async def json_to_binary(data: bytes, message_type: Any, *, allow_nan: bool = False) -> bytes:
    """What `chatpb.json_to_binary` returns."""
    if len(data) > SHORT:
        binary = await threaded(len(data), convert.native_binary, data, message_type, allow_nan)
        if binary is not None:
            return binary
    return await apart(len(data), _json_to_binary, data, message_type, allow_nan)


def json_to_binary_in_thread(data: bytes, message_type: Any) -> bytes:
    """What `json_to_binary` returns, if NaN is allowed, for a caller in a thread of its own."""
    if len(data) > LARGE:
        binary = convert.native_binary(data, message_type, True)
        if binary is None:
            binary = Job(_json_to_binary, data, message_type, True).run()
        return binary
    return _json_to_binary(data, message_type, True)


async def binary_to_json(data: bytes, message_type: Any) -> bytes:
    """What `chatpb.binary_to_json` returns."""
    return await _to_json(convert.binary_to_json, data, message_type, allow_nan=False)


async def json_text(data: bytes, message_type: Any) -> bytes:
    """What `json_of` returns."""
    return await _to_json(json_of, data, message_type, allow_nan=True)


async def _to_json(
    function: Callable[[bytes, Any], bytes], data: bytes, message_type: Any, *, allow_nan: bool
) -> bytes:
    if len(data) > SHORT:
        text = await threaded(len(data), convert.native_json, data, message_type, allow_nan)
        if text is not None:
            return text
    return await apart(len(data), function, data, message_type)


def _json_to_binary(data: bytes, message_type: Any, allow_nan: bool) -> bytes:
    return convert.json_to_binary(data, message_type, allow_nan=allow_nan)
