"""The server: the service, health and reflection on one port."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from grpc import aio
from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from grpc_reflection.v1alpha import reflection

from chatpb.v1.chat_completion_service_pb2 import DESCRIPTOR
from chatpb.v1.chat_completion_service_pb2_grpc import add_ChatCompletionServiceServicer_to_server
from chatpb_server.address import Address, AddressError
from chatpb_server.interceptor import ErrorInterceptor
from chatpb_server.service import ChatCompletionService
from chatpb_server.upstream import Upstream

SERVICE_NAME: Final[str] = DESCRIPTOR.services_by_name["ChatCompletionService"].full_name

#: The most bytes of a message, either way. gRPC's own limit of 4 MiB is less than a request with
#: images, or a completion with the log probabilities of many choices.
MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # Two relays on one port would share the calls between them by accident.
    ("grpc.so_reuseport", 0),
    # By default a client that pings every 30 seconds while it waits for a slow model is sent away.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
)


@asynccontextmanager
async def serving(
    upstream: Upstream, listen: str = "127.0.0.1:0", *, grace: float | None = None
) -> AsyncIterator[int]:
    """Serves an upstream for as long as the context lasts.

    At the end of the context health says NOT_SERVING, no call is taken any more, and the calls that
    run may finish. If the task is cancelled meanwhile, they end at once.

    Args:
        upstream: What answers the requests. It is closed after the last call.
        listen: Where to listen, as ``HOST:PORT``; port 0 asks for a free one.
        grace: How many seconds calls may take to finish at the end. None: they end at once.

    Yields:
        The port.

    Raises:
        AddressError: The address cannot be listened on.
    """
    try:
        interceptor = ErrorInterceptor()
        server = aio.server(interceptors=[interceptor], options=_OPTIONS)
        port = _bind(server, Address.parse(listen))
        add_ChatCompletionServiceServicer_to_server(ChatCompletionService(upstream), server)
        health_servicer = health.aio.HealthServicer()
        add_HealthServicer_to_server(health_servicer, server)
        await health_servicer.set(SERVICE_NAME, HealthCheckResponse.SERVING)
        names = (SERVICE_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
        await server.start()
        try:
            yield port
        finally:
            await health_servicer.enter_graceful_shutdown()
            try:
                await server.stop(grace)
            finally:
                await server.stop(None)
                await interceptor.finished()
    finally:
        await upstream.close()


def _bind(server: aio.Server, address: Address) -> int:
    address.check_free()
    try:
        return server.add_insecure_port(str(address))
    except RuntimeError:  # taken since it was checked
        raise AddressError(f"cannot listen on {address}") from None
