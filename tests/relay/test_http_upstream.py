"""The misbehaving upstream does what it says: seen by a real HTTP client, or by bare sockets."""

from __future__ import annotations

import asyncio
import io
import json
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from support import recordings
from support.http_upstream import (
    CLOSE,
    HANG,
    RESET,
    WAIT,
    Answer,
    HttpUpstream,
    Repeat,
    event,
    head,
    http_answer,
    json_answer,
    never_accepting,
    raw,
    refusing,
    sse_answer,
)
from support.limits import TIMEOUT
from support.recordings import Recording

CHUNK = {"id": "c", "choices": []}
STREAM = event(CHUNK) + event(b"[DONE]")


@asynccontextmanager
async def running() -> AsyncIterator[tuple[HttpUpstream, aiohttp.ClientSession]]:
    """An upstream and a client of it."""
    limits = aiohttp.ClientTimeout(total=TIMEOUT)
    async with HttpUpstream() as upstream, aiohttp.ClientSession(timeout=limits) as client:
        yield upstream, client


@asynccontextmanager
async def connected(
    upstream: HttpUpstream, body: bytes = b"{}"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection on which a request has been sent."""
    port = int(upstream.url.split(":")[2].removesuffix("/v1"))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /v1/x HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def calling(upstream: HttpUpstream, client: aiohttp.ClientSession, **members: Any) -> Any:
    return client.post(upstream.url + "/chat/completions", json=members, headers={"X-A": "b"})


async def test_it_keeps_what_it_is_asked() -> None:
    async with running() as (upstream, client):
        await upstream.answer(json_answer({"id": "é"}, status=418, headers={"x-c": "d"}))
        async with calling(upstream, client, model="m") as response:
            assert 418 == response.status
            assert ("d", "application/json") == (response.headers["x-c"], response.content_type)
            assert {"id": "é"} == await response.json()
        request = await upstream.next_request()
        assert [request] == upstream.requests
        assert ("POST", "/v1/chat/completions") == (request.method, request.path)
        assert ({"model": "m"}, "b") == (request.json, request.headers["x-a"])
        assert request.call == (await upstream.next("done")).call


async def test_it_keeps_bodies_of_all_kinds() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"\xff{"
        yield b"}" * 200_000

    async with running() as (upstream, client):
        await upstream.answer(json_answer({}), always=True)
        async with client.post(upstream.url, data=pieces()) as response:
            assert b"{}" == await response.read()
        async with client.get(upstream.url + "/models?x=1") as response:
            assert b"{}" == await response.read()
        first, second = [await upstream.next_request() for _ in range(2)]
        assert b"\xff{" + b"}" * 200_000 == first.body
        assert ("GET", "/v1/models?x=1", b"") == (second.method, second.path, second.body)


async def test_answers_are_given_in_order_and_by_model() -> None:
    async with running() as (upstream, client):
        await upstream.answer(json_answer("always"), always=True)
        await upstream.answer(json_answer("b only"), model="b")
        await upstream.answer(json_answer("first"))
        await upstream.answer(json_answer("second"))
        told = []
        for model in ("a", "b", "a", "b"):
            async with calling(upstream, client, model=model) as response:
                told.append(await response.json())
        assert ["first", "b only", "second", "always"] == told
        connections = {(await upstream.next_request()).connection for _ in range(4)}
        assert 1 == len(connections)


async def test_a_request_waits_for_its_answer() -> None:
    async with running() as (upstream, client):
        call = asyncio.create_task(calling(upstream, client, model="m").__aenter__())
        await upstream.next_request()
        await upstream.answer(json_answer("other"), model="n")
        await upstream.answer(json_answer("mine"))
        assert "mine" == await (await call).json()


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
@pytest.mark.parametrize("writes", ["whole", "steps", "bytes", "random"])
@pytest.mark.parametrize("gzip", [False, True], ids=["plain", "gzip"])
async def test_every_way_to_write_says_the_same(framing: Any, writes: Any, gzip: bool) -> None:
    how: dict[str, Any] = {"framing": framing, "writes": writes, "gzip": gzip}
    expected = event(CHUNK) + b": x\n\n" * 300 + STREAM
    async with running() as (upstream, client):
        await upstream.answer(sse_answer(CHUNK, Repeat(b": x\n\n", 300), CHUNK, **how), always=True)
        for _ in range(2):
            async with calling(upstream, client) as response:
                assert "text/event-stream" == response.content_type
                assert expected == await response.read()
        connections = {(await upstream.next_request()).connection for _ in range(2)}
        assert (2 if framing == "close" else 1) == len(connections)


async def test_random_cuts_are_the_same_for_a_seed() -> None:
    """What is raw goes out as it is, and the connection ends."""
    async with HttpUpstream() as upstream:
        for seed in (1, 1, 2):
            await upstream.answer(raw(b"ab" * 50_000, writes="random", seed=seed))
            async with connected(upstream) as (reader, _):
                assert b"ab" * 50_000 == await reader.read(-1)


async def test_steps_wait_for_go() -> None:
    async with running() as (upstream, client):
        await upstream.answer(sse_answer(b"data: {", WAIT, b"}\n\n", WAIT, done=False))
        async with calling(upstream, client) as response:
            call = (await upstream.next("waiting")).call
            assert b"data: {" == await response.content.readany()
            await upstream.go(call)
            assert b"}\n\n" == await response.content.readany()
            await upstream.next("waiting")
            assert frozenset({call}) == (await upstream.state()).calls
            await upstream.go()
            assert b"" == await response.content.read()
            await upstream.next("done", call)
            assert frozenset() == (await upstream.state()).calls


async def test_go_is_not_lost_on_a_call_that_comes_to_wait_later() -> None:
    async with running() as (upstream, client):
        call = asyncio.create_task(calling(upstream, client).__aenter__())
        await upstream.next_request()
        await upstream.go()
        await upstream.answer(json_answer("x", before=[WAIT]))
        assert "x" == await (await call).json()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        pytest.param(raw(RESET), aiohttp.ClientOSError, id="reset before the head"),
        pytest.param(raw(CLOSE), aiohttp.ServerDisconnectedError, id="closed before the head"),
        pytest.param(raw(b"HTTP/1.1 2", CLOSE), aiohttp.ClientError, id="closed in the head"),
        pytest.param(sse_answer(RESET), aiohttp.ClientPayloadError, id="reset after the head"),
        pytest.param(sse_answer(CHUNK, RESET), aiohttp.ClientPayloadError, id="reset in a stream"),
        pytest.param(sse_answer(CHUNK, CLOSE), aiohttp.ClientPayloadError, id="closed in a stream"),
        pytest.param(
            json_answer(b"{", CLOSE, b"}"), aiohttp.ClientPayloadError, id="closed in a body"
        ),
        pytest.param(
            json_answer(b"{}", headers={"content-length": "9"}),
            TimeoutError,
            id="a length that is wrong",
        ),
        pytest.param(raw(HANG), TimeoutError, id="no answer"),
        pytest.param(sse_answer(CHUNK, HANG), TimeoutError, id="no end"),
        pytest.param(
            raw(b"HTTP/1.1 200 OK\r\n", Repeat(b"x-a: b\r\n", 100_000)),
            aiohttp.ClientError,
            id="a flood of headers",
        ),
        pytest.param(
            raw(b"HTTP/1.1 200 OK\r\n", Repeat(b"x-a: b\r\n"), interval=0.05),
            TimeoutError,
            id="slow headers",
        ),
    ],
)
async def test_bad_ends(answer: Answer, error: type[Exception]) -> None:
    limits = aiohttp.ClientTimeout(total=0.5 if error is TimeoutError else TIMEOUT)
    async with running() as (upstream, client):
        await upstream.answer(answer)
        with pytest.raises(error):
            async with client.post(upstream.url, json={}, timeout=limits) as response:
                await response.read()


async def test_a_reset_and_a_close_differ_and_lose_nothing() -> None:
    async with HttpUpstream() as upstream:
        await upstream.answer(raw(b"abc", CLOSE))
        async with connected(upstream) as (reader, _):
            assert b"abc" == await reader.read(-1)
        await upstream.answer(raw(b"abc", WAIT, RESET))
        async with connected(upstream) as (reader, _):
            assert b"abc" == await reader.readexactly(3)
            await upstream.go()
            with pytest.raises(ConnectionResetError):
                await reader.read(-1)
        assert 3 == (await upstream.next("done")).sent


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(raw(HANG), id="silent"),
        pytest.param(sse_answer(CHUNK, WAIT), id="waiting"),
        pytest.param(sse_answer(Repeat(b": x\n\n")), id="writing"),
        pytest.param(None, id="without an answer"),
    ],
)
@pytest.mark.parametrize(
    "leave",
    [
        pytest.param(lambda writer: writer.close(), id="close"),
        pytest.param(lambda writer: writer.write_eof(), id="half"),
        pytest.param(lambda writer: writer.transport.abort(), id="abort"),
    ],
)
async def test_it_says_when_its_peer_leaves(
    answer: Answer | None, leave: Callable[[asyncio.StreamWriter], None]
) -> None:
    async with HttpUpstream() as upstream:
        if answer is not None:
            await upstream.answer(answer)
        async with connected(upstream) as (_, writer):
            request = await upstream.next_request()
            leave(writer)
            closed = await upstream.next("closed")
            assert (request.call, request.connection) == (closed.call, closed.connection)
            await upstream.next("disconnected")
        assert (0, frozenset()) == ((state := await upstream.state()).connections, state.calls)


async def test_back_pressure_shows() -> None:
    async with HttpUpstream() as upstream:
        await upstream.answer(sse_answer(Repeat(b"x" * 1000), writes="whole"))
        async with connected(upstream) as (reader, writer):
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            blocked = await upstream.next("blocked")
            sent = (await upstream.state()).sent[blocked.call]
            assert 1 << 12 < blocked.sent <= sent < 1 << 24
            writer.transport.resume_reading()  # type: ignore[attr-defined]
            await reader.readexactly(sent + 1)
            assert sent < (await upstream.state()).sent[blocked.call]
        assert sent < (await upstream.next("closed", blocked.call)).sent


async def test_a_pace() -> None:
    async with HttpUpstream() as upstream:
        await upstream.answer(raw(Repeat(b"x", 5), interval=0.05))
        begin = asyncio.get_running_loop().time()
        async with connected(upstream) as (reader, _):
            assert b"xxxxx" == await reader.read(-1)
        assert 0.19 < asyncio.get_running_loop().time() - begin


async def test_a_gigabyte_of_gzip_is_small() -> None:
    parts = (b'{"x": "', Repeat(b" " * (1 << 20), 1024), b'"}')
    async with HttpUpstream() as upstream:
        await upstream.answer(json_answer(*parts, gzip=True, framing="close"))
        async with connected(upstream) as (reader, _):
            answer = await reader.read(-1)
    top, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-encoding: gzip" in top
    assert len(body) < 2 << 20
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    first = unpacker.decompress(body, 1 << 20)
    assert b'{"x": "  ' == first[:9]


async def test_a_large_request_can_be_refused_before_it_is_read() -> None:
    async with running() as (upstream, client):
        await upstream.answer(json_answer({"error": {}}, status=413, is_early=True))
        async with client.post(upstream.url, data=io.BytesIO(b"x" * 30_000_000)) as response:
            assert (413, {"error": {}}) == (response.status, await response.json())
        assert b"" == (await upstream.next_request()).body
        await upstream.answer(json_answer("next"))
        async with calling(upstream, client) as response:
            assert "next" == await response.json()


async def test_the_head_is_what_it_is_told_to_be() -> None:
    lines = [("Set-Cookie", "a"), ("Set-Cookie", "b"), ("Connection", "close"), ("x", "é")]
    async with HttpUpstream() as upstream:
        await upstream.answer(http_answer(b"?", status=599, headers=lines, framing="length"))
        async with connected(upstream) as (reader, _):
            answer = await reader.readuntil(b"?")
        assert head(599, [*lines, ("content-length", "1")]) + b"?" == answer
        assert answer.startswith(b"HTTP/1.1 599 Odd\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n")


async def test_a_request_that_is_none_is_told() -> None:
    async with HttpUpstream() as upstream, connected(upstream) as (reader, writer):
        await upstream.answer(raw(b"x", keep_alive=True))
        assert b"x" == await reader.readexactly(1)
        writer.write(b"hello\r\n\r\n")
        await upstream.next("malformed")
        assert b"" == await reader.read()


async def test_it_can_be_killed_and_started_again() -> None:
    async with running() as (upstream, client):
        await upstream.answer(sse_answer(CHUNK, HANG))
        async with calling(upstream, client) as response:
            assert event(CHUNK) == await response.content.readany()
            url = upstream.url
            await upstream.kill()
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.content.read()
        with pytest.raises(aiohttp.ClientConnectorError):
            await calling(upstream, client)
        with pytest.raises(ConnectionError, match="the upstream has ended"):
            await upstream.next("closed")
        await upstream.start()
        assert url == upstream.url
        await upstream.answer(json_answer("again"))
        async with calling(upstream, client) as response:
            assert "again" == await response.json()


async def test_what_does_not_come_is_named() -> None:
    async with HttpUpstream(timeout=1.5) as upstream, connected(upstream):
        await upstream.next("connected")
        with pytest.raises(TimeoutError, match=r"no done within 1.5 seconds, but .*'connected': 1"):
            await upstream.next("done")


async def test_upstreams_to_which_there_is_no_connection() -> None:
    async with aiohttp.ClientSession() as client:
        with refusing() as url, pytest.raises(aiohttp.ClientConnectorError):
            await client.post(url)
        limits = aiohttp.ClientTimeout(sock_connect=0.2)
        with never_accepting() as url, pytest.raises(aiohttp.ConnectionTimeoutError):
            await client.post(url, timeout=limits)


async def test_many_calls_that_are_cancelled() -> None:
    async with HttpUpstream() as upstream:
        await upstream.answer(sse_answer(CHUNK, Repeat(b": x\n\n" * 1000)), always=True)

        async def call() -> None:
            async with connected(upstream) as (reader, _):
                await reader.readexactly(1)

        for _ in range(10):
            await asyncio.gather(*(call() for _ in range(50)))
        for _ in range(500):
            await upstream.next("disconnected")
        assert (0, frozenset()) == ((state := await upstream.state()).connections, state.calls)
        assert 500 == len(upstream.requests) == len(state.sent)


@pytest.mark.parametrize("kind", [recordings.completions, recordings.errors, recordings.streams])
async def test_recordings_are_served(corpus: Path, kind: Any) -> None:
    found: list[Recording] = list(kind(corpus))
    assert found
    async with running() as (upstream, client):
        for seed, recording in enumerate(found):
            await upstream.answer(recording.answer("random", seed=seed))
            async with calling(upstream, client) as response:
                assert recording.status == response.status
                assert recording.content_type == response.headers["content-type"]
                assert recording.is_stream == (response.content_type == "text/event-stream")
                assert recording.body == await response.read()
            for text in recording.texts:
                assert isinstance(json.loads(text), dict)
