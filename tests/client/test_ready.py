"""How the clients wait for a server that is not ready yet."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from grpc import StatusCode
from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from chatpb.client import ChatCompletionError
from support.chat_server import Server
from support.limits import within
from support.reaching import LIMITS

STATUSES = HealthCheckResponse


async def not_ready(client: Any, seconds: float) -> ChatCompletionError:
    """Why a server is not ready in time."""
    with pytest.raises(ChatCompletionError) as caught:
        await within(client.wait_until_ready(seconds))
    return caught.value


async def test_a_server_without_health_is_ready_when_it_is_reached(
    connect: Any, server: Server
) -> None:
    async with connect(server.address) as client:
        await within(client.wait_until_ready())


async def test_health_decides(connect: Any) -> None:
    server = grpc.aio.server()
    servicer = health.aio.HealthServicer()
    add_HealthServicer_to_server(servicer, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    async with connect(address) as client:
        for status in (STATUSES.NOT_SERVING, STATUSES.UNKNOWN):
            await servicer.set("", status)
            expected = "the server is not ready: its health is not SERVING"
            for seconds in LIMITS:
                error = await not_ready(client, seconds)
                if error.message == expected:
                    break
            assert (StatusCode.UNAVAILABLE, expected) == (error.code, error.message)
        waiting = asyncio.ensure_future(client.wait_until_ready(60, metadata=(("x-a", "b"),)))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await servicer.set("", STATUSES.SERVING)
        await within(waiting)
    await server.stop(None)


async def test_a_server_that_is_not_there(connect: Any) -> None:
    async with connect("127.0.0.1:1") as client:
        error = await not_ready(client, 0.2)
    expected = "the server is not ready: it cannot be reached"
    assert (StatusCode.UNAVAILABLE, expected) == (error.code, error.message)


async def test_a_refusal_is_final(connect: Any) -> None:
    async def refuse(_: bytes, context: Any) -> None:
        await context.abort(StatusCode.PERMISSION_DENIED, "not you")

    handler: Any = grpc.unary_unary_rpc_method_handler(refuse)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(health.SERVICE_NAME, {"Check": handler}),)
    )
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    async with connect(address) as client:
        error = await not_ready(client, 60)
    await server.stop(None)
    assert (StatusCode.PERMISSION_DENIED, "not you") == (error.code, error.message)
