"""OpenAI's SDK over gRPC, beside the same SDK over HTTP, in front of one and the same upstream.

Each test is written once, for both kinds of the SDK: `Sdk` gives them the same face.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import httpx2
import openai
import pytest
import trustme
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import RequestInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode
from grpc_status import rpc_status
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from chatpb import from_dict, to_dict
from chatpb._rpc.status import HTTP_STATUSES
from chatpb.transport import AsyncGrpcTransport, GrpcTransport
from chatpb.v1 import (
    ChatCompletion,
    ChatCompletionChunk,
    CreateChatCompletionRequest,
    CreateChatCompletionResponse,
    Error,
    ErrorResponse,
    StreamChatCompletionResponse,
)
from chatpb_server.running.serving import Options, serving
from chatpb_server.upstreams.http import HttpSettings
from chatpb_server.upstreams.http import HttpUpstream as Http
from chatpb_server.upstreams.router import RetryPolicy, Route, Router
from support import recordings
from support.build import PING, USAGE, choice, chunk, chunk_of, completion, delta, error_object
from support.http_upstream import (
    CLOSE,
    HANG,
    RESET,
    WAIT,
    HttpUpstream,
    Repeat,
    event,
    json_answer,
    never_accepting,
    raw,
    refusing,
    sse_answer,
)
from support.limits import TIMEOUT, within

#: Timeouts of the SDK, in seconds: one that passes, and one in which a chunk comes.
SOON = 0.3
PATIENCE = 1.0
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
HEADERS = {
    "x-request-id": "req_1",
    "openai-organization": "org",
    "openai-processing-ms": "12",
    "x-ratelimit-remaining-tokens": "9",
}


TOKEN = {"token": "pong", "logprob": -0.25, "bytes": [112, 111, 110, 103]}
LOGPROBS = {"content": [{**TOKEN, "top_logprobs": [TOKEN]}], "refusal": None}
CALLED = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


def value(model: BaseModel) -> Any:
    """The JSON value that an object of the SDK has been made from."""
    return model.model_dump(mode="json", exclude_unset=True, by_alias=True, warnings=False)


class Sdk:
    """OpenAI's SDK of either kind.

    Args:
        is_async: Which kind.
        transport: The transport; None: HTTP.
        options: Of the SDK's client.
    """

    def __init__(self, is_async: bool, transport: Any = None, **options: Any) -> None:
        options = {"api_key": "key", "max_retries": 0, "base_url": "http://x.invalid/v1"} | options
        kind: Any = AsyncOpenAI if is_async else OpenAI
        if transport is not None:
            http: Any = httpx2.AsyncClient if is_async else httpx2.Client
            options["http_client"] = http(transport=transport)
        self.is_async = is_async
        self.client: Any = kind(**options)

    async def __aenter__(self) -> Sdk:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.run(lambda client: client.close())

    async def run(self, call: Callable[[Any], Any]) -> Any:
        """What a call gives."""
        if self.is_async:
            return await within(call(self.client))
        return await within(asyncio.to_thread(call, self.client))

    async def create(self, **members: Any) -> Any:
        """What ``chat.completions.create`` gives."""
        return await self.run(lambda client: client.chat.completions.create(**{**PING, **members}))

    async def next(self, stream: Any) -> Any:
        """The next item of a stream, or None."""
        if self.is_async:
            return await within(anext(aiter(stream), None))
        return await within(asyncio.to_thread(next, iter(stream), None))

    async def close(self, stream: Any) -> None:
        """Closes a stream."""
        if self.is_async:
            await stream.close()
        else:
            stream.close()

    async def stream(self, **members: Any) -> tuple[list[Any], Exception | None]:
        """The chunks of a stream as JSON values, and what it raises at its end."""
        chunks: list[Any] = []
        try:
            stream = await self.create(stream=True, **members)
            while (part := await self.next(stream)) is not None:
                chunks.append(value(part))
        except openai.APIError as error:
            return chunks, error
        return chunks, None

    async def failure(self, **members: Any) -> openai.APIError:
        """What ``chat.completions.create`` raises."""
        with pytest.raises(openai.APIError) as caught:
            await self.create(**members)
        return caught.value


def grpc_transport(is_async: bool, target: str, **options: Any) -> Any:
    """A transport of either kind."""
    return (AsyncGrpcTransport if is_async else GrpcTransport)(target, **options)


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def is_async(request: pytest.FixtureRequest) -> bool:
    """Which kind of the SDK."""
    return bool(request.param)


@asynccontextmanager
async def relay(
    url: str, *, settings: HttpSettings | None = None, **options: Any
) -> AsyncIterator[str]:
    """The address of a relay to an upstream, which does not try again."""
    router = Router([Route("u", Http(url, settings))], RetryPolicy(attempts=1))
    async with serving(router, options=Options(**options)) as port:
        yield f"127.0.0.1:{port}"


@asynccontextmanager
async def both(is_async: bool, **options: Any) -> AsyncIterator[tuple[HttpUpstream, Sdk, Sdk]]:
    """An upstream; the SDK over HTTP to it; and the SDK over gRPC, through a relay."""
    async with (
        HttpUpstream() as upstream,
        relay(upstream.url) as address,
        pair(is_async, upstream.url, address, **options) as (direct, through),
    ):
        yield upstream, direct, through


@asynccontextmanager
async def pair(
    is_async: bool, url: str, address: str, **options: Any
) -> AsyncIterator[tuple[Sdk, Sdk]]:
    """The SDK over HTTP to a URL, and over gRPC to an address."""
    async with (
        Sdk(is_async, base_url=url, **options) as direct,
        Sdk(is_async, grpc_transport(is_async, address), **options) as through,
    ):
        yield direct, through


# Answers.


COMPLETIONS = [
    pytest.param({}, completion(choice("pong", annotations=[])), id="text"),
    pytest.param(
        {"tools": [TOOL], "tool_choice": "auto"},
        completion(choice(None, tool_calls=[CALLED])),
        id="tools",
    ),
    pytest.param(
        {"logprobs": True, "top_logprobs": 1},
        completion({**choice("pong"), "logprobs": LOGPROBS}),
        id="logprobs",
    ),
    pytest.param(
        {"n": 2}, completion(choice("a"), choice("b", index=1), usage=USAGE), id="two choices"
    ),
    pytest.param(
        {"extra_body": {"top_k": 1.50, "x": {"y": [None, 10**30]}}, "stream": False},
        completion(
            {**choice("é\U0001f600", x=1.50), "finish_reason": "eos"},
            usage=None,
            service_tier="on_demand",
            x_vendor={"a": [1.50, None]},
        ),
        id="undocumented",
    ),
    pytest.param({"user": "x" * 300_000}, completion(choice("y" * 300_000)), id="large"),
]


@pytest.mark.parametrize(("members", "answer"), COMPLETIONS)
async def test_completions(is_async: bool, members: Any, answer: Any) -> None:
    async with both(is_async) as (upstream, direct, through):
        await upstream.answer(json_answer(answer), always=True)
        expected = await direct.create(**members)
        actual = await through.create(**members)
    assert answer == value(actual)
    assert expected == actual
    first, second = upstream.requests
    assert first.json == second.json


STREAMS = [
    pytest.param({}, [chunk("", role="assistant"), chunk("po"), chunk("ng")]),
    pytest.param(
        {"stream_options": {"include_usage": True}},
        [
            chunk_of(delta("a"), usage=None),
            chunk_of(delta(None, "stop"), usage=None),
            chunk_of(usage=USAGE),
        ],
        id="usage",
    ),
    pytest.param(
        {"tools": [TOOL]},
        [
            chunk(None, tool_calls=[{"index": 0, **CALLED}]),
            chunk(None, tool_calls=[{"index": 0, "function": {"arguments": "x"}}]),
            chunk(None, "tool_calls"),
        ],
        id="tools",
    ),
    pytest.param({"n": 2}, [chunk_of(delta("a"), delta("b", index=1, x=1.50))], id="two"),
    pytest.param({}, [], id="empty"),
]


@pytest.mark.parametrize(("members", "chunks"), STREAMS)
async def test_streams(is_async: bool, members: Any, chunks: list[Any]) -> None:
    async with both(is_async) as (upstream, direct, through):
        await upstream.answer(sse_answer(*chunks), always=True)
        expected = await direct.stream(**members)
        actual = await through.stream(**members)
    assert (chunks, None) == expected == actual
    first, second = upstream.requests
    assert first.json == second.json


async def test_chunks_come_as_they_are_sent(is_async: bool) -> None:
    async with both(is_async) as (upstream, _, through):
        await upstream.answer(sse_answer(chunk("a"), WAIT, chunk("b"), chunk("c")))
        stream = await through.create(stream=True)
        assert chunk("a") == value(await through.next(stream))
        await upstream.next("waiting")
        await upstream.go()
        assert chunk("b") == value(await through.next(stream))
        assert chunk("c") == value(await through.next(stream))
        assert None is await through.next(stream)


async def test_the_stream_helper(is_async: bool) -> None:
    async def events(client: Any) -> tuple[list[Any], Any]:
        async with client.chat.completions.stream(**PING) as stream:
            found = [value(item) async for item in stream]
            return found, value(await stream.get_final_completion())

    def plain_events(client: Any) -> tuple[list[Any], Any]:
        with client.chat.completions.stream(**PING) as stream:
            found = [value(item) for item in stream]
            return found, value(stream.get_final_completion())

    parts = [chunk("po", role="assistant"), chunk("ng"), chunk(None, "stop")]
    async with both(is_async) as (upstream, direct, through):
        await upstream.answer(sse_answer(*parts), always=True)
        run = events if is_async else plain_events
        expected = await direct.run(run)
        actual = await through.run(run)
    assert expected == actual
    assert "pong" == actual[1]["choices"][0]["message"]["content"]


async def test_parsing_into_a_model(is_async: bool) -> None:
    class Answer(BaseModel):
        word: str

    def parse(client: Any) -> Any:
        return client.chat.completions.parse(**PING, response_format=Answer)

    async with both(is_async) as (upstream, direct, through):
        await upstream.answer(json_answer(completion(choice('{"word":"pong"}'))), always=True)
        expected = await direct.run(parse)
        actual = await through.run(parse)
    assert Answer(word="pong") == actual.choices[0].message.parsed
    assert expected == actual
    first, second = upstream.requests
    assert first.json == second.json


def worth_having(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that callers look at."""
    names = (*HEADERS, "retry-after", "retry-after-ms")
    found = {name: headers[name] for name in names if name in headers}
    return {**found, "content-type": headers["content-type"]}


@pytest.mark.parametrize("stream", [False, True], ids=["create", "stream"])
async def test_headers(is_async: bool, stream: bool) -> None:
    answer = sse_answer(chunk("a"), headers=HEADERS)
    if not stream:
        answer = json_answer(completion(choice("pong")), headers=HEADERS)

    def call(client: Any) -> Any:
        return client.chat.completions.with_raw_response.create(**PING, stream=stream)

    async with both(is_async) as (upstream, direct, through):
        await upstream.answer(answer, always=True)
        expected = await direct.run(call)
        actual = await through.run(call)
        assert 200 == actual.status_code == actual.http_response.status_code
        assert worth_having(expected.headers) == worth_having(actual.headers)
        assert {**worth_having(actual.headers), **HEADERS} == worth_having(actual.headers)
        assert "req_1" == actual.request_id
        if stream:
            assert chunk("a") == value(await through.next(actual.parse()))
        else:
            assert expected.parse() == actual.parse()
            assert "req_1" == actual.parse()._request_id


# Errors.


def described(error: Any) -> dict[str, Any]:
    """All that an error of the SDK says."""
    names = ("message", "body", "code", "param", "type", "status_code", "request_id")
    said: dict[str, Any] = {name: getattr(error, name, None) for name in names}
    if isinstance(error, openai.APIStatusError):
        said["headers"] = worth_having(error.response.headers)
    return {**said, "class": type(error)}


ERRORS = [
    pytest.param(400, openai.BadRequestError, {}, id="400"),
    pytest.param(401, openai.AuthenticationError, {}, id="401"),
    pytest.param(403, openai.PermissionDeniedError, {}, id="403"),
    pytest.param(404, openai.NotFoundError, {}, id="404"),
    pytest.param(408, openai.APIStatusError, {}, id="408"),
    pytest.param(409, openai.ConflictError, {}, id="409"),
    pytest.param(413, openai.APIStatusError, {}, id="413"),
    pytest.param(418, openai.APIStatusError, {}, id="418"),
    pytest.param(422, openai.UnprocessableEntityError, {}, id="422"),
    pytest.param(429, openai.RateLimitError, {"retry-after": "7"}, id="429"),
    pytest.param(429, openai.RateLimitError, {"retry-after-ms": "70"}, id="429 ms"),
    pytest.param(500, openai.InternalServerError, {}, id="500"),
    pytest.param(502, openai.InternalServerError, {}, id="502"),
    pytest.param(503, openai.InternalServerError, {"retry-after": "1"}, id="503"),
    pytest.param(504, openai.InternalServerError, {}, id="504"),
    pytest.param(529, openai.InternalServerError, {}, id="529"),
]


@pytest.mark.parametrize("stream", [False, True], ids=["create", "stream"])
@pytest.mark.parametrize(("status", "kind", "headers"), ERRORS)
async def test_errors(is_async: bool, stream: bool, status: int, kind: Any, headers: Any) -> None:
    body = error_object(
        "no", type="invalid", param="messages[0].x", code="bad", x_more=[1.50, None]
    )
    answer = json_answer(body, status=status, headers={**headers, "x-request-id": "req_1"})
    async with both(is_async) as (upstream, direct, through):
        await upstream.answer(answer, always=True)
        expected = await direct.failure(stream=stream)
        actual = await through.failure(stream=stream)
    assert kind is type(actual)
    assert described(expected) == described(actual)
    assert (status, body["error"], "req_1") == (
        described(actual)["status_code"],
        actual.body,
        described(actual)["request_id"],
    )


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"detail": [{"loc": ["body"], "msg": "no"}]}, id="detail"),
        pytest.param({"error": "text"}, id="text"),
        pytest.param({"object": "error", "message": "no", "code": 400}, id="flat"),
    ],
)
async def test_errors_of_other_shapes(is_async: bool, body: Any) -> None:
    async with both(is_async) as (upstream, direct, through):
        await upstream.answer(json_answer(body, status=400, headers=HEADERS), always=True)
        expected = described(await direct.failure())
        actual = described(await through.failure())
    # The text repeats the body as a dict, whose order may be another.
    assert {**expected, "message": ""} == {**actual, "message": ""}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(error_object("late", code="x"), id="openai"),
        pytest.param({"error": "text"}, id="text"),
    ],
)
async def test_an_error_in_the_middle_of_a_stream(is_async: bool, body: Any) -> None:
    async with both(is_async) as (upstream, direct, through):
        await upstream.answer(sse_answer(chunk("a"), WAIT, body), always=True)
        outcomes = []
        for sdk in (direct, through):
            reading = asyncio.ensure_future(sdk.stream())
            await upstream.next("waiting")
            await upstream.go()
            chunks, raised = await reading
            outcomes.append((chunks, described(raised)))
    expected, actual = outcomes
    assert ([chunk("a")], openai.APIError) == (actual[0], actual[1]["class"])
    assert expected == actual


@pytest.mark.parametrize("end", [RESET, CLOSE], ids=["reset", "close"])
async def test_a_stream_that_breaks_off(is_async: bool, end: Any) -> None:
    async with both(is_async) as (upstream, direct, through):
        await upstream.answer(sse_answer(chunk("a"), WAIT, end), always=True)
        for sdk in (direct, through):
            reading = asyncio.ensure_future(sdk.stream())
            await upstream.next("waiting")
            await upstream.go()
            chunks, raised = await reading
            assert ([chunk("a")], openai.APIConnectionError) == (chunks, type(raised))


@pytest.mark.parametrize("stream", [False, True], ids=["create", "stream"])
async def test_the_sdk_tries_again(is_async: bool, stream: bool) -> None:
    refusal = json_answer(error_object("slow"), status=429, headers={"retry-after-ms": "1"})
    unavailable = json_answer(error_object("busy"), status=503, headers={"retry-after-ms": "1"})
    done = sse_answer(chunk("a")) if stream else json_answer(completion(choice("pong")))
    async with both(is_async, max_retries=2) as (upstream, direct, through):
        for sdk in (direct, through):
            for answer in (refusal, unavailable, done):
                await upstream.answer(answer)
            if stream:
                assert ([chunk("a")], None) == await sdk.stream()
            else:
                assert "pong" == (await sdk.create()).choices[0].message.content
    assert 6 == len(upstream.requests)


async def test_the_sdk_gives_up(is_async: bool) -> None:
    """After as many requests as over HTTP: the transport itself sends each once."""
    refusal = json_answer(error_object("busy"), status=503, headers={"retry-after-ms": "1"})
    async with both(is_async, max_retries=1) as (upstream, direct, through):
        await upstream.answer(refusal, always=True)
        for sdk in (direct, through):
            assert openai.InternalServerError is type(await sdk.failure())
    assert 4 == len(upstream.requests)


# No answer.


@pytest.mark.parametrize("stream", [False, True], ids=["create", "stream"])
async def test_connections_that_are_refused(is_async: bool, stream: bool) -> None:
    with refusing() as url:
        async with pair(is_async, url, target_of(url)) as (direct, through):
            expected = await direct.failure(stream=stream)
            actual = await through.failure(stream=stream)
    assert described(expected) == described(actual)
    assert openai.APIConnectionError is type(actual)
    assert httpx2.ConnectError is type(actual.__cause__)


@pytest.mark.parametrize("stream", [False, True], ids=["create", "stream"])
async def test_connections_that_are_not_made_in_time(is_async: bool, stream: bool) -> None:
    limits = httpx2.Timeout(TIMEOUT, connect=SOON)
    with never_accepting() as url:
        async with pair(is_async, url, target_of(url), timeout=limits) as (direct, through):
            expected = await direct.failure(stream=stream)
            actual = await through.failure(stream=stream)
    assert described(expected) == described(actual)
    assert openai.APITimeoutError is type(actual)
    assert httpx2.ConnectTimeout is type(actual.__cause__)


def target_of(url: str) -> str:
    """The address in a URL."""
    return url.removeprefix("http://").removesuffix("/v1")


@pytest.mark.parametrize("stream", [False, True], ids=["create", "stream"])
async def test_silence_before_the_answer(is_async: bool, stream: bool) -> None:
    async with both(is_async, timeout=SOON) as (upstream, direct, through):
        await upstream.answer(raw(HANG), always=True)
        expected = await direct.failure(stream=stream)
        await upstream.next("closed")
        actual = await through.failure(stream=stream)
        await upstream.next("closed")
    assert described(expected) == described(actual)
    assert openai.APITimeoutError is type(actual)
    assert httpx2.ReadTimeout is type(actual.__cause__)


async def test_silence_in_a_stream(is_async: bool) -> None:
    async with both(is_async, timeout=PATIENCE) as (upstream, direct, through):
        await upstream.answer(sse_answer(chunk("a"), HANG), always=True)
        outcomes = []
        for sdk in (direct, through):
            chunks, raised = await sdk.stream()
            assert openai.APITimeoutError is type(raised)
            outcomes.append((chunks, described(raised)))
            await upstream.next("closed")
    assert ([chunk("a")], openai.APITimeoutError) == (outcomes[1][0], outcomes[1][1]["class"])
    assert outcomes[0] == outcomes[1]


async def test_each_stream_has_its_own_patience(is_async: bool) -> None:
    async with both(is_async) as (upstream, _, through):
        await upstream.answer(sse_answer(chunk("a"), WAIT, chunk("b")), always=True)
        patient = asyncio.ensure_future(through.stream(timeout=TIMEOUT))
        await upstream.next("waiting", 1)
        _, raised = await through.stream(timeout=SOON)
        assert openai.APITimeoutError is type(raised)
        await upstream.next("closed", 2)
        await upstream.go(1)
        assert ([chunk("a"), chunk("b")], None) == await patient


async def test_a_stream_may_take_longer_than_its_silences(is_async: bool) -> None:
    pieces = [chunk(str(number)) for number in range(9)]
    async with both(is_async, timeout=PATIENCE) as (upstream, _, through):
        await upstream.answer(sse_answer(*pieces, interval=PATIENCE / 8))
        began = time.monotonic()
        assert (pieces, None) == await through.stream()
        assert time.monotonic() - began > PATIENCE


async def test_the_deadline_of_a_completion_goes_on_to_the_upstream(is_async: bool) -> None:
    async with both(is_async, timeout=9) as (upstream, _, through):
        await upstream.answer(json_answer(completion(choice("pong"))))
        await through.create()
        await upstream.answer(sse_answer(chunk("a")))
        await through.stream()
    unary, stream = upstream.requests
    assert 5000 < int(unary.headers["x-request-timeout-ms"]) < 9500  # gRPC rounds up
    assert int(stream.headers["x-request-timeout-ms"]) > 9000  # the relay's own


# Leaving, and reading slowly.


async def test_leaving_a_stream_ends_it(is_async: bool) -> None:
    async with both(is_async) as (upstream, _, through):
        await upstream.answer(sse_answer(chunk("a"), HANG), always=True)
        stream = await through.create(stream=True)
        assert chunk("a") == value(await through.next(stream))
        await through.close(stream)
        await upstream.next("closed")


async def test_cancelling_the_task_ends_the_call() -> None:
    async with both(is_async=True) as (upstream, _, through):
        for answer, stream in ((raw(HANG), False), (raw(HANG), True)):
            await upstream.answer(answer)
            calling = asyncio.ensure_future(through.create(stream=stream))
            await upstream.next_request()
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling
            await upstream.next("closed")
        await upstream.answer(sse_answer(chunk("a"), HANG))
        stream = await through.create(stream=True)
        await through.next(stream)
        reading = asyncio.ensure_future(through.next(stream))
        await upstream.state()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await upstream.next("closed")


@pytest.mark.parametrize("stream", [False, True], ids=["create", "stream"])
async def test_closing_the_client_ends_its_calls(is_async: bool, stream: bool) -> None:
    async with both(is_async) as (upstream, _, through):
        await upstream.answer(raw(HANG))
        calling = asyncio.ensure_future(through.failure(stream=stream))
        await upstream.next_request()
        await through.run(lambda client: client.close())
        assert openai.APIConnectionError is type(await within(calling))
        await upstream.next("closed")


async def test_who_reads_slowly_is_sent_slowly(is_async: bool) -> None:
    endless = sse_answer(Repeat(event(chunk("x" * 10_000))))
    async with both(is_async) as (upstream, _, through):
        await upstream.answer(endless)
        stream = await through.create(stream=True)
        await through.next(stream)
        blocked = await upstream.next("blocked")
        assert blocked.sent < 30_000_000
        await through.close(stream)
        await upstream.next("closed")


async def test_many_calls_at_once(is_async: bool) -> None:
    async with both(is_async) as (upstream, _, through):
        await upstream.answer(raw(WAIT, *sse_answer(chunk("a"), chunk("b")).steps), always=True)
        calls = [asyncio.ensure_future(through.stream()) for _ in range(5)]
        for _ in calls:
            await upstream.next("waiting")
        await upstream.go()
        assert [([chunk("a"), chunk("b")], None)] * 5 == [await call for call in calls]


# What is sent.


class Stub(grpc.GenericRpcHandler):
    """A server that keeps the metadata of its calls, and answers with a completion or a status.

    Attributes:
        target: Its address.
        metadata: The metadata of each call.
        requests: The JSON value of each request.
        failure: The status of the next calls.
        after: Whether streams fail after a chunk.
        initial: The initial metadata of answers.
        trailing: The trailing metadata.
    """

    def __init__(self) -> None:
        self.target = ""
        self.metadata: list[dict[str, Any]] = []
        self.requests: list[Any] = []
        self.failure: grpc.Status | None = None
        self.after = False
        self.initial: tuple[tuple[str, str], ...] = ()
        self.trailing: tuple[tuple[str, str], ...] = ()
        self.data = b""

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """The handler of an rpc."""
        if "Stream" in details.method:
            return grpc.unary_stream_rpc_method_handler(self._stream)
        return grpc.unary_unary_rpc_method_handler(self._create)

    async def _create(self, request: bytes, context: Any) -> bytes:
        await self._note(request, context)
        await self._fail(context)
        answer = from_dict(completion(choice("pong")), ChatCompletion)
        return self.data or CreateChatCompletionResponse(completion=answer).SerializeToString()

    async def _stream(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        await self._note(request, context)
        answer = from_dict(chunk("a"), ChatCompletionChunk)
        if self.after:
            yield StreamChatCompletionResponse(chunks=[answer]).SerializeToString()
        await self._fail(context)
        yield self.data or StreamChatCompletionResponse(chunks=[answer]).SerializeToString()

    async def _note(self, request: bytes, context: Any) -> None:
        self.requests.append(to_dict(CreateChatCompletionRequest.FromString(request).request))
        self.metadata.append(dict(context.invocation_metadata()))
        await context.send_initial_metadata(self.initial)
        context.set_trailing_metadata(self.trailing)

    async def _fail(self, context: Any) -> None:
        if self.failure is not None:
            trailers = (*self.failure.trailing_metadata, *self.trailing)
            await context.abort(self.failure.code, self.failure.details, trailers)


@asynccontextmanager
async def served(
    credentials: grpc.ServerCredentials | None = None,
    port: int = 0,
    options: Sequence[tuple[str, Any]] = (),
) -> AsyncIterator[Stub]:
    """A stub on a port."""
    stub = Stub()
    server = grpc.aio.server(handlers=[stub], options=options)
    address = f"127.0.0.1:{port}"
    if credentials is None:
        port = server.add_insecure_port(address)
    else:
        port = server.add_secure_port(address, credentials)
    await server.start()
    stub.target = f"127.0.0.1:{port}"
    try:
        yield stub
    finally:
        await server.stop(0)


async def test_headers_become_metadata(is_async: bool) -> None:
    headers = {
        "X-Tenant": "a b",
        "traceparent": "00-1",
        "x-raw-bin": "AA==",
        "grpc-timeout": "1n",
        "x-stainless-lang": "python",
    }
    async with served() as stub:
        transport = grpc_transport(is_async, stub.target)
        async with Sdk(is_async, transport, organization="org", project="p") as sdk:
            await sdk.create(extra_headers=headers)
    [metadata] = stub.metadata
    assert metadata.pop("user-agent").startswith("grpc-python")
    expected = {
        "authorization": "Bearer key",
        "openai-organization": "org",
        "openai-project": "p",
        "traceparent": "00-1",
        "x-tenant": "a b",
    }
    assert expected == metadata


async def test_a_token_and_metadata_take_the_place_of_headers(is_async: bool) -> None:
    async with served() as stub:
        options: dict[str, Any] = {"token": "t", "metadata": [("X-Tenant", "mine")]}
        transport = grpc_transport(is_async, stub.target, **options)
        async with Sdk(is_async, transport) as sdk:
            await sdk.create(extra_headers={"x-tenant": "theirs", "x-other": "o"})
    [metadata] = stub.metadata
    named = {name: metadata[name] for name in ("authorization", "x-tenant", "x-other")}
    assert {"authorization": "Bearer t", "x-tenant": "mine", "x-other": "o"} == named


async def test_the_key_goes_on_to_an_upstream_that_takes_it(is_async: bool) -> None:
    settings = HttpSettings(takes_authorization=True)
    async with (
        HttpUpstream() as upstream,
        relay(upstream.url, settings=settings, passed_on=("authorization",)) as address,
        Sdk(is_async, grpc_transport(is_async, address), api_key="mine") as sdk,
    ):
        await upstream.answer(json_answer(completion(choice("pong"))))
        await sdk.create()
    assert "Bearer mine" == upstream.requests[0].headers["authorization"]


async def test_secrets_do_not_leave_this_machine_in_the_clear(is_async: bool) -> None:
    with pytest.raises(ValueError, match=r"will not send the token to relay\.example:1"):
        grpc_transport(is_async, "relay.example:1", token="t")
    async with Sdk(is_async, grpc_transport(is_async, "relay.example:1")) as sdk:
        with pytest.raises(ValueError, match="will not send the header 'authorization'"):
            await sdk.create()


async def test_a_header_that_is_no_metadata() -> None:
    """The error names it, but not its value."""
    url, headers = "http://x/v1/chat/completions", [(b"x-tenant", "é".encode())]
    async with (
        served() as stub,
        httpx2.AsyncClient(transport=AsyncGrpcTransport(stub.target)) as client,
    ):
        with pytest.raises(
            ValueError, match="printable ASCII as the value of 'x-tenant'"
        ) as caught:
            await client.post(url, json=PING, headers=headers)
    assert "é" not in str(caught.value)
    assert [] == stub.requests


async def test_tls(is_async: bool) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
    pair = (certificate.private_key_pem.bytes(), chain)
    trusting = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
    async with served(grpc.ssl_server_credentials([pair])) as stub:
        transport = grpc_transport(is_async, stub.target, credentials=trusting, token="t")
        async with Sdk(is_async, transport) as sdk:
            assert "pong" == (await sdk.create()).choices[0].message.content
    assert "Bearer t" == stub.metadata[0]["authorization"]


@pytest.mark.parametrize("text", ["[]", "{", '{"x":NaN}', ""])
async def test_a_body_that_is_no_request(text: str) -> None:
    async with served() as stub:
        with httpx2.Client(transport=GrpcTransport(stub.target)) as client:
            answer = await asyncio.to_thread(
                client.post, "http://x/v1/chat/completions", content=text
            )
    assert 400 == answer.status_code
    assert "invalid_request_error" == answer.json()["error"]["type"]
    assert [] == stub.requests


@pytest.mark.parametrize(
    ("member", "is_stream"),
    [
        pytest.param('"stream":true', True, id="true"),
        pytest.param('"stream":false', False, id="false"),
        pytest.param('"stream":null', False, id="null"),
        pytest.param('"stream":1', False, id="number"),
        pytest.param('"stream":false,"stream":true', True, id="twice"),
    ],
)
async def test_what_asks_for_a_stream(member: str, is_stream: bool) -> None:
    body = '{"model":"m",' + member + "}"
    url = "http://x/openai/deployments/m/chat/completions?api-version=1"
    async with (
        served() as stub,
        httpx2.AsyncClient(transport=AsyncGrpcTransport(stub.target)) as client,
    ):
        answer = await client.post(url, content=body)
    kind = "text/event-stream; charset=utf-8" if is_stream else "application/json"
    assert (200, kind) == (answer.status_code, answer.headers["content-type"])
    assert [json.loads(body)] == stub.requests
    if is_stream:
        assert event(chunk("a")) + b"data: [DONE]\n\n" == compact(answer.content)


def compact(stream: bytes) -> bytes:
    """An event stream with its JSON written as the tests write it."""
    events = [part.removeprefix(b"data: ") for part in stream.split(b"\n\n") if part]
    return b"".join(event(part if part == b"[DONE]" else json.loads(part)) for part in events)


# What servers say.


def status(code: StatusCode, message: str, *details: Message) -> grpc.Status:
    made = Status(code=code.value[0], message=message)
    for detail in details:
        made.details.add().Pack(detail)
    return rpc_status.to_status(made)


OPENAI = ErrorResponse(error=Error(message="no", type="t"))
DELAY = RetryInfo()
DELAY.retry_delay.FromMilliseconds(1500)


@pytest.mark.parametrize("code", list(HTTP_STATUSES))
async def test_statuses_stand_for_http_statuses(is_async: bool, code: StatusCode) -> None:
    """As in the relay's own HTTP API."""
    async with served() as stub, Sdk(is_async, grpc_transport(is_async, stub.target)) as sdk:
        stub.failure = status(code, "no", OPENAI, DELAY, RequestInfo(request_id="r"))
        for stream in (False, True):
            failure: Any = await sdk.failure(stream=stream)
            assert HTTP_STATUSES[code] == failure.status_code
            assert ("no", "r") == (failure.body["message"], failure.request_id)
            headers = failure.response.headers
            assert ("2", "1500") == (headers["retry-after"], headers["retry-after-ms"])


@pytest.mark.parametrize(
    ("failure", "expected", "cause"),
    [
        pytest.param(StatusCode.UNAVAILABLE, openai.APIConnectionError, httpx2.ConnectError),
        pytest.param(StatusCode.CANCELLED, openai.APIConnectionError, httpx2.RemoteProtocolError),
        pytest.param(StatusCode.DEADLINE_EXCEEDED, openai.APITimeoutError, httpx2.ReadTimeout),
        pytest.param(StatusCode.UNIMPLEMENTED, openai.InternalServerError, None),
        pytest.param(StatusCode.UNAUTHENTICATED, openai.AuthenticationError, None),
        pytest.param(StatusCode.PERMISSION_DENIED, openai.PermissionDeniedError, None),
        pytest.param(StatusCode.RESOURCE_EXHAUSTED, openai.RateLimitError, None),
        pytest.param(StatusCode.INTERNAL, openai.InternalServerError, None),
    ],
)
async def test_statuses_without_details(
    is_async: bool, failure: StatusCode, expected: Any, cause: Any
) -> None:
    """As proxies send them, and gRPC itself."""
    async with served() as stub, Sdk(is_async, grpc_transport(is_async, stub.target)) as sdk:
        stub.failure = status(failure, "why")
        for stream in (False, True):
            raised = await sdk.failure(stream=stream)
            assert expected is type(raised)
            assert cause is (None if raised.__cause__ is None else type(raised.__cause__))
            if cause is None:
                body: Any = raised.body
                assert "why" == body["message"]
            else:
                assert "why" == str(raised.__cause__)


@pytest.mark.parametrize(
    ("failure", "expected", "cause"),
    [
        pytest.param(
            status(StatusCode.UNAVAILABLE, "why"),
            openai.APIConnectionError,
            httpx2.RemoteProtocolError,
            id="unavailable",
        ),
        pytest.param(
            status(StatusCode.DEADLINE_EXCEEDED, "why"),
            openai.APITimeoutError,
            httpx2.ReadTimeout,
            id="deadline",
        ),
        pytest.param(
            status(StatusCode.DATA_LOSS, "why", OPENAI),
            openai.APIConnectionError,
            httpx2.RemoteProtocolError,
            id="broken",
        ),
        pytest.param(
            status(StatusCode.UNAVAILABLE, "why", OPENAI), openai.APIError, None, id="error"
        ),
    ],
)
async def test_statuses_in_the_middle_of_a_stream(
    is_async: bool, failure: grpc.Status, expected: Any, cause: Any
) -> None:
    async with served() as stub, Sdk(is_async, grpc_transport(is_async, stub.target)) as sdk:
        stub.failure, stub.after = failure, True
        chunks, raised = await sdk.stream()
    assert ([chunk("a")], expected) == (chunks, type(raised))
    assert raised is not None
    assert cause is (None if raised.__cause__ is None else type(raised.__cause__))


async def test_an_error_in_a_shape_that_the_sdk_would_not_see(is_async: bool) -> None:
    flat = {"message": "no", "code": 7}
    async with served() as stub, Sdk(is_async, grpc_transport(is_async, stub.target)) as sdk:
        stub.failure = status(StatusCode.INTERNAL, "no", from_dict(flat, ErrorResponse))
        stub.after = True
        chunks, raised = await sdk.stream()
    assert ([chunk("a")], flat) == (chunks, getattr(raised, "body", None))


async def test_metadata_become_headers(is_async: bool) -> None:
    def call(client: Any) -> Any:
        return client.chat.completions.with_raw_response.create(**PING)

    async with served() as stub, Sdk(is_async, grpc_transport(is_async, stub.target)) as sdk:
        stub.initial = (("x-request-id", "first"), ("content-encoding", "br"), ("x-a", "1"))
        stub.trailing = (("x-request-id", "last"), ("x-b", "2"), ("chatpb-http-status", "200"))
        headers = dict((await sdk.run(call)).headers)
    assert headers.pop("content-length")
    expected = {"x-request-id": "first", "x-a": "1", "x-b": "2", "content-type": "application/json"}
    assert expected == headers


async def test_the_upstreams_status_is_told_as_it_was(is_async: bool) -> None:
    async with served() as stub, Sdk(is_async, grpc_transport(is_async, stub.target)) as sdk:
        stub.failure = status(StatusCode.INVALID_ARGUMENT, "no", OPENAI)
        for told, expected in (
            ("422", 422),
            ("x", 400),
            ("200", 400),
            ("302", 400),
            ("999", 400),
        ):
            stub.trailing = (("chatpb-http-status", told),)
            failure: Any = await sdk.failure()
            assert expected == failure.status_code


async def test_messages_that_are_too_large_are_not_tried_again(is_async: bool) -> None:
    async with served(options=[("grpc.max_receive_message_length", 1000)]) as stub:
        async with Sdk(is_async, grpc_transport(is_async, stub.target), max_retries=2) as sdk:
            failure: Any = await sdk.failure(user="x" * 2000)
        assert 413 == failure.status_code
        options = [("grpc.max_send_message_length", 100)]
        transport = grpc_transport(is_async, stub.target, options=options)
        async with Sdk(is_async, transport, max_retries=2) as sdk:
            failure = await sdk.failure(user="x" * 200)
        assert 413 == failure.status_code
    assert [] == stub.requests


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\x05abc", b"\x0a\x02\x12\xff"])
@pytest.mark.parametrize("stream", [False, True], ids=["create", "stream"])
async def test_answers_that_cannot_be_read(is_async: bool, stream: bool, data: bytes) -> None:
    async with served() as stub, Sdk(is_async, grpc_transport(is_async, stub.target)) as sdk:
        stub.data = data
        raised = (await sdk.stream())[1] if stream else await sdk.failure()
        assert raised is not None
        assert openai.APIConnectionError is type(raised)
        assert httpx2.DecodingError is type(raised.__cause__)


async def test_a_server_that_comes_back(is_async: bool) -> None:
    async with served() as stub:
        target = stub.target
        sdk = await within(sdk_that_has_called(is_async, target))
    assert openai.APIConnectionError is type(await sdk.failure())
    async with sdk, served(port=int(target.rpartition(":")[2])):
        until = time.monotonic() + TIMEOUT
        while time.monotonic() < until:
            with suppress(openai.APIConnectionError):
                assert "pong" == (await sdk.create()).choices[0].message.content
                return
    raise AssertionError


async def sdk_that_has_called(is_async: bool, target: str) -> Sdk:
    """An SDK with a connection."""
    sdk = Sdk(is_async, grpc_transport(is_async, target))
    await sdk.create()
    return sdk


# Other paths.


OTHERS: list[Any] = [
    pytest.param(lambda client: client.models.list(), "GET", "/models", id="models"),
    pytest.param(
        lambda client: client.embeddings.create(model="m", input="a", encoding_format="float"),
        "POST",
        "/embeddings",
        id="embeddings",
    ),
    pytest.param(
        lambda client: client.chat.completions.list(limit=2),
        "GET",
        "/chat/completions?limit=2",
        id="stored",
    ),
    pytest.param(
        lambda client: client.chat.completions.update("a/b", metadata={}),
        "POST",
        "/chat/completions/a%2Fb",
        id="update",
    ),
]


@pytest.mark.parametrize(("call", "method", "path"), OTHERS)
async def test_other_paths(is_async: bool, call: Any, method: str, path: str) -> None:
    async with served() as stub, Sdk(is_async, grpc_transport(is_async, stub.target)) as sdk:
        with pytest.raises(openai.NotFoundError) as caught:
            await sdk.run(call)
    assert f"not {method} /v1{path.partition('?')[0].replace('%2F', '/')}" in caught.value.message
    assert "invalid_request_error" == caught.value.type
    assert [] == stub.requests


@pytest.mark.parametrize("how", ["url", "transport"])
@pytest.mark.parametrize(("call", "method", "path"), OTHERS)
async def test_other_paths_go_to_a_fallback(
    is_async: bool, call: Any, method: str, path: str, how: str
) -> None:
    async with HttpUpstream() as upstream, served() as stub:
        fallback: Any = upstream.url.replace("/v1", "/base/v1")
        options: dict[str, Any] = {}
        if how == "transport":
            fallback = httpx2.AsyncHTTPTransport() if is_async else httpx2.HTTPTransport()
            options = {"base_url": upstream.url.replace("/v1", "/base/v1")}
        transport = grpc_transport(is_async, stub.target, token="t", fallback=fallback)
        async with Sdk(is_async, transport, **options) as sdk:
            await upstream.answer(json_answer({"object": "list", "data": []}))
            await sdk.run(call)
            assert "pong" == (await sdk.create()).choices[0].message.content
    [request] = upstream.requests
    assert (method, "/base/v1" + path) == (request.method, request.path)
    assert "Bearer key" == request.headers["authorization"]
    assert upstream.url.split("/")[2] == request.headers["host"]


# Recorded traffic.


@pytest.mark.parametrize("recording", recordings.parameters(recordings.completions))
async def test_recorded_completions(recording: recordings.Recording) -> None:
    async with HttpUpstream() as upstream, relay(upstream.url) as address:
        await upstream.answer(recording.answer(), always=True)
        for is_async in (False, True):
            async with pair(is_async, upstream.url, address) as (direct, through):
                expected, actual = await direct.create(), await through.create()
            assert json.loads(recording.body) == value(actual)
            assert expected == actual


@pytest.mark.parametrize("recording", recordings.parameters(recordings.streams))
async def test_recorded_streams(recording: recordings.Recording) -> None:
    async with HttpUpstream() as upstream, relay(upstream.url) as address:
        await upstream.answer(recording.answer(), always=True)
        for is_async in (False, True):
            async with pair(is_async, upstream.url, address) as (direct, through):
                expected, expected_error = await direct.stream()
                actual, actual_error = await through.stream()
            assert expected == actual
            assert described(expected_error) == described(actual_error)


@pytest.mark.parametrize("recording", recordings.parameters(recordings.errors))
async def test_recorded_errors(recording: recordings.Recording) -> None:
    async with both(is_async=False) as (upstream, direct, through):
        answer = json_answer(recording.body, status=recording.status, headers=HEADERS)
        await upstream.answer(answer, always=True)
        expected, actual = described(await direct.failure()), described(await through.failure())
    # The text repeats the body as a dict, whose order may be another.
    assert {**expected, "message": ""} == {**actual, "message": ""}


# The module.


@pytest.mark.parametrize("name", ["grpc", "grpc_status", "httpx2"])
def test_the_extra_is_missing(name: str) -> None:
    code = f"import sys; sys.modules[{name!r}] = None; import chatpb.transport"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    expected = f"chatpb.transport needs {name}: pip install 'chatpb[transport]'"
    assert f"ModuleNotFoundError: {expected}" == done.stderr.splitlines()[-1]


def test_the_transport_needs_no_sdk() -> None:
    code = "import chatpb.transport, sys; assert 'openai' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_secrets_are_not_shown() -> None:
    with GrpcTransport("127.0.0.1:1", token="secret") as transport:
        assert "GrpcTransport('127.0.0.1:1')" == repr(transport)
