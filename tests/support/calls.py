"""Calls of the relay over gRPC, and how they end."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from grpc import StatusCode, aio

from support.limits import within

#: Options of a channel that has a connection of its own, even if others have the same address.
OWN_CONNECTION: Final = (("grpc.use_local_subchannel_pool", 1),)


async def ending(call: Any) -> StatusCode:
    """Reads a streaming call to its end; returns its status."""
    with suppress(aio.AioRpcError):
        while await within(call.read()) is not aio.EOF:
            pass
    return StatusCode(await within(call.code()))
