"""Calls of the relay over gRPC, and how they end."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

import grpc
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from grpc import StatusCode, aio
from grpc_status import rpc_status

from support.limits import within

SERVICE: Final = "/chatpb.v1.ChatCompletionService"
UNARY: Final = f"{SERVICE}/CreateChatCompletion"
STREAM: Final = f"{SERVICE}/StreamChatCompletion"
#: Options of a channel that has a connection of its own, even if others have the same address.
OWN_CONNECTION: Final = (("grpc.use_local_subchannel_pool", 1),)


async def ending(call: Any) -> StatusCode:
    """Reads a streaming call to its end; returns its status."""
    with suppress(aio.AioRpcError):
        while await within(call.read()) is not aio.EOF:
            pass
    return StatusCode(await within(call.code()))


def status(code: StatusCode, message: str, *details: Message) -> grpc.Status:
    """The status that a server ends a call with."""
    made = Status(code=code.value[0], message=message)
    for detail in details:
        made.details.add().Pack(detail)
    return rpc_status.to_status(made)
