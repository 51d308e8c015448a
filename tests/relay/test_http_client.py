"""The relay's client of HTTP: which connections it uses again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from multidict import CIMultiDict
from yarl import URL

from chatpb_server.core.upstream import (
    UpstreamConnectError,
    UpstreamDataError,
    UpstreamTimeoutError,
)
from chatpb_server.upstreams.http_client import HttpClient
from chatpb_server.upstreams.remote import RemoteSettings
from support.limits import within

_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n%02d"


@asynccontextmanager
async def asking(url: URL, settings: RemoteSettings | None = None) -> AsyncIterator[HttpClient]:
    client = HttpClient(str(url), settings or RemoteSettings())
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


@pytest.mark.parametrize("start", [b"HTTP/1.1 2", b"HTTP/1.1 100 Continue\r\n\r\n", b"{}"])
async def test_what_was_answered_in_part_is_not_sent_again(start: bytes) -> None:
    async with cutting(start) as url, asking(url) as client:
        assert b"01" == await within(asked(client, url))
        with pytest.raises(UpstreamDataError):
            await within(asked(client, url))


async def test_a_connection_that_was_being_closed_has_sent_nothing() -> None:
    async with cutting(b"") as url, asking(url) as client:
        assert b"01" == await within(asked(client, url))
        with pytest.raises(UpstreamConnectError):
            await within(asked(client, url))


async def test_silence_after_a_first_word_is_silence() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
        async with asking(url, RemoteSettings(silence_timeout=0.1)) as client:
            with pytest.raises(UpstreamTimeoutError):
                await within(client.ask("POST", url, CIMultiDict(), b"{}", is_patient=False))


@asynccontextmanager
async def cutting(start: bytes) -> AsyncIterator[URL]:
    """A server that answers the first request of a connection, and breaks off in the second."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(_ANSWER % 1)
        await reader.readuntil(b"{}")
        writer.write(start)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
