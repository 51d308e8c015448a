"""Calls of both clients: completions, streams, retries, deadlines and cancellation."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from grpc import StatusCode

import chatpb
from chatpb import ConversionError
from chatpb.client import AsyncClient, ChatCompletionError
from chatpb.v1 import (
    ChatCompletionRequest,
)
from support.build import PING
from support.calls import status
from support.chat_server import CHUNKS, COMPLETION, TRAILERS, Server, served
from support.clients import asked, both_calls, failure
from support.limits import TIMEOUT, within
from support.reaching import LIMITS


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(PING, id="members"),
        pytest.param(chatpb.from_dict(PING, ChatCompletionRequest), id="message"),
    ],
)
async def test_create(connect: Any, server: Server, request_: Any) -> None:
    async with connect(server.address) as client:
        completion, metadata = await within(client.create_with_metadata(request_))
        assert COMPLETION == completion == await within(client.create(request_))
    assert dict(TRAILERS) == metadata
    assert [chatpb.from_dict(PING, ChatCompletionRequest)] * 2 == server.requests


async def test_large_messages(connect: Any, server: Server) -> None:
    server.size = 24 << 20
    async with connect(server.address) as client:
        assert server.size == len((await asked(client, stream=False)).model)


async def test_a_request_that_is_no_json_is_not_sent(connect: Any, server: Server) -> None:
    async with connect(server.address) as client:
        with pytest.raises(ConversionError, match="model"):
            await client.create({"model": object()})
        with pytest.raises(ConversionError, match="model"):
            client.stream({"model": object()})
    assert [] == server.requests


async def test_stream(connect: Any, server: Server) -> None:
    async with connect(server.address) as client, client.stream(PING) as stream:
        assert {} == stream.metadata
        assert CHUNKS == [chunk async for chunk in stream]
        assert dict(TRAILERS) == stream.metadata
        assert [] == [chunk async for chunk in stream]
    assert [chatpb.from_dict(PING, ChatCompletionRequest)] == server.requests


@pytest.mark.parametrize("take", [0, 1, 2, 3])
async def test_fold(connect: Any, server: Server, take: int) -> None:
    """Chunks that were read before are part of the completion."""
    async with connect(server.address) as client:
        async with client.stream(PING) as stream:
            assert CHUNKS[:take] == [await anext(stream) for _ in range(take)]
            completion = await within(stream.fold())
        assert completion == await stream.fold()  # even after the stream was left
    assert chatpb.fold(CHUNKS) == completion
    assert "pong" == completion.choices[0].message.content


@both_calls
@pytest.mark.parametrize("code", [StatusCode.UNAVAILABLE, StatusCode.CANCELLED])
async def test_what_a_stopping_server_says_is_tried_again(
    connect: Any, server: Server, stream: bool, code: StatusCode
) -> None:
    async with connect(server.address) as client:
        server.failures = [status(code, "busy")] * 2
        await asked(client, stream)
        assert 3 == len(server.requests)
        server.failures = [status(code, "busy")] * 4
        assert f"{code.name}: busy" == str(await failure(client, stream))
    assert 6 == len(server.requests)


async def test_calls_go_to_all_servers(connect: Any, server: Server) -> None:
    async with (
        served() as other,
        connect(f"ipv4:{server.address},{other.address}") as client,
        asyncio.timeout(TIMEOUT),
    ):
        while not (server.requests and other.requests):
            await client.create(PING)


@pytest.mark.parametrize(
    ("options", "call", "expected"),
    [
        pytest.param({}, {}, 600, id="default"),
        pytest.param({"timeout": 90}, {}, 90, id="client"),
        pytest.param({"timeout": 90}, {"timeout": 30}, 30, id="call"),
        pytest.param({"timeout": 90}, {"timeout": math.inf}, None, id="call-forever"),
        pytest.param({"timeout": math.inf}, {}, None, id="client-forever"),
        pytest.param({"timeout": 1e300}, {}, None, id="very-long"),
    ],
)
async def test_deadlines(
    connect: Any, server: Server, options: Any, call: Any, expected: float | None
) -> None:
    async with connect(server.address, **options) as client:
        await asked(client, stream=False, **call)
        await asked(client, stream=True, **call)
    for remaining in server.remaining:
        if expected is None or remaining is None:
            assert expected == remaining
        else:  # gRPC rounds up
            assert expected == pytest.approx(remaining, abs=5)


@both_calls
async def test_a_deadline_that_passes(connect: Any, server: Server, stream: bool) -> None:
    server.holds = True
    async with connect(server.address) as client:
        for seconds in LIMITS:
            error = await failure(client, stream, timeout=seconds)
            assert StatusCode.DEADLINE_EXCEEDED == error.code
            if server.began.is_set():
                break
    await within(server.ended.wait())


async def test_leaving_a_stream_cancels_it(connect: Any, server: Server) -> None:
    server.after, server.holds = 2, True
    async with connect(server.address) as client:
        async with client.stream(PING) as stream:
            assert CHUNKS[0] == await within(anext(stream))
        await within(server.ended.wait())
        for read in (stream.__anext__, stream.fold):
            with pytest.raises(ChatCompletionError, match="CANCELLED: the stream was left"):
                await within(read())


@both_calls
async def test_cancelling_the_task_cancels_the_call(server: Server, stream: bool) -> None:
    server.holds = True
    async with AsyncClient(server.address) as client:
        chunks = client.stream(PING) if stream else None
        task = asyncio.ensure_future(chunks.fold() if chunks else client.create(PING))
        await within(server.began.wait())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await within(task)
        await within(server.ended.wait())
        if chunks:
            with pytest.raises(ChatCompletionError, match="CANCELLED: the stream was interrupted"):
                await chunks.fold()


@both_calls
async def test_closing_the_client_ends_its_calls(
    connect: Any, server: Server, stream: bool
) -> None:
    """They fail with CANCELLED; the task that waits is not cancelled."""
    server.holds = True
    client = connect(server.address)
    task = asyncio.ensure_future(failure(client, stream))
    await within(server.began.wait())
    await client.close()
    assert StatusCode.CANCELLED == (await within(task)).code
    with pytest.raises(RuntimeError, match="the client is closed"):
        await client.create(PING)
    with pytest.raises(RuntimeError, match="the client is closed"):
        client.stream(PING)


def test_an_async_client_can_be_made_and_closed_without_a_loop() -> None:
    client = AsyncClient("127.0.0.1:1")
    asyncio.run(client.close())
