"""The fallback: requests of other paths are passed on as they are, and their answers back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from io import BytesIO

import aiohttp
import pytest
from openai import AsyncOpenAI
from yarl import URL

from support.fallback import Watching, falling_back, session
from support.http_upstream import (
    CLOSE,
    HANG,
    RESET,
    WAIT,
    HttpUpstream,
    Repeat,
    Step,
    http_answer,
    json_answer,
    raw,
    sse_answer,
)
from support.limits import within

BINARY = bytes(range(256)) * 16
EMBEDDING = {
    "object": "list",
    "model": "e",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -1.0]}],
    "usage": {"prompt_tokens": 1, "total_tokens": 1},
}
EVENT = b"event: response.output_text.delta\ndata: {}\n\n"


# Both ways, byte for byte.


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_requests_and_answers_are_not_touched(method: str) -> None:
    sent = [
        ("content-type", "application/x-odd; a=b"),
        ("accept", "audio/mpeg"),
        ("accept-encoding", "br"),
        ("range", "bytes=0-9"),
        ("openai-beta", "assistants=v2"),
        ("x-stainless-lang", "python"),
        ("user-agent", "mine/1"),
    ]
    two = [("x-two", "a"), ("x-two", "b")]
    back = [("content-type", "audio/odd"), ("content-encoding", "br"), ("etag", '"x"')]
    links = [("link", "1"), ("link", "2")]
    target = "/v1/audio/speech?a=%20b&&c=d%2Fe"
    body = None if method in ("GET", "OPTIONS") else BINARY
    async with HttpUpstream() as upstream, falling_back(upstream.url) as (url, _):
        await upstream.answer(http_answer(BINARY, status=206, headers=[*back, *links]))
        where = URL(url + target, encoded=True)
        async with (
            session() as client,
            client.request(method, where, headers=[*sent, *two], data=body) as answer,
        ):
            assert BINARY == await answer.read()
    assert (206, ["1", "2"]) == (answer.status, answer.headers.getall("link"))
    for name, value in back:
        assert value == answer.headers[name]
    [asked] = upstream.requests
    assert (method, target, body or b"") == (asked.method, asked.path, asked.body)
    for name, value in sent:
        assert value == asked.headers[name]
    more = {"x-two", "host", "content-length", "x-request-timeout-ms"}
    assert asked.headers.keys() <= {name for name, _ in sent} | more


async def test_openai_client() -> None:
    events = (b"event: response.created\ndata: {}\n\n", EVENT)
    async with (
        HttpUpstream() as upstream,
        falling_back(upstream.url) as (url, _),
        AsyncOpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0) as client,
    ):
        await upstream.answer(json_answer(EMBEDDING))
        got = await client.embeddings.create(model="e", input="x", encoding_format="float")
        assert [0.5, -1.0] == got.data[0].embedding
        await upstream.answer(json_answer({"id": "file-1", "object": "file"}))
        file = await client.files.create(file=("a.jsonl", BINARY), purpose="batch")
        assert "file-1" == file.id
        await upstream.answer(http_answer(BINARY, headers={"content-type": "audio/mpeg"}))
        speech = await client.audio.speech.create(model="t", voice="alloy", input="x")
        assert BINARY == speech.content
        await upstream.answer(sse_answer(*events, done=False))
        stream = await client.responses.create(model="m", input="x", stream=True)
        assert 2 == len([event async for event in stream])
    paths = ["/v1/embeddings", "/v1/files", "/v1/audio/speech", "/v1/responses"]
    assert paths == [asked.path for asked in upstream.requests]
    assert BINARY in upstream.requests[1].body
    assert upstream.requests[1].headers["content-type"].startswith("multipart/form-data; boundary=")


async def test_pieces_come_at_once_in_both_directions() -> None:
    """An upload that is answered while it comes, as a proxy sees it of a transcription."""
    taken = asyncio.Event()

    async def upload() -> AsyncIterator[bytes]:
        yield b"a" * 10
        await taken.wait()
        yield b"b" * 10

    async with HttpUpstream() as upstream, falling_back(upstream.url) as (url, _):
        answer = sse_answer(EVENT, WAIT, EVENT, done=False, is_early=True)
        await upstream.answer(answer)
        async with (
            session() as client,
            client.post(f"{url}/v1/audio/transcriptions", data=upload()) as response,
        ):
            assert EVENT == await response.content.readany()
            assert "no" == response.headers["x-accel-buffering"]
            await upstream.go()
            assert EVENT == await response.content.readany()
            taken.set()
            assert b"" == await response.content.read()


async def test_an_early_answer_to_an_upload() -> None:
    async def upload() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65536

    refusal = json_answer({"error": {"message": "too large"}}, status=413, is_early=True)
    async with HttpUpstream() as upstream, falling_back(upstream.url) as (url, _):
        await upstream.answer(refusal)
        async with session() as client, client.post(f"{url}/v1/files", data=upload()) as response:
            assert (413, b'{"error": {"message": "too large"}}') == (
                response.status,
                await response.read(),
            )
        await upstream.answer(json_answer(EMBEDDING))  # the next request has another connection
        async with session() as client, client.post(f"{url}/v1/embeddings") as response:
            assert 200 == response.status


async def test_head_redirects_and_empty_answers() -> None:
    async with HttpUpstream() as upstream, falling_back(upstream.url) as (url, _):
        await upstream.answer(raw(b"HTTP/1.1 200 OK\r\ncontent-length: 12345\r\n\r\n"))
        async with session() as client, client.head(f"{url}/v1/files/f/content") as answer:
            assert ("12345", b"") == (answer.headers["content-length"], await answer.read())
            assert "content-type" not in answer.headers
        elsewhere = {"location": "https://elsewhere.example/file"}
        await upstream.answer(http_answer(status=302, headers=elsewhere, framing="length"))
        async with (
            session() as client,
            client.get(f"{url}/v1/files/f/content", allow_redirects=False) as answer,
        ):
            assert (302, elsewhere["location"]) == (answer.status, answer.headers["location"])
        await upstream.answer(raw(b"HTTP/1.1 204 No Content\r\n\r\n"))
        async with session() as client, client.delete(f"{url}/v1/files/f") as answer:
            assert (204, b"") == (answer.status, await answer.read())
    assert 3 == len(upstream.requests)


async def test_a_body_is_asked_for_only_when_it_can_go_on() -> None:
    head = (
        b"POST /v1/files HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n"
    )
    async with HttpUpstream() as upstream, falling_back(upstream.url) as (_, port):
        await upstream.answer(json_answer({}))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head)
        assert b"HTTP/1.1 100 Continue\r\n\r\n" == await within(reader.readuntil(b"\r\n\r\n"))
        writer.write(b"abc")
        assert (await within(reader.readline())).startswith(b"HTTP/1.1 200 ")
        writer.close()
        assert [b"abc"] == [asked.body for asked in upstream.requests]
        assert "expect" not in upstream.requests[0].headers


async def test_large_bodies_keep_their_bytes() -> None:
    """Both lengths of a body are tried: one that is stated, and one that is not."""
    size = 100_000
    pattern = bytes(range(251))
    whole = (pattern * (size // 251 + 1))[:size]

    async def pieces() -> AsyncIterator[bytes]:
        for begin in range(0, size, 30_000):
            yield whole[begin : begin + 30_000]

    async with HttpUpstream() as upstream, falling_back(upstream.url) as (url, _):
        for body in (BytesIO(whole), pieces()):
            await upstream.answer(http_answer(whole))
            async with session() as client, client.post(f"{url}/v1/files", data=body) as answer:
                assert whole == await answer.read()
            await upstream.next_request()
    assert [whole, whole] == [asked.body for asked in upstream.requests]
    lengths = [asked.headers.get("content-length") for asked in upstream.requests]
    assert [str(size), None] == lengths


# Ends that are not as they should be.


@pytest.mark.parametrize("framing", ["chunked", "length"])
@pytest.mark.parametrize("end", [CLOSE, RESET])
async def test_what_breaks_off_does_not_look_complete(framing: str, end: Step) -> None:
    watching = Watching()
    async with HttpUpstream() as upstream, falling_back(upstream.url, watching) as (url, _):
        await upstream.answer(http_answer(b"a" * 100, end, b"b", framing=framing))  # type: ignore[arg-type]
        async with session() as client, client.get(f"{url}/v1/files/f/content") as answer:
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()
    assert [("files", "DATA_LOSS")] == watching.ends
    assert [("fallback", "200")] == watching.attempts


async def test_what_breaks_off_does_not_look_complete_to_old_clients() -> None:
    """HTTP/1.0 has no chunks: the end of the connection would be the end of the answer."""
    async with HttpUpstream() as upstream, falling_back(upstream.url) as (_, port):
        await upstream.answer(http_answer(b"a" * 100, WAIT, CLOSE, b"b"))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(b"GET /v1/files/f/content HTTP/1.0\r\n\r\n")
            await within(reader.readuntil(b"aaaa"))
            await upstream.go()
            with pytest.raises(ConnectionResetError):
                await within(reader.read())
        finally:
            writer.close()


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n", 502),
        (b"HTTP/1.1 200 \xff\xfe\r\ncontent-length: 0\r\n", 200),
        (b"HTTP/1.1 200 OK\r\nx-odd: \xff\r\ncontent-length: 0\r\n", 200),
        (b"HTTP/1.1 299 Odd\r\ncontent-length: 0\r\n", 299),
        (b"nonsense\r\n", 502),
    ],
)
async def test_odd_answers(answer: bytes, status: int) -> None:
    async with HttpUpstream() as upstream, falling_back(upstream.url) as (url, _):
        await upstream.answer(raw(answer + b"\r\n"))
        async with session() as client, client.get(f"{url}/v1/files") as got:
            assert status == got.status
            assert b"\xff" not in str(got.headers).encode("utf-8", "surrogateescape")


async def test_a_caller_that_goes_takes_its_request_with_it() -> None:
    async with HttpUpstream() as upstream, falling_back(upstream.url) as (_, port):
        await upstream.answer(raw(HANG))
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /v1/files HTTP/1.1\r\nhost: a\r\n\r\n")
        await upstream.next_request()
        writer.transport.abort()
        await upstream.next("closed")


@pytest.mark.parametrize(
    "head", [b"content-length: 1000\r\n\r\n", b"transfer-encoding: chunked\r\n\r\n5\r\n"]
)
async def test_half_an_upload_does_not_look_complete(head: bytes) -> None:
    async with HttpUpstream() as upstream, falling_back(upstream.url) as (_, port):
        await upstream.answer(json_answer({}))
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /v1/files HTTP/1.1\r\nhost: a\r\n" + head + b"abcde")
        await upstream.next("connected")
        await asyncio.sleep(0.05)
        writer.transport.abort()
        await upstream.next("disconnected")
        assert [] == upstream.requests


async def test_a_slow_reader_stops_the_reading() -> None:
    async with HttpUpstream() as upstream, falling_back(upstream.url) as (url, _):
        await upstream.answer(http_answer(Repeat(b"x" * 65536)))
        async with session() as client, client.get(f"{url}/v1/files/f/content") as answer:
            await answer.content.readany()
            blocked = await upstream.next("blocked")
            assert blocked.sent < 30_000_000
        await upstream.next("closed")


async def test_a_connection_that_was_just_closed_is_not_the_callers_concern() -> None:
    """A server closes an idle connection in the moment when the next request is sent on it."""
    watching = Watching()
    async with HttpUpstream() as upstream, falling_back(upstream.url, watching) as (url, _):
        for step in (b"", RESET):
            await upstream.answer(json_answer(EMBEDDING))
            if step:
                await upstream.answer(raw(step))
                await upstream.answer(json_answer(EMBEDDING))
            async with (
                session() as client,
                client.post(f"{url}/v1/embeddings", data=b"abc") as answer,
            ):
                assert 200 == answer.status
    assert {b"abc"} == {asked.body for asked in upstream.requests}
