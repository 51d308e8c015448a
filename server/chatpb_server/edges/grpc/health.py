"""Health: open to everybody, for probes, load balancers, and clients that watch it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from grpc import StatusCode, aio
from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from chatpb_server.core.explain import RefusalError
from chatpb_server.core.gate import OverloadError
from chatpb_server.core.upstream import RequestError
from chatpb_server.edges.grpc.messages import Messages

#: Each watch holds some 25 KiB. A client needs one for each connection and service.
_MOST_WATCHES: Final = 1000
_MOST_OF_A_CONNECTION: Final = 10
_MOST_BYTES: Final = 1024

_UNKNOWN: Final = HealthCheckResponse.SERVICE_UNKNOWN


class Health:
    """The service ``grpc.health.v1.Health``.

    Args:
        names: The services whose health is that of this process; the empty name is another one.
        messages: Reads the requests.
    """

    def __init__(self, names: Collection[str], messages: Messages) -> None:
        self._names = {"", *names}
        self._messages = messages
        self._stopping = asyncio.Event()
        self._watches = 0
        self._by_connection: Counter[str] = Counter()

    def handler(self) -> grpc.GenericRpcHandler:
        """What the server calls."""
        make: Any = grpc.stream_stream_rpc_method_handler  # so that nothing is read before they run
        write = HealthCheckResponse.SerializeToString
        rpcs: dict[str, Any] = {
            "Check": make(self._check, response_serializer=write),
            "Watch": make(self._watch, response_serializer=write),
        }
        return grpc.method_handlers_generic_handler(health.SERVICE_NAME, rpcs)

    def stop(self) -> None:
        """Reports NOT_SERVING from now on, to those that watch too, and ends their calls."""
        self._stopping.set()

    def _status(self, service: str) -> int:
        if service not in self._names:
            return _UNKNOWN
        if self._stopping.is_set():
            return HealthCheckResponse.NOT_SERVING
        return HealthCheckResponse.SERVING

    async def _check(self, _: Any, context: Any) -> None:
        status = self._status(await self._service(context))
        if status == _UNKNOWN:
            await context.abort(StatusCode.NOT_FOUND, "Health does not know this service.")
        with _to_caller():
            await context.write(_response(status))

    async def _watch(self, _: Any, context: Any) -> None:
        service = await self._service(context)
        connection = context.peer()
        if self._by_connection[connection] >= _MOST_OF_A_CONNECTION:
            text = f"A connection can watch health {_MOST_OF_A_CONNECTION} times."
            await context.abort(StatusCode.RESOURCE_EXHAUSTED, text)
        if self._watches >= _MOST_WATCHES:
            text = "Health is watched too often; ask with Check."
            await context.abort(StatusCode.RESOURCE_EXHAUSTED, text)
        self._watches += 1
        self._by_connection[connection] += 1
        try:
            status = self._status(service)
            with _to_caller():
                await context.write(_response(status))
                await self._stopping.wait()
                if (last := self._status(service)) != status:
                    await context.write(_response(last))
        finally:
            self._watches -= 1
            self._by_connection[connection] -= 1
            if not self._by_connection[connection]:
                del self._by_connection[connection]

    async def _service(self, context: Any) -> str:
        """The service that a request names."""
        with suppress(DecodeError, OverloadError, RefusalError, RequestError):
            with self._messages.of(context) as messages:
                data = await messages.read()
            if len(data) <= _MOST_BYTES:
                return HealthCheckRequest.FromString(data).service
        await context.abort(StatusCode.INVALID_ARGUMENT, "The request is not one of health.")
        raise AssertionError  # abort raises


@contextmanager
def _to_caller() -> Iterator[None]:
    """Writing to a caller that may be gone."""
    try:
        yield
    except aio.InternalError as error:
        raise asyncio.CancelledError from error


def _response(status: int) -> HealthCheckResponse:
    return HealthCheckResponse(status=HealthCheckResponse.ServingStatus.Name(status))
