"""OpenAI clients, unchanged: the HTTP API of one relay, and of one that feeds another over gRPC."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai
import pytest

from chatpb.sse import DONE
from support import recordings
from support.build import PING, chunk
from support.http_edge import (
    HEADERS,
    base_url,
    client,
    completion,
    events,
    post,
    posting,
    read_to_the_break,
    serve,
    through,
)
from support.http_upstream import HANG, WAIT, HttpUpstream, Repeat, json_answer, raw, sse_answer
from support.reaching import until_asked

# Clients get what the upstream sent.


@through
@pytest.mark.parametrize("recording", recordings.parameters(recordings.completions))
async def test_recorded_completions(recording: recordings.Recording, hops: int) -> None:
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        await upstream.answer(recording.answer("random"))
        async with posting(url, PING) as response:
            body = await response.read()
    assert (200, "application/json") == (response.status, response.content_type)
    assert json.loads(recording.body) == json.loads(body)


@through
@pytest.mark.parametrize("recording", recordings.parameters(recordings.streams))
async def test_recorded_streams(recording: recordings.Recording, hops: int) -> None:
    texts = [json.loads(text) for text in recording.texts]
    is_error = [isinstance(text, dict) and "error" in text for text in texts]
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        await upstream.answer(recording.answer("random"))
        async with posting(url, {**PING, "stream": True}) as response:
            body = await response.read()
    assert (200, "text/event-stream") == (response.status, response.content_type)
    values = [value for value in events(body) if value != DONE]
    if any(is_error):  # over two hops it comes last
        key = lambda value: "error" in value and "choices" not in value  # noqa: E731
        texts, values = sorted(texts, key=key), sorted(values, key=key)
    assert texts == values


@through
@pytest.mark.parametrize("recording", recordings.parameters(recordings.errors))
async def test_recorded_errors(recording: recordings.Recording, hops: int) -> None:
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        await upstream.answer(recording.answer(), always=True)
        for stream in (False, True):
            status, _, value = await post(url, {**PING, "stream": stream})
            assert (recording.status, json.loads(recording.body)) == (status, value)
    assert 2 == len(upstream.requests)


@pytest.mark.parametrize("hops", [1])
async def test_bytes_are_not_touched(hops: int) -> None:
    body = b' {"id" : "c",\n "object": "chat.completion", "choices":[]}\n'
    stream = (
        b": hello\r\n\r\ndata: " + json.dumps(chunk("a")).encode() + b"\r\n\r\ndata: [DONE]\n\n"
    )
    request = b'{"messages": [ ], "model":"m", "top_p": 1.0 }'
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        await upstream.answer(json_answer(body))
        async with posting(url, request) as response:
            assert body == await response.read()
        await upstream.answer(sse_answer(stream, done=False))
        streamed = b'{"stream" :true, "model":"m"}'
        async with posting(url, streamed) as response:
            assert stream == await response.read()
    assert [request, streamed] == [asked.body for asked in upstream.requests]


@through
async def test_the_request_is_the_clients(hops: int) -> None:
    members: Any = {**PING, "temperature": 0.5, "x_top_k": {"a": [1, None, 10**30]}, "seed": None}
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        await upstream.answer(json_answer(completion()))
        await post(url, members)
        await upstream.answer(sse_answer(chunk("a")))
        async with posting(url.removesuffix("/v1"), {**members, "stream": True}) as response:
            await response.read()
    assert [members, {**members, "stream": True}] == [asked.json for asked in upstream.requests]


@through
async def test_pieces_come_at_once(hops: int) -> None:
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        answer = sse_answer(chunk("a"), WAIT, chunk("b"), WAIT, chunk("c"), headers=HEADERS)
        await upstream.answer(answer)
        async with posting(url, {**PING, "stream": True}) as response:
            for text in "abc":
                [value, *rest] = events(await response.content.readany())
                assert chunk(text) == value
                await upstream.go()
            assert [DONE] == rest or [DONE] == events(await response.content.read())
    for name, value in HEADERS.items():
        assert value == response.headers[name]


# Cancel, deadline and back-pressure pass through both hops.


@through
async def test_openai_abort_in_the_stream(hops: int) -> None:
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        await upstream.answer(sse_answer(chunk("a"), HANG))
        async with client(url) as sdk:
            stream = await sdk.chat.completions.create(**PING, stream=True)
            await anext(stream)
            await stream.close()
            await upstream.next("closed")


@through
@pytest.mark.parametrize("stream", [False, True])
async def test_openai_timeouts(stream: bool, hops: int) -> None:
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        await upstream.answer(raw(HANG), always=True)

        async def call(seconds: float) -> None:
            async with client(url, timeout=seconds) as sdk:
                with pytest.raises(openai.APITimeoutError):
                    await sdk.chat.completions.create(**PING, stream=stream)

        await until_asked(upstream, call)
        await upstream.next("closed")


@through
@pytest.mark.parametrize("stream", [False, True])
async def test_the_deadline_of_the_header(stream: bool, hops: int) -> None:
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        await upstream.answer(raw(HANG), always=True)

        async def call(seconds: float) -> float:
            headers = {"x-request-timeout-ms": f"{seconds * 1000:.0f}"}
            status, _, value = await post(url, {**PING, "stream": stream}, headers=headers)
            assert (504, "The time is up.") == (status, value["error"]["message"])
            return seconds

        seconds = await until_asked(upstream, call)
        await upstream.next("closed")
    left = int(upstream.requests[-1].headers["x-request-timeout-ms"])
    assert 0 < left <= seconds * 1000 + 100


@through
async def test_the_deadline_in_the_stream(hops: int) -> None:
    headers = {"x-request-timeout-ms": "1500"}
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        await upstream.answer(sse_answer(chunk("a"), HANG))
        data = await read_to_the_break(url, headers=headers)
        first, error = events(data)
        assert chunk("a") == first
        assert "The time is up." == error["error"]["message"]
        await upstream.next("closed")


@through
async def test_a_slow_reader_stops_the_reading(hops: int) -> None:
    endless = Repeat(b"data: " + json.dumps(chunk("x" * 1000)).encode() + b"\n\n")
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        await upstream.answer(sse_answer(endless))
        async with posting(url, {**PING, "stream": True}) as response:
            await response.content.readany()
            blocked = await upstream.next("blocked")
            assert blocked.sent < 30_000_000
        await upstream.next("closed")


@through
@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_vanishes_takes_its_request_with_it(stream: bool, hops: int) -> None:
    async with HttpUpstream() as upstream, serve(upstream.url, hops) as ports:
        await upstream.answer(raw(HANG))
        reader, writer = await asyncio.open_connection("127.0.0.1", ports.http)
        body = json.dumps({**PING, "stream": stream}).encode()
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n")
        writer.write(b"content-length: %d\r\n\r\n" % len(body) + body)
        await upstream.next_request()
        writer.transport.abort()
        await upstream.next("closed")
        assert b"" == await reader.read()
