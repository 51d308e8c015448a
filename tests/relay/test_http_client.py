"""The relay's client of HTTP: which connections it uses again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from multidict import CIMultiDict
from yarl import URL

from chatpb_server.upstreams.http_client import HttpClient
from chatpb_server.upstreams.remote import RemoteSettings
from support.limits import within

_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n%02d"


@asynccontextmanager
async def asking(url: URL) -> AsyncIterator[HttpClient]:
    client = HttpClient(str(url), RemoteSettings())
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def counting() -> AsyncIterator[tuple[URL, list[asyncio.StreamWriter]]]:
    """A server that answers with the number of its connections, and these."""
    connections: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        try:
            while await reader.readuntil(b"{}"):
                writer.write(_ANSWER % len(connections))
        except asyncio.IncompleteReadError:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"), connections


async def asked(client: HttpClient, url: URL) -> bytes:
    async with await client.ask("POST", url, CIMultiDict(), b"{}", is_patient=True) as answer:
        return await answer.body.whole(100)


async def test_a_connection_is_used_again() -> None:
    async with counting() as (url, connections), asking(url) as client:
        assert [b"01", b"01"] == [await within(asked(client, url)) for _ in range(2)]
    assert 1 == len(connections)


async def test_an_answer_that_nobody_has_asked_for_is_nobodys() -> None:
    """By itself, aiohttp gives it to the next request on the connection."""
    async with counting() as (url, connections), asking(url) as client:
        assert b"01" == await within(asked(client, url))
        connections[0].write(_ANSWER % 99)
        for _ in range(10):  # it comes
            await asyncio.sleep(0)
        assert b"02" == await within(asked(client, url))
