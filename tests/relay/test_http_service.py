"""What the relay guarantees, in front of a real upstream that misbehaves on purpose."""

from __future__ import annotations

import asyncio
import json
import random
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode, aio

from chatpb import from_json, to_dict, to_json
from chatpb.v1.chat_completion_request_pb2 import ChatCompletionRequest
from chatpb.v1.chat_completion_service_pb2_grpc import ChatCompletionServiceStub
from chatpb.v1.error_pb2 import ErrorResponse
from chatpb_server.running.serving import Limits, Options, serving
from chatpb_server.upstreams.http import HttpSettings
from chatpb_server.upstreams.http import HttpUpstream as Http
from chatpb_server.upstreams.router import RetryPolicy, Route, Router
from support import recordings
from support.build import COMPLETION, PING, chunk, create_request, error_object, stream_request
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
    refusing,
    sse_answer,
)
from support.limits import TIMEOUT

REFUSED = error_object("no")
FAST = RetryPolicy(base_delay=0.001)


class Relay:
    """A relay in front of upstreams, and a client's stub to it."""

    def __init__(self, channel: aio.Channel) -> None:
        self.channel = channel
        self.stub = ChatCompletionServiceStub(channel)

    def create(self, timeout: float | None = TIMEOUT, **members: Any) -> Any:
        """A unary call."""
        return self.stub.CreateChatCompletion(create_request(**members), timeout=timeout)

    def stream(self, timeout: float | None = TIMEOUT, **members: Any) -> Any:
        """A streaming call."""
        return self.stub.StreamChatCompletion(stream_request(**members), timeout=timeout)


@asynccontextmanager
async def relay(
    *urls: str,
    settings: HttpSettings | None = None,
    policy: RetryPolicy | None = FAST,
    options: Options | None = None,
) -> AsyncIterator[Relay]:
    """A relay to upstreams at URLs; more than one are tried in their order."""
    routes = [
        Route(f"u{place}", Http(url, settings), weight=0 if place else 1)
        for place, url in enumerate(urls)
    ]
    router = Router(routes, policy, random.Random(1))
    large = [("grpc.max_receive_message_length", -1)]
    async with (
        serving(router, options=options) as port,
        aio.insecure_channel(f"127.0.0.1:{port}", options=large) as channel,
    ):
        yield Relay(channel)


async def read_all(call: Any, into: list[Any] | None = None) -> list[Any]:
    """The chunks of a stream, as JSON values."""
    chunks: list[Any] = [] if into is None else into
    async for response in call:
        chunks += [json.loads(to_json(part, allow_nan=True)) for part in response.chunks]
    return chunks


async def failure(call: Any) -> aio.AioRpcError:
    """How a unary call fails."""
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    return caught.value


async def stream_failure(call: Any) -> tuple[list[Any], aio.AioRpcError]:
    """What a stream gives before it fails, and how it fails."""
    chunks: list[Any] = []
    with pytest.raises(aio.AioRpcError) as caught:
        await read_all(call, chunks)
    return chunks, caught.value


def details(error: aio.AioRpcError) -> dict[type[Message], Any]:
    """The details of a status, by their types."""
    data = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
    assert isinstance(data, bytes)
    found: dict[type[Message], Any] = {}
    for detail in status_pb2.Status.FromString(data).details:
        for kind in (ErrorResponse, error_details_pb2.RetryInfo, error_details_pb2.RequestInfo):
            message = kind()
            if detail.Unpack(message):
                found[kind] = message
    return found


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
    policy = RetryPolicy(base_delay=0.01, attempts=1000, burst=1000)
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
    options = Options(limits=Limits(timeout=0.1))
    async with HttpUpstream() as upstream, relay(upstream.url, options=options) as client:
        await upstream.answer(raw(HANG))
        error = await failure(client.create(timeout=None))
        assert StatusCode.DEADLINE_EXCEEDED == error.code()
        assert "The time is up." == error.details()
        await upstream.next("closed")


async def test_the_relays_own_limit_applies_to_silence_between_chunks() -> None:
    settings = HttpSettings(silence_timeout=0.1)
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


# Retries and failover.


@pytest.mark.parametrize("status", [429, 502, 503, 504])
@pytest.mark.parametrize("is_stream", [False, True])
async def test_what_is_safe_is_tried_again(status: int, is_stream: bool) -> None:
    async with HttpUpstream() as upstream, relay(upstream.url) as client:
        for _ in range(2):
            await upstream.answer(json_answer(REFUSED, status=status))
        if is_stream:
            await upstream.answer(sse_answer(chunk("a")))
            assert [chunk("a")] == await read_all(client.stream())
        else:
            await upstream.answer(json_answer(COMPLETION))
            assert COMPLETION == to_dict((await client.create()).completion)
    assert 3 == len(upstream.requests)
    assert 1 == len({request.body for request in upstream.requests})


@pytest.mark.parametrize("status", [400, 401, 404, 408, 409, 500, 501])
async def test_what_is_not_safe_is_not(status: int) -> None:
    async with HttpUpstream() as upstream, relay(upstream.url) as client:
        await upstream.answer(json_answer(REFUSED, status=status), always=True)
        await failure(client.create())
    assert 1 == len(upstream.requests)


async def test_nothing_is_tried_again_once_the_answer_has_begun() -> None:
    async with HttpUpstream() as upstream, relay(upstream.url) as client:
        await upstream.answer(sse_answer(chunk("a"), RESET), always=True)
        chunks, _ = await stream_failure(client.stream())
        assert [chunk("a")] == chunks
    assert 1 == len(upstream.requests)


async def test_a_long_retry_after_is_left_to_the_caller() -> None:
    answer = json_answer(REFUSED, status=429, headers={"retry-after": "60"})
    async with HttpUpstream() as upstream, relay(upstream.url) as client:
        await upstream.answer(answer, always=True)
        error = await failure(client.create())
    assert 60 == details(error)[error_details_pb2.RetryInfo].retry_delay.seconds
    assert 1 == len(upstream.requests)


async def test_a_short_retry_after_is_kept() -> None:
    answer = json_answer(REFUSED, status=429, headers={"retry-after-ms": "300"})
    async with HttpUpstream() as upstream, relay(upstream.url) as client:
        await upstream.answer(answer)
        await upstream.answer(json_answer(COMPLETION))
        loop = asyncio.get_running_loop()
        start = loop.time()
        await client.create()
        assert loop.time() - start >= 0.3


async def test_the_budget_bounds_retries() -> None:
    policy = RetryPolicy(attempts=10, base_delay=0, burst=3, budget=0)
    async with HttpUpstream() as upstream, relay(upstream.url, policy=policy) as client:
        await upstream.answer(json_answer(REFUSED, status=503), always=True)
        for _ in range(3):
            await failure(client.create())
    assert 4 + 1 + 1 == len(upstream.requests)


@pytest.mark.parametrize("is_stream", [False, True])
async def test_the_next_upstream_answers_where_one_fails(is_stream: bool) -> None:
    with refusing() as dead:
        async with (
            HttpUpstream() as busy,
            HttpUpstream() as upstream,
            relay(dead, busy.url, upstream.url) as client,
        ):
            await busy.answer(json_answer(REFUSED, status=503), always=True)
            if is_stream:
                await upstream.answer(sse_answer(chunk("a")))
                assert [chunk("a")] == await read_all(client.stream())
            else:
                await upstream.answer(json_answer(COMPLETION))
                assert COMPLETION == to_dict((await client.create()).completion)
            assert 1 == len(busy.requests)


async def test_models_choose_their_upstream() -> None:
    async with HttpUpstream() as one, HttpUpstream() as two:
        for upstream in (one, two):
            await upstream.answer(json_answer(COMPLETION), always=True)
        routes = [
            Route("one", Http(one.url), models=("gpt-*", "o3")),
            Route("two", Http(two.url), models=("llama",)),
        ]
        router = Router(routes)
        async with (
            serving(router) as port,
            aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            client = Relay(channel)
            for model in ("gpt-4.1", "llama", "o3"):
                await client.create(model=model)
            error = await failure(client.create(model="unknown"))
    assert ["gpt-4.1", "o3"] == [request.json["model"] for request in one.requests]
    assert ["llama"] == [request.json["model"] for request in two.requests]
    assert StatusCode.NOT_FOUND == error.code()
    assert "model_not_found" == details(error)[ErrorResponse].error.code


async def test_weights_share_the_calls() -> None:
    names: list[str] = []
    router = Router(
        [Route("three", Named("three", names), weight=3), Route("one", Named("one", names))],
        rng=random.Random(5),
    )
    async with serving(router) as port, aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        for _ in range(200):
            await Relay(channel).create()
    assert 130 < names.count("three") < 170


class Named(Http):
    """An upstream that keeps its name each time it is asked."""

    def __init__(self, name: str, names: list[str]) -> None:
        super().__init__("http://127.0.0.1:1")
        self._name = name
        self._names = names

    async def create(self, request: Any) -> Any:  # noqa: ARG002 (the protocol gives it)
        """A completion."""
        from chatpb_server.upstreams.events import answer_of

        self._names.append(self._name)
        return await answer_of(json.dumps(COMPLETION).encode())


# Headers.


async def test_headers_worth_having_arrive() -> None:
    headers = {
        "x-request-id": "req_1",
        "openai-processing-ms": "12",
        "x-ratelimit-remaining-tokens": "9",
        "set-cookie": "secret=1",
        "x-internal": "no",
    }
    expected = [
        ("openai-processing-ms", "12"),
        ("x-ratelimit-remaining-tokens", "9"),
        ("x-request-id", "req_1"),
    ]
    async with HttpUpstream() as upstream, relay(upstream.url) as client:
        await upstream.answer(json_answer(COMPLETION, headers=headers))
        unary = client.create()
        await unary
        await upstream.answer(sse_answer(chunk("a"), headers=headers))
        stream = client.stream()
        await read_all(stream)
        for call in (unary, stream):
            assert expected == sorted(await call.trailing_metadata())


async def test_metadata_is_passed_on_where_it_is_one_header() -> None:
    options = Options(passed_on=("x-tenant",))
    async with HttpUpstream() as upstream, relay(upstream.url, options=options) as client:
        await upstream.answer(json_answer(COMPLETION), always=True)
        method = "/chatpb.v1.ChatCompletionService/CreateChatCompletion"
        channel: Any = client.channel
        metadata = (("x-tenant", "a b"), ("x-other", "c"))
        await channel.unary_unary(method)(b"", metadata=metadata, timeout=TIMEOUT)
        request = await upstream.next_request()
        assert "a b" == request.headers["x-tenant"]
        assert "x-other" not in request.headers


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


HOSTILE: list[Any] = [
    pytest.param(json_answer(Repeat(b"x" * 65536), framing="chunked"), id="endless body"),
    pytest.param(
        json_answer(Repeat(b" " * 1_000_000, 1000), framing="chunked", gzip=True), id="gzip bomb"
    ),
    pytest.param(raw(b"HTTP/1.1 200 OK\r\n", Repeat(b"x: y\r\n")), id="endless headers"),
    pytest.param(raw(b"HTTP/1.1 200 OK\r\nx: ", Repeat(b"y" * 65536)), id="endless header"),
    pytest.param(raw(b"HTTP/1.1 200 ", Repeat(b"y" * 65536)), id="endless status"),
]
HOSTILE_STREAMS: list[Any] = [
    pytest.param(sse_answer(b"data: ", Repeat(b"x" * 65536)), id="endless line"),
    pytest.param(sse_answer(Repeat(b"data: x\n" * 10_000)), id="endless event"),
    pytest.param(sse_answer(b"data: ", Repeat(b" " * 1_000_000, 1000), gzip=True), id="gzip bomb"),
]


@pytest.mark.parametrize("answer", HOSTILE)
async def test_hostile_answers_cost_one_call(answer: Answer) -> None:
    settings = HttpSettings(max_body_bytes=5_000_000)
    async with HttpUpstream() as upstream, relay(upstream.url, settings=settings) as client:
        await upstream.answer(replace(answer, writes="whole"), model="evil")
        assert StatusCode.DATA_LOSS == (await failure(client.create(model="evil"))).code()
        await upstream.next("closed")
        await upstream.answer(json_answer(COMPLETION))
        assert COMPLETION == to_dict((await client.create()).completion)


@pytest.mark.parametrize("answer", HOSTILE_STREAMS)
async def test_hostile_streams_cost_one_call(answer: Answer) -> None:
    options = Options(limits=Limits(max_event_bytes=5_000_000))
    async with HttpUpstream() as upstream, relay(upstream.url, options=options) as client:
        await upstream.answer(replace(answer, writes="whole"), model="evil")
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
            aio.insecure_channel(f"127.0.0.1:{port}") as channel,
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


# How the upstream is reached.


async def test_the_certificate_of_the_upstream_is_checked(tmp_path: Path) -> None:
    authority = trustme.CA()
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server_side)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    body = json.dumps(COMPLETION).encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n"
        writer.write(head + b"content-length: %d\r\n\r\n" % len(body) + body)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server_side) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        async with relay(url, policy=RetryPolicy(attempts=1)) as client:
            assert StatusCode.UNAVAILABLE == (await failure(client.create())).code()
        async with relay(url, settings=HttpSettings(ca_file=str(tmp_path / "ca.pem"))) as client:
            assert COMPLETION == to_dict((await client.create()).completion)


async def test_the_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with HttpUpstream() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1"))
        monkeypatch.setenv("no_proxy", "127.0.0.1")  # for the client of this test
        await proxy.answer(json_answer(COMPLETION), always=True)
        async with relay("http://upstream.example/v1") as client:
            await client.create()
    [request] = proxy.requests
    assert "http://upstream.example/v1/chat/completions" == request.path
