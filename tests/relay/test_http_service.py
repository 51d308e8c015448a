"""What the relay guarantees, in front of a real upstream that misbehaves on purpose."""

from __future__ import annotations

import json
from typing import Any

import pytest
from grpc import StatusCode, aio

from chatpb import to_dict
from chatpb_server.core.limits import Limits
from chatpb_server.running.serving import Options
from chatpb_server.upstreams.remote import RemoteSettings
from chatpb_server.upstreams.router import RetryPolicy
from relay.test_http_service_failures import REFUSED
from support import recordings
from support.build import COMPLETION, PING, chunk
from support.http_relay import failure, read_all, relay, stream_failure
from support.http_upstream import (
    CLOSE,
    HANG,
    RESET,
    WAIT,
    Answer,
    HttpUpstream,
    Repeat,
    Step,
    Writes,
    json_answer,
    never_accepting,
    raw,
    sse_answer,
)

# Nothing is invented, dropped, merged or reordered.


WRITES: list[Writes] = ["bytes", "random", "whole"]


@pytest.mark.parametrize("recording", recordings.parameters(recordings.completions))
async def test_recorded_completions(recording: recordings.Recording) -> None:
    expected = json.loads(recording.body)
    async with HttpUpstream() as upstream, relay(upstream.url) as client:
        for writes in WRITES:
            await upstream.answer(recording.answer(writes))
            assert expected == to_dict((await client.create()).completion)


@pytest.mark.parametrize("recording", recordings.parameters(recordings.streams))
async def test_recorded_streams(recording: recordings.Recording) -> None:
    texts = [json.loads(text) for text in recording.texts]
    expected = [text for text in texts if "error" not in text or "choices" in text]
    is_error = len(expected) < len(texts)
    async with HttpUpstream() as upstream, relay(upstream.url) as client:
        for writes in WRITES:
            await upstream.answer(recording.answer(writes))
            if is_error:
                actual, _ = await stream_failure(client.stream())
            else:
                actual = await read_all(client.stream())
            assert expected == actual


async def test_what_is_sent_is_the_callers_request() -> None:
    members: Any = {"temperature": 0.5, "x_top_k": {"a": [1, None]}, "stream": None}
    async with HttpUpstream() as upstream, relay(upstream.url) as client:
        await upstream.answer(json_answer(COMPLETION))
        await client.create(**members)
        await upstream.answer(sse_answer(chunk("a")))
        await read_all(client.stream(**members))
    unary, stream = upstream.requests
    assert {**PING, **members} == unary.json
    assert {**PING, **members, "stream": True} == stream.json
    assert ("POST", "/v1/chat/completions") == (unary.method, unary.path)
    assert "application/json" == unary.headers["content-type"]


async def test_connections_are_used_again() -> None:
    async with HttpUpstream() as upstream, relay(upstream.url) as client:
        await upstream.answer(sse_answer(chunk("a")), always=True)
        for _ in range(5):
            await read_all(client.stream())
    assert 1 == len({request.connection for request in upstream.requests})


@pytest.mark.parametrize("end", [CLOSE, RESET])
async def test_a_connection_that_was_just_closed_costs_no_call(end: Step) -> None:
    async with HttpUpstream() as upstream, relay(upstream.url) as client:
        await upstream.answer(json_answer(COMPLETION))
        await upstream.answer(raw(end))
        await upstream.answer(json_answer(COMPLETION))
        for _ in range(2):
            assert COMPLETION == to_dict((await client.create()).completion)
    assert [1, 1, 2] == [request.connection for request in upstream.requests]


# Chunks that arrived together leave together; a lone chunk leaves at once.


async def test_chunks_leave_as_they_came() -> None:
    burst = b"".join(b"data: " + json.dumps(chunk(text)).encode() + b"\n\n" for text in "bcd")
    async with HttpUpstream() as upstream, relay(upstream.url) as client:
        await upstream.answer(sse_answer(chunk("a"), WAIT, burst, WAIT, chunk("e", "stop")))
        call = client.stream()
        for expected in (["a"], ["b", "c", "d"], ["e"]):
            response = await call.read()
            assert expected == [part.choices[0].delta.content for part in response.chunks]
            await upstream.go()
        assert aio.EOF == await call.read()


# The caller's deadline bounds everything.


HANGS: list[Any] = [
    pytest.param(raw(HANG), id="no answer"),
    pytest.param(raw(b"HTTP/1.1 200 OK\r\n", HANG), id="in the head"),
    pytest.param(json_answer(b'{"id":', HANG, framing="chunked"), id="in the body"),
    pytest.param(json_answer(REFUSED, status=429, headers={"retry-after": "5"}), id="retries"),
]


@pytest.mark.parametrize("answer", HANGS)
async def test_the_deadline_bounds_the_call(answer: Answer) -> None:
    policy = RetryPolicy(base_delay=0.01, retries=1000, burst=1000)
    async with HttpUpstream() as upstream, relay(upstream.url, policy=policy) as client:
        await upstream.answer(answer, always=True)
        error = await failure(client.create(timeout=0.3))
        late = {StatusCode.DEADLINE_EXCEEDED, StatusCode.RESOURCE_EXHAUSTED}
        assert error.code() in late
        assert (await upstream.state()).calls == frozenset() or await upstream.next("closed")


async def test_the_deadline_bounds_connecting() -> None:
    with never_accepting() as url:
        async with relay(url) as client:
            error = await failure(client.create(timeout=0.2))
    assert StatusCode.DEADLINE_EXCEEDED == error.code()


async def test_the_deadline_bounds_waiting_for_a_turn() -> None:
    options = Options(limits=Limits(max_running=1, max_waiting=1))
    async with HttpUpstream() as upstream, relay(upstream.url, options=options) as client:
        await upstream.answer(raw(HANG))
        first = client.create()
        await upstream.next_request()
        assert StatusCode.DEADLINE_EXCEEDED == (await failure(client.create(timeout=0.1))).code()
        first.cancel()
        await upstream.next("closed")
    assert 1 == len(upstream.requests)


async def test_the_remaining_time_is_passed_on() -> None:
    async with HttpUpstream() as upstream, relay(upstream.url) as client:
        await upstream.answer(json_answer(COMPLETION))
        await client.create(timeout=5)
        request = await upstream.next_request()
    assert 0 < int(request.headers["x-request-timeout-ms"]) <= 5100  # gRPC rounds up


async def test_the_relays_own_limit_applies_where_the_caller_has_none() -> None:
    options = Options(limits=Limits(timeout=1))
    async with HttpUpstream() as upstream, relay(upstream.url, options=options) as client:
        await upstream.answer(raw(HANG))
        error = await failure(client.create(timeout=None))
        assert StatusCode.DEADLINE_EXCEEDED == error.code()
        assert "The time is up." == error.details()
        await upstream.next("closed")


async def test_the_relays_own_limit_applies_to_silence_between_chunks() -> None:
    settings = RemoteSettings(silence_timeout=1)
    async with HttpUpstream() as upstream, relay(upstream.url, settings=settings) as client:
        await upstream.answer(sse_answer(chunk("a"), HANG))
        chunks, error = await stream_failure(client.stream(timeout=None))
        assert [chunk("a")] == chunks
        assert StatusCode.UNAVAILABLE == error.code()
        await upstream.next("closed")


# A caller that goes takes its request with it.


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("how", ["cancel", "vanish"])
async def test_the_upstreams_request_ends_with_the_call(is_stream: bool, how: str) -> None:
    answer = sse_answer(chunk("a"), HANG) if is_stream else raw(HANG)
    async with HttpUpstream() as upstream, relay(upstream.url) as client:
        await upstream.answer(answer)
        call = client.stream() if is_stream else client.create()
        if is_stream:
            await call.read()
        else:
            await upstream.next_request()
        if how == "cancel":
            call.cancel()
        else:
            await client.channel.close()
        await upstream.next("closed")
        assert 0 == (await upstream.state()).connections


async def test_a_caller_that_does_not_read_can_go() -> None:
    endless = Repeat(b"data: " + json.dumps(chunk("x" * 1000)).encode() + b"\n\n")
    async with HttpUpstream() as upstream, relay(upstream.url) as client:
        await upstream.answer(sse_answer(endless))
        call = client.stream()
        await call.read()
        await upstream.next("blocked")
        call.cancel()
        await upstream.next("closed")
