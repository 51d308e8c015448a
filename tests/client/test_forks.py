"""A client in a forked child: it refuses at once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import pytest

from chatpb.client import AsyncClient, Client
from support import forks
from support.build import PING
from support.chat_server import CHUNKS, COMPLETION, Server
from support.limits import within

REFUSAL = f"belongs to process {os.getpid()}; make another after a fork"


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda client: client.create(PING), id="create"),
        pytest.param(lambda client: client.create_with_metadata(PING), id="with-metadata"),
        pytest.param(lambda client: client.stream(PING), id="stream"),
    ],
)
async def test_each_call_refuses(server: Server, use: Callable[[Client], object]) -> None:
    with Client(server.address) as client:
        before = forks.as_child(lambda: use(client))
        assert await within(asyncio.to_thread(client.create, PING)) == COMPLETION
        after = forks.as_child(lambda: use(client))
        assert "None" == forks.as_child(client.close)
        assert await within(asyncio.to_thread(client.create, PING)) == COMPLETION
    assert [f"ForkedError: the client {REFUSAL}"] * 2 == [before, after]


async def test_a_stream_refuses(server: Server) -> None:
    with Client(server.address) as client:
        stream = client.stream(PING)
        first = await within(asyncio.to_thread(next, stream))
        refused = [forks.as_child(lambda: next(stream)), forks.as_child(stream.fold)]
        assert "None" == forks.as_child(lambda: stream.__exit__(None, None, None))
        rest = await within(asyncio.to_thread(list, stream))
    assert [f"ForkedError: the stream {REFUSAL}"] * 2 == refused
    assert CHUNKS == [first, *rest]


async def test_with_asyncio(server: Server) -> None:
    """The calls refuse before they wait for anything."""

    def call(client: AsyncClient) -> Any:
        client.create(PING).send(None)

    async with AsyncClient(server.address) as client:
        assert COMPLETION == await within(client.create(PING))
        stream = client.stream(PING)
        assert CHUNKS[0] == await within(anext(stream))
        answers = [
            forks.as_child(lambda: call(client)),
            forks.as_child(lambda: client.stream(PING)),
            forks.as_child(lambda: stream.__anext__().send(None)),
        ]
        assert CHUNKS[1] == await within(anext(stream))
    names = ["client", "client", "stream"]
    assert [f"ForkedError: the {name} {REFUSAL}" for name in names] == answers
