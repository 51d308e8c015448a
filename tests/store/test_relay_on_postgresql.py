"""A relay on a PostgreSQL server that is killed, comes back, or was never there."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from grpc import aio

from chatpb.v1.chat_completion_service_pb2_grpc import ChatCompletionServiceStub
from support.build import create_request
from support.limits import TIMEOUT, within
from support.postgres import PostgresServer
from support.relay_process import running
from support.stored import ids, opened


class Caller:
    """Calls a relay.

    Attributes:
        stored: How many completions were stored, as their answers say.
    """

    def __init__(self, channel: aio.Channel) -> None:
        self._stub: Any = ChatCompletionServiceStub(channel)
        self._count = 0
        self.stored = 0

    async def is_stored(self, name: str = "") -> bool:
        """Whether the next completion, which no other call gets, is stored."""
        self._count += 1
        request = create_request(store=True, user=f"{name}{self._count}")
        call = self._stub.CreateChatCompletion(request, timeout=TIMEOUT)
        await within(call)
        trailers: Any = dict(await call.trailing_metadata())
        is_stored = "chatpb-stored" not in trailers
        self.stored += is_stored
        return is_stored

    async def until_stored(self) -> None:
        """Calls until a completion is stored."""
        async with asyncio.timeout(TIMEOUT):
            while not await self.is_stored():
                await asyncio.sleep(0.05)


@asynccontextmanager
async def relaying(url: str) -> AsyncIterator[Caller]:
    """A relay that stores at a URL."""
    async with running("--store", url) as (_, channel):
        yield Caller(channel)


async def test_a_server_that_is_killed_and_comes_back(server: PostgresServer) -> None:
    url = await asyncio.to_thread(server.new_database)
    async with relaying(url) as caller:
        assert [True, True] == [await caller.is_stored() for _ in range(2)]
        await asyncio.to_thread(server.stop, signal.SIGKILL)
        assert [False] * 5 == [await caller.is_stored() for _ in range(5)]
        await asyncio.to_thread(server.start)
        await caller.until_stored()
        assert await caller.is_stored()
    async with opened(url) as store:
        assert caller.stored == len(await ids(store, "", limit=100))


async def test_a_server_that_comes_after_the_relay(server: PostgresServer) -> None:
    url = await asyncio.to_thread(server.new_database)
    await asyncio.to_thread(server.stop)
    try:
        async with relaying(url) as caller:
            assert not await caller.is_stored()
            await asyncio.to_thread(server.start)
            await caller.until_stored()
    finally:
        if not server.is_running:
            await asyncio.to_thread(server.start)


async def test_relays_that_share_a_database(server: PostgresServer) -> None:
    url = await asyncio.to_thread(server.new_database)
    async with relaying(url) as one, relaying(url) as other:
        calls = [
            each.is_stored(name) for each, name in ((one, "a"), (other, "b")) for _ in range(10)
        ]
        assert {True: 20} == Counter(await asyncio.gather(*calls))
    async with opened(url) as store:
        assert 20 == len(await ids(store, "", limit=100))
