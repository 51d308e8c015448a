"""Reflection and channelz: what tools ask a server about itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, cast

import grpc
from google.protobuf.message import DecodeError

from chatpb_server.core.call import Call
from chatpb_server.core.guard import CallerGoneError, CallError, Guard
from chatpb_server.core.upstream import RequestError
from chatpb_server.edges.grpc.messages import CallMessages, Messages
from chatpb_server.edges.grpc.reflection import METHOD, SERVICE_NAMES, Reflection

#: How many such calls run at once, and for how many seconds each.
MOST_RUNNING: Final = 16
MOST_SECONDS: Final = 60.0
_MOST_BYTES: Final = 4096


class Inspection:
    """Adds the services to a server. Their calls are admitted as those of the main service are.

    Args:
        guard: Admits and bounds their calls. It is not the one of the main service, so that tools
            and callers do not wait for each other.
        messages: Reads and writes their messages.
    """

    def __init__(self, guard: Guard, messages: Messages) -> None:
        self._guard = guard
        self._messages = messages

    def handlers(self, names: Sequence[str], *, channelz: bool) -> list[grpc.GenericRpcHandler]:
        """What the server calls.

        Args:
            names: The services that reflection shows, besides these.
            channelz: Whether there is channelz.
        """
        found = _Collected()
        if channelz:
            from grpc_channelz.v1.channelz import aio as servicers
            from grpc_channelz.v1.channelz_pb2_grpc import add_ChannelzServicer_to_server

            add_ChannelzServicer_to_server(servicers.ChannelzServicer(), found)
        reflection = Reflection((*names, *found.services, *SERVICE_NAMES)).handler()
        for name in SERVICE_NAMES:
            found.add_registered_method_handlers(name, {METHOD: reflection})
        return [
            grpc.method_handlers_generic_handler(
                service,
                {name: self._guarded(f"/{service}/{name}", rpc) for name, rpc in rpcs.items()},
            )
            for service, rpcs in found.services.items()
        ]

    async def stop(self) -> None:
        """Ends the calls."""
        await self._guard.stop(None)

    def _guarded(self, method: str, rpc: Any) -> Any:
        """Lets the guard serve an rpc that takes one request, or streams both ways."""

        async def serve(_: Any, context: Any) -> None:
            async def respond() -> None:
                if rpc.response_streaming:
                    async for response in rpc.stream_stream(_all(rpc, messages), context):
                        await messages.write(rpc.response_serializer(response))
                else:
                    request = _read(rpc, await messages.read())
                    response = await rpc.unary_unary(request, context)
                    await messages.write(rpc.response_serializer(response))

            call = Call(method, dict(context.invocation_metadata() or ()))
            with self._messages.of(context) as messages:
                try:
                    await self._guard.serve(call, context, respond)
                except CallError as error:
                    await messages.fail(error.failure)
                except asyncio.CancelledError as error:
                    if isinstance(error.__cause__, CallerGoneError):
                        messages.leave()
                    raise

        return grpc.stream_stream_rpc_method_handler(cast("Any", serve))


class _Collected:
    """Takes the services that gRPC's functions add to a server.

    Attributes:
        services: Their rpcs, by the name of the service and the rpc.
    """

    def __init__(self) -> None:
        self.services: dict[str, Mapping[str, Any]] = {}

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        """The same rpcs, which cannot be listed."""

    def add_registered_method_handlers(self, name: str, rpcs: Mapping[str, Any]) -> None:
        """Takes a service."""
        self.services[name] = rpcs


def _read(rpc: Any, data: bytes) -> Any:
    """A request as a message.

    Raises:
        RequestError: It is not one, or too large.
    """
    if len(data) > _MOST_BYTES:
        raise RequestError(f"The request has more than {_MOST_BYTES} bytes.")
    try:
        return rpc.request_deserializer(data)
    except DecodeError as error:
        raise RequestError("The request is not the binary form of a message.") from error


async def _all(rpc: Any, messages: CallMessages) -> AsyncIterator[Any]:
    while (data := await messages.next()) is not None:
        yield _read(rpc, data)
