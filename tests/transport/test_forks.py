"""The transport in a forked child: it refuses at once."""

from __future__ import annotations

import asyncio
import os

import httpx2
import pytest

from chatpb.transport import AsyncGrpcTransport, GrpcTransport
from support import forks
from support.build import PING
from support.chat_server import served
from support.limits import within

REFUSAL = f"belongs to process {os.getpid()}; make another after a fork"
STREAM = httpx2.Request("POST", "http://x/v1/chat/completions", json=PING | {"stream": True})


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(httpx2.Request("POST", STREAM.url, json=PING), id="create"),
        pytest.param(STREAM, id="stream"),
        pytest.param(httpx2.Request("GET", "http://x/v1/models"), id="fallback"),
    ],
)
async def test_each_request_refuses(request_: httpx2.Request) -> None:
    async with served() as server:
        with GrpcTransport(server.address, fallback="http://127.0.0.1:1") as transport:
            assert f"ForkedError: the transport {REFUSAL}" == forks.as_child(
                lambda: transport.handle_request(request_)
            )
            assert "None" == forks.as_child(transport.close)
            answer = await within(asyncio.to_thread(transport.handle_request, STREAM))
            read = iter(answer.stream)
            await within(asyncio.to_thread(next, read))
            assert f"ForkedError: the stream {REFUSAL}" == forks.as_child(lambda: next(read))
            assert "None" == forks.as_child(answer.close)
            answer.close()


async def test_with_asyncio() -> None:
    async with served() as server, AsyncGrpcTransport(server.address) as transport:
        answer = await within(transport.handle_async_request(STREAM))
        assert 200 == answer.status_code
        refused = forks.as_child(lambda: transport.handle_async_request(STREAM).send(None))
        assert f"ForkedError: the transport {REFUSAL}" == refused
        await answer.aclose()
