"""Errors, overload and hostile input between gRPC callers and HTTP upstreams."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from google.rpc import error_details_pb2
from grpc import StatusCode, aio

from chatpb import from_json, to_dict
from chatpb.v1.chat_completion_request_pb2 import ChatCompletionRequest
from chatpb.v1.error_pb2 import ErrorResponse
from chatpb_server.core.limits import Limits
from chatpb_server.running.serving import Options, serving
from chatpb_server.upstreams.http import HttpUpstream as Http
from chatpb_server.upstreams.remote import RemoteSettings
from chatpb_server.upstreams.router import RetryPolicy, Route, Router
from support import recordings
from support.build import COMPLETION, PING, chunk, error_object
from support.calls import OWN_CONNECTION
from support.http_relay import Relay, details, failure, read_all, relay, stream_failure
from support.http_upstream import (
    CLOSE,
    HANG,
    RESET,
    WAIT,
    Answer,
    HttpUpstream,
    Repeat,
    json_answer,
    raw,
    sse_answer,
)
from support.limits import TIMEOUT

REFUSED = error_object("no")


# Errors.


@pytest.mark.parametrize("recording", recordings.parameters(recordings.errors))
async def test_recorded_errors(recording: recordings.Recording) -> None:
    async with HttpUpstream() as upstream, relay(upstream.url, policy=None) as client:
        await upstream.answer(recording.answer(), always=True)
        error = await failure(client.create())
    assert json.loads(recording.body) == to_dict(details(error)[ErrorResponse])


async def test_retry_and_request_ids_are_in_the_details() -> None:
    headers = {"retry-after": "7", "x-request-id": "req_1"}
    policy = RetryPolicy(attempts=1)
    async with HttpUpstream() as upstream, relay(upstream.url, policy=policy) as client:
        await upstream.answer(json_answer(REFUSED, status=429, headers=headers))
        error = await failure(client.create())
        request = await upstream.next_request()
    found = details(error)
    assert 7 == found[error_details_pb2.RetryInfo].retry_delay.seconds
    call_id = found[error_details_pb2.RequestInfo].request_id
    assert request.headers["x-client-request-id"] == call_id
    assert "req_1" == dict(error.trailing_metadata() or ())["x-request-id"]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        pytest.param(json_answer(REFUSED), StatusCode.INTERNAL, id="error in 200"),
        pytest.param(
            json_answer({"error": {"message": "m", "code": 429}}),
            StatusCode.RESOURCE_EXHAUSTED,
            id="HTTP status in the error",
        ),
        pytest.param(
            json_answer({"error": {"message": "m", "type": "overloaded_error"}}),
            StatusCode.UNAVAILABLE,
            id="kind of error",
        ),
        pytest.param(json_answer(b"<html>"), StatusCode.DATA_LOSS, id="no JSON"),
        pytest.param(
            json_answer(b'{"id":"c"}', CLOSE, framing="chunked"), StatusCode.DATA_LOSS, id="cut"
        ),
        pytest.param(
            json_answer(b'{"id":"c"}', RESET, framing="chunked"), StatusCode.DATA_LOSS, id="reset"
        ),
        pytest.param(raw(CLOSE), StatusCode.DATA_LOSS, id="no answer"),
        pytest.param(raw(b"SSH-2.0\r\n\r\n", CLOSE), StatusCode.DATA_LOSS, id="no HTTP"),
        pytest.param(
            raw(
                b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"
            ),
            StatusCode.UNKNOWN,
            id="redirect",
        ),
        pytest.param(
            json_answer(b"busy", status=503, headers={"content-type": "text/plain"}),
            StatusCode.UNAVAILABLE,
            id="no JSON in an error",
        ),
    ],
)
async def test_answers_that_are_none(answer: Answer, code: StatusCode) -> None:
    policy = RetryPolicy(attempts=1)
    async with HttpUpstream() as upstream, relay(upstream.url, policy=policy) as client:
        await upstream.answer(answer, always=True)
        assert code == (await failure(client.create())).code()
        chunks, error = await stream_failure(client.stream())
        assert [] == chunks
        assert code == error.code()
    assert 2 == len(upstream.requests)


@pytest.mark.parametrize(
    ("answer", "texts", "code"),
    [
        pytest.param(
            sse_answer(chunk("a"), REFUSED, HANG, done=False), "a", StatusCode.INTERNAL, id="error"
        ),
        pytest.param(
            sse_answer(chunk("a"), REFUSED, chunk("b")), "ab", StatusCode.INTERNAL, id="and more"
        ),
        pytest.param(
            sse_answer(chunk("a"), done=False), "a", StatusCode.DATA_LOSS, id="no finish_reason"
        ),
        pytest.param(
            sse_answer(chunk("a", "stop"), done=False), "a", StatusCode.OK, id="finish_reason"
        ),
        pytest.param(
            sse_answer(chunk("a", "eos_token"), done=False), "a", StatusCode.OK, id="unknown reason"
        ),
        pytest.param(sse_answer(chunk("a", "stop"), RESET), "a", StatusCode.DATA_LOSS, id="reset"),
        pytest.param(sse_answer(chunk("a"), b"data: [DONE]\n\n", HANG), "a", StatusCode.OK, id="h"),
        pytest.param(sse_answer(chunk("a"), b"data: {\n\n"), "a", StatusCode.DATA_LOSS, id="bad"),
        pytest.param(sse_answer(done=False), "", StatusCode.DATA_LOSS, id="nothing"),
    ],
)
async def test_how_streams_end(answer: Answer, texts: str, code: StatusCode) -> None:
    async with HttpUpstream() as upstream, relay(upstream.url) as client:
        await upstream.answer(answer)
        call = client.stream()
        chunks: list[Any] = []
        with suppress(aio.AioRpcError):
            await read_all(call, chunks)
        assert code == await call.code()
        assert texts == "".join(part["choices"][0]["delta"]["content"] for part in chunks)


async def test_each_choice_must_finish() -> None:
    other = replace_index(chunk("b"), 1)
    async with HttpUpstream() as upstream, relay(upstream.url) as client:
        await upstream.answer(sse_answer(chunk("a", "stop"), other, done=False))
        chunks, error = await stream_failure(client.stream())
        assert [chunk("a", "stop"), other] == chunks
        assert StatusCode.DATA_LOSS == error.code()
        many = [replace_index(chunk("x"), index % 3) for index in range(1000)]
        ends = [replace_index(chunk("", "stop"), index) for index in range(3)]
        await upstream.answer(sse_answer(*many[:600], *ends, *many[600:], done=False))
        assert 1003 == len(await read_all(client.stream()))


def replace_index(part: dict[str, Any], index: int) -> dict[str, Any]:
    return {**part, "choices": [{**part["choices"][0], "index": index}]}


# Overload and hostile input.


async def test_overload_is_said_at_once() -> None:
    options = Options(limits=Limits(max_running=2, max_waiting=1))
    async with HttpUpstream() as upstream, relay(upstream.url, options=options) as client:
        await upstream.answer(raw(WAIT, *json_answer(COMPLETION).steps), always=True)
        calls = [client.create() for _ in range(3)]
        for _ in range(2):
            await upstream.next_request()
        error = await failure(client.create())
        assert StatusCode.RESOURCE_EXHAUSTED == error.code()
        assert 1 == details(error)[error_details_pb2.RetryInfo].retry_delay.seconds
        await upstream.go()
        await upstream.next("done")
        await upstream.next("done")
        await upstream.next("waiting", 3)
        await upstream.go()
        for call in calls:
            assert COMPLETION == to_dict((await call).completion)


#: Made when they are needed: two are of a gigabyte.
HOSTILE: list[Any] = [
    pytest.param(partial(json_answer, Repeat(b"x" * 65536), framing="chunked"), id="endless body"),
    pytest.param(
        partial(json_answer, Repeat(b" " * 1_000_000, 1000), framing="chunked", gzip=True),
        id="gzip bomb",
    ),
    pytest.param(partial(raw, b"HTTP/1.1 200 OK\r\n", Repeat(b"x: y\r\n")), id="endless headers"),
    pytest.param(
        partial(raw, b"HTTP/1.1 200 OK\r\nx: ", Repeat(b"y" * 65536)), id="endless header"
    ),
    pytest.param(partial(raw, b"HTTP/1.1 200 ", Repeat(b"y" * 65536)), id="endless status"),
]
HOSTILE_STREAMS: list[Any] = [
    pytest.param(partial(sse_answer, b"data: ", Repeat(b"x" * 65536)), id="endless line"),
    pytest.param(partial(sse_answer, Repeat(b"data: x\n" * 10_000)), id="endless event"),
    pytest.param(
        partial(sse_answer, b"data: ", Repeat(b" " * 1_000_000, 1000), gzip=True), id="gzip bomb"
    ),
]


@pytest.mark.parametrize("answer", HOSTILE)
async def test_hostile_answers_cost_one_call(answer: Callable[[], Answer]) -> None:
    settings = RemoteSettings(max_bytes=5_000_000)
    async with HttpUpstream() as upstream, relay(upstream.url, settings=settings) as client:
        await upstream.answer(replace(answer(), writes="whole"), model="evil")
        assert StatusCode.DATA_LOSS == (await failure(client.create(model="evil"))).code()
        await upstream.next("closed")
        await upstream.answer(json_answer(COMPLETION))
        assert COMPLETION == to_dict((await client.create()).completion)


@pytest.mark.parametrize("answer", HOSTILE_STREAMS)
async def test_hostile_streams_cost_one_call(answer: Callable[[], Answer]) -> None:
    options = Options(limits=Limits(max_event_bytes=5_000_000))
    async with HttpUpstream() as upstream, relay(upstream.url, options=options) as client:
        await upstream.answer(replace(answer(), writes="whole"), model="evil")
        _, error = await stream_failure(client.stream(model="evil"))
        assert StatusCode.DATA_LOSS == error.code()
        await upstream.next("closed")
        await upstream.answer(sse_answer(chunk("a")))
        assert [chunk("a")] == await read_all(client.stream())


MALFORMED: Sequence[bytes] = (b"\xff", b"\x0a\x05abc", b"\x0b", b"\x0a\x02\x12\x7f", b"\0\0")


@pytest.mark.parametrize("data", MALFORMED)
@pytest.mark.parametrize("method", ["CreateChatCompletion", "StreamChatCompletion"])
async def test_malformed_requests_are_refused(data: bytes, method: str) -> None:
    async with HttpUpstream() as upstream, relay(upstream.url) as client:
        path = f"/chatpb.v1.ChatCompletionService/{method}"
        channel: Any = client.channel
        if method == "CreateChatCompletion":
            error = await failure(channel.unary_unary(path)(data, timeout=TIMEOUT))
        else:
            with pytest.raises(aio.AioRpcError) as caught:
                await channel.unary_stream(path)(data, timeout=TIMEOUT).read()
            error = caught.value
        assert StatusCode.INVALID_ARGUMENT == error.code()
    assert [] == upstream.requests


async def test_messages_are_bounded_both_ways() -> None:
    options = Options(limits=Limits(max_message_bytes=100_000))
    async with HttpUpstream() as upstream, relay(upstream.url, options=options) as client:
        await upstream.answer(json_answer({**COMPLETION, "id": "x" * 200_000}), always=True)
        assert StatusCode.RESOURCE_EXHAUSTED == (await failure(client.create())).code()
        error = await failure(client.create(user="x" * 200_000))
        assert StatusCode.RESOURCE_EXHAUSTED == error.code()
    assert 1 == len(upstream.requests)


async def test_a_killed_upstream_hurts_the_calls_in_it_only() -> None:
    async with HttpUpstream() as one, HttpUpstream() as two:
        routes = [Route("one", Http(one.url), ("one",)), Route("two", Http(two.url), ("two",))]
        router = Router(routes, RetryPolicy(attempts=1))
        async with (
            serving(router) as port,
            aio.insecure_channel(f"127.0.0.1:{port}", OWN_CONNECTION) as channel,
        ):
            client = Relay(channel)
            for upstream in (one, two):
                await upstream.answer(sse_answer(chunk("a"), WAIT, chunk("b")))
            calls = [client.stream(model="one"), client.stream(model="two")]
            for call in calls:
                await call.read()
            await one.kill()
            assert StatusCode.DATA_LOSS == await calls[0].code()
            assert StatusCode.UNAVAILABLE == (await failure(client.create(model="one"))).code()
            await two.go()
            assert chunk("b") == to_dict((await calls[1].read()).chunks[0])
            assert aio.EOF == await calls[1].read()
            assert StatusCode.OK == await calls[1].code()


def test_the_request_of_the_tests_is_what_it_seems() -> None:
    assert PING == to_dict(from_json(json.dumps(PING), ChatCompletionRequest))
