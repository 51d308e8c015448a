"""The health, reflection and shutdown of a relay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import pytest
from grpc import StatusCode, aio
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

from chatpb.v1.chat_completion_service_pb2_grpc import ChatCompletionServiceStub
from chatpb_server.core.service import SERVICE_NAME
from chatpb_server.running.serving import Options, serving
from chatpb_server.upstreams.builtin.upstream import BuiltinUpstream
from support.build import chunk, stream_request
from support.calls import OWN_CONNECTION
from support.limits import TIMEOUT, within
from support.scripted import Live, connected


@pytest.mark.parametrize("service", ["", SERVICE_NAME])
async def test_health(service: str) -> None:
    assert SERVICE_NAME == "chatpb.v1.ChatCompletionService"
    async with connected(BuiltinUpstream()) as channel:
        stub: Any = HealthStub(channel)
        answer = await stub.Check(HealthCheckRequest(service=service), timeout=TIMEOUT)
    assert HealthCheckResponse.SERVING == answer.status


async def test_health_of_an_unknown_service() -> None:
    """The status that health chooses passes the guard."""
    async with connected(BuiltinUpstream()) as channel:
        stub: Any = HealthStub(channel)
        with pytest.raises(aio.AioRpcError) as caught:
            await stub.Check(HealthCheckRequest(service="x"), timeout=TIMEOUT)
    assert StatusCode.NOT_FOUND == caught.value.code()


async def test_reflection() -> None:
    async with connected(BuiltinUpstream()) as channel:
        stub: Any = ServerReflectionStub(cast("Any", channel))
        call = stub.ServerReflectionInfo(
            [
                ServerReflectionRequest(list_services=""),
                ServerReflectionRequest(file_containing_symbol=SERVICE_NAME),
            ],
            timeout=TIMEOUT,
        )
        listed, described = [answer async for answer in call]
    names = {service.name for service in listed.list_services_response.service}
    assert {SERVICE_NAME, "grpc.health.v1.Health"} <= names
    assert described.file_descriptor_response.file_descriptor_proto


@asynccontextmanager
async def draining(upstream: Live, grace: float) -> AsyncIterator[tuple[asyncio.Task[None], Any]]:
    """A relay that has one streaming call and drains: the task that serves, and the call."""
    stop = asyncio.Event()
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def serve() -> None:
        async with serving(upstream, options=Options(grace=grace)) as port:
            ready.set_result(port)
            await stop.wait()

    server = asyncio.create_task(serve())
    async with aio.insecure_channel(f"127.0.0.1:{await within(ready)}", OWN_CONNECTION) as channel:
        call = ChatCompletionServiceStub(channel).StreamChatCompletion(
            stream_request(), timeout=TIMEOUT
        )
        health: Any = HealthStub(channel)
        watch = health.Watch(HealthCheckRequest(service=SERVICE_NAME), timeout=TIMEOUT)
        assert HealthCheckResponse.SERVING == (await watch.read()).status
        await within(upstream.started.wait())
        stop.set()
        assert HealthCheckResponse.NOT_SERVING == (await watch.read()).status
        watch.cancel()
        yield server, call
    with suppress(asyncio.CancelledError):
        await within(server)


async def test_running_calls_finish_while_the_relay_drains() -> None:
    upstream = Live()
    async with draining(upstream, grace=TIMEOUT) as (server, call):
        upstream.batches.put_nowait([chunk("a")])
        upstream.batches.put_nowait(None)
        assert [1] == [len(response.chunks) async for response in call]
        assert StatusCode.OK == await call.code()
        await within(server)
    assert upstream.closed.is_set()


async def test_calls_that_outlast_the_grace_period_are_told() -> None:
    upstream = Live()
    async with draining(upstream, grace=0.1) as (server, call):
        assert StatusCode.UNAVAILABLE == await call.code()
        assert "The relay is stopping; call again." == await call.details()
        await within(server)
    assert upstream.ended.is_set()


async def test_a_relay_that_drains_can_be_stopped_at_once() -> None:
    upstream = Live()
    async with draining(upstream, grace=TIMEOUT) as (server, call):
        server.cancel()
        assert await call.code() in (StatusCode.CANCELLED, StatusCode.UNAVAILABLE)
        await within(upstream.ended.wait())
    assert server.cancelled()
    assert upstream.closed.is_set()
