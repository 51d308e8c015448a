"""The relay: a real server and a real channel."""

# Assertions read `expected == actual`, also where what is expected is a literal.

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, cast

import pytest
from google.rpc import status_pb2
from grpc import StatusCode, aio
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

from chatpb import fold, to_dict
from chatpb._rpc.status import status_code
from chatpb.sse import DONE, Decoder, event
from chatpb.v1.chat_completion_service_pb2 import (
    CreateChatCompletionRequest,
    StreamChatCompletionRequest,
)
from chatpb.v1.chat_completion_service_pb2_grpc import ChatCompletionServiceStub
from chatpb.v1.error_pb2 import ErrorResponse
from chatpb_server.core.service import SERVICE_NAME
from chatpb_server.core.upstream import (
    RequestBody,
    Upstream,
    UpstreamAnswer,
    UpstreamError,
    UpstreamRequest,
    UpstreamStream,
)
from chatpb_server.running.serving import Options, serving
from chatpb_server.upstreams.builtin.upstream import BuiltinUpstream
from chatpb_server.upstreams.events import answer_of, chunks_of
from support.build import PING, chunk, create_request, stream_request
from support.limits import TIMEOUT, within


class Script:
    """An upstream that keeps what it is asked and answers, or raises, what it is given."""

    def __init__(self, *batches: Sequence[Any], error: Exception | None = None) -> None:
        self.requests: list[Any] = []
        self._batches = batches
        self._error = error

    async def create(self, request: UpstreamRequest) -> UpstreamAnswer:
        """The first text of the first batch."""
        self.requests.append(json.loads(await request.body.text()))
        if self._error:
            raise self._error
        return await answer_of(as_bytes(self._batches[0][0]))

    @asynccontextmanager
    async def stream(self, request: UpstreamRequest) -> AsyncIterator[UpstreamStream]:
        """The batches, and the end."""
        self.requests.append(json.loads(await request.body.text()))
        yield UpstreamStream(chunks_of(self._data()))

    async def _data(self) -> AsyncIterator[bytes]:
        for batch in self._batches:
            yield as_events(batch)
        if self._error:
            raise self._error
        yield event(DONE)

    async def close(self) -> None:
        """Does nothing."""


class Live:
    """An upstream that streams what is put into it; None is the end.

    Attributes:
        batches: What is to be sent.
        started: Set when a call has come.
        ended: Set when the call is over, for whatever reason.
        closed: Set when the upstream is closed.
    """

    def __init__(self) -> None:
        self.batches: asyncio.Queue[Sequence[Any] | None] = asyncio.Queue()
        self.started = asyncio.Event()
        self.ended = asyncio.Event()
        self.closed = asyncio.Event()

    async def create(self, request: UpstreamRequest) -> UpstreamAnswer:  # noqa: ARG002
        """All that is put into it, joined."""
        texts = [as_bytes(chunk) async for batch in self._batches() for chunk in batch]
        return await answer_of(b"".join(texts))

    @asynccontextmanager
    async def stream(self, request: UpstreamRequest) -> AsyncIterator[UpstreamStream]:  # noqa: ARG002
        """What is put into it, and the end."""
        async with aclosing(self._batches()) as batches:
            yield UpstreamStream(chunks_of(self._data(batches)))

    async def _data(self, batches: AsyncIterator[Sequence[Any]]) -> AsyncIterator[bytes]:
        async for batch in batches:
            yield as_events(batch)
        yield event(DONE)

    async def _batches(self) -> AsyncGenerator[Sequence[Any], None]:
        self.started.set()
        try:
            while (batch := await self.batches.get()) is not None:
                yield batch
        finally:
            self.ended.set()

    async def close(self) -> None:
        """Says so, and that no call is running any more."""
        assert self.started.is_set() == self.ended.is_set()
        self.closed.set()


def as_bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def as_events(batch: Sequence[Any]) -> bytes:
    return b"".join(event(as_bytes(chunk)) for chunk in batch)


@asynccontextmanager
async def connected(upstream: Upstream) -> AsyncIterator[aio.Channel]:
    """A channel to a relay with the upstream."""
    async with serving(upstream) as port, aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel


async def created(upstream: Upstream, request: CreateChatCompletionRequest) -> Any:
    """What a unary call answers."""
    async with connected(upstream) as channel:
        call = ChatCompletionServiceStub(channel).CreateChatCompletion(request, timeout=TIMEOUT)
        return to_dict((await call).completion)


async def streamed(upstream: Upstream, request: StreamChatCompletionRequest) -> list[Any]:
    """What a streaming call answers: for each message its chunks."""
    messages: list[Any] = []
    await streamed_into(messages, upstream, request)
    return messages


async def streamed_into(
    messages: list[Any], upstream: Upstream, request: StreamChatCompletionRequest
) -> None:
    """Appends what a streaming call answers, also where it fails at last."""
    async with connected(upstream) as channel:
        call = ChatCompletionServiceStub(channel).StreamChatCompletion(request, timeout=TIMEOUT)
        async for response in call:
            messages.append([to_dict(part) for part in response.chunks])  # noqa: PERF401 (it fails)


def read_error(error: aio.AioRpcError) -> Any:
    """OpenAI's error object in the details of a call's status."""
    trailers = dict(error.trailing_metadata())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    assert error.code().value[0] == status.code
    assert error.details() == status.message
    response = ErrorResponse()
    assert status.details[0].Unpack(response)
    return to_dict(response)


async def failed(upstream: Upstream, **members: Any) -> aio.AioRpcError:
    """How a unary call fails."""
    with pytest.raises(aio.AioRpcError) as caught:
        await created(upstream, create_request(**members))
    return caught.value


async def test_unary_is_what_the_upstream_said() -> None:
    request = json.dumps({**PING, "n": 2, "logprobs": True, "top_logprobs": 2}).encode()
    expected = await BuiltinUpstream(clock=lambda: 5).create(
        UpstreamRequest(RequestBody(text=request))
    )
    upstream = BuiltinUpstream(clock=lambda: 5)
    actual = await created(upstream, create_request(n=2, logprobs=True, top_logprobs=2))
    assert expected.text is not None
    assert json.loads(expected.text) == actual


async def test_stream_is_what_the_upstream_said() -> None:
    """Chunk by chunk; folded, the stream is the unary answer."""
    upstream = BuiltinUpstream(clock=lambda: 5)
    members = {"n": 2, "logprobs": True, "seed": 3}
    options = {"stream_options": {"include_usage": True}}
    body = json.dumps({**PING, **members, **options, "stream": True}).encode()
    async with upstream.stream(UpstreamRequest(RequestBody(text=body))) as stream:
        data = b"".join([arrived.text or b"" async for arrived in stream.chunks])
    *events, end = Decoder().feed(data)
    assert DONE == end.data
    expected = [[json.loads(part.data)] for part in events]
    actual = await streamed(upstream, stream_request(**members, **options))
    assert expected == actual
    async with connected(upstream) as channel:
        call = ChatCompletionServiceStub(channel).StreamChatCompletion(
            stream_request(**members, **options), timeout=TIMEOUT
        )
        folded = fold([part async for response in call for part in response.chunks])
    completion = await created(upstream, create_request(**members))
    for choice in completion["choices"]:
        assert [] == choice["message"].pop("annotations")  # chunks have none, and fold adds none
    assert completion == to_dict(folded)


async def test_vendor_fields_survive_both_ways() -> None:
    request = {
        "temperature": 1,
        "top_k": 40,
        "chat_template_kwargs": {"thinking": None, "budget": 1.50},
        "messages": [{"role": "critic", "content": [{"type": "video", "url": "x"}], "n": []}],
    }
    answer = {"id": 7, "choices": [{"index": 0, "finish_reason": "abort"}], "kv": {"a": None}}
    upstream = Script([answer])
    assert answer == await created(upstream, create_request(**request))
    assert [[answer]] == await streamed(upstream, stream_request(**request))
    assert [{**PING, **request}, {**PING, **request, "stream": True}] == upstream.requests


@pytest.mark.parametrize(
    ("given", "unary", "stream"),
    [
        pytest.param({}, {}, {"stream": True}, id="absent"),
        pytest.param({"stream": True}, {}, {"stream": True}, id="true"),
        pytest.param({"stream": False}, {"stream": False}, {"stream": True}, id="false"),
        pytest.param({"stream": None}, {"stream": None}, {"stream": True}, id="null"),
    ],
)
async def test_the_rpc_says_whether_to_stream(
    given: dict[str, Any], unary: dict[str, Any], stream: dict[str, Any]
) -> None:
    upstream = Script([{}])
    await created(upstream, create_request(**given))
    await streamed(upstream, stream_request(**given))
    assert [{**PING, **unary}, {**PING, **stream}] == upstream.requests


async def test_a_burst_is_one_message_and_a_lone_chunk_does_not_wait() -> None:
    upstream = Live()
    async with connected(upstream) as channel:
        call = ChatCompletionServiceStub(channel).StreamChatCompletion(
            stream_request(), timeout=TIMEOUT
        )
        for burst in ([chunk("a")], [chunk("b"), chunk("c"), chunk("d")], [chunk("e")]):
            upstream.batches.put_nowait(burst)
            response: Any = await call.read()
            assert burst == [to_dict(part) for part in response.chunks]
        upstream.batches.put_nowait([])  # says nothing, and sends nothing
        upstream.batches.put_nowait(None)
        assert aio.EOF == await call.read()
        assert StatusCode.OK == await call.code()


UNTIL: list[Any] = [
    pytest.param(lambda call: call.cancel(), StatusCode.CANCELLED, None, id="cancel"),
    pytest.param(lambda _: None, StatusCode.DEADLINE_EXCEEDED, 0.2, id="deadline"),
]


@pytest.mark.parametrize(("leave", "code", "timeout"), UNTIL)
async def test_the_upstream_ends_with_a_unary_call(
    leave: Callable[[Any], Any], code: StatusCode, timeout: float | None
) -> None:
    upstream = Live()
    async with connected(upstream) as channel:
        stub = ChatCompletionServiceStub(channel)
        call = stub.CreateChatCompletion(create_request(), timeout=timeout)
        await within(upstream.started.wait())
        leave(call)
        assert code == await call.code()
        await within(upstream.ended.wait())


@pytest.mark.parametrize(("leave", "code", "timeout"), UNTIL)
async def test_the_upstream_ends_with_a_streaming_call(
    leave: Callable[[Any], Any], code: StatusCode, timeout: float | None
) -> None:
    upstream = Live()
    async with connected(upstream) as channel:
        stub = ChatCompletionServiceStub(channel)
        call = stub.StreamChatCompletion(stream_request(), timeout=timeout)
        upstream.batches.put_nowait([chunk("a")])
        assert aio.EOF != await call.read()
        leave(call)
        assert code == await call.code()
        await within(upstream.ended.wait())


async def test_the_upstream_ends_while_the_caller_does_not_read() -> None:
    """The call waits to write; the upstream's generator is closed all the same."""
    upstream = Live()
    big = chunk("x" * 1_000_000)
    for _ in range(20):
        upstream.batches.put_nowait([big])
    async with connected(upstream) as channel:
        call = ChatCompletionServiceStub(channel).StreamChatCompletion(stream_request())
        await call.read()
        assert not upstream.batches.empty()
        call.cancel()
        await within(upstream.ended.wait())
        assert not upstream.batches.empty()


REFUSED = {
    "error": {
        "message": "Rate limit reached, café",
        "type": "requests",
        "param": None,
        "code": "rate_limit_exceeded",
        "retry_hint": {"seconds": 1.5},
    }
}


async def test_an_error_carries_openais_object() -> None:
    error = UpstreamError(429, json.dumps(REFUSED).encode())
    failure = await failed(Script(error=error))
    assert StatusCode.RESOURCE_EXHAUSTED == failure.code()
    assert "Rate limit reached, café" == failure.details()
    assert REFUSED == read_error(failure)


async def test_an_error_on_the_way_follows_what_was_said() -> None:
    error = UpstreamError(503, json.dumps(REFUSED).encode())
    messages: list[Any] = []
    with pytest.raises(aio.AioRpcError) as caught:
        await streamed_into(messages, Script([chunk("a")], error=error), stream_request())
    assert [[chunk("a")]] == messages
    assert StatusCode.UNAVAILABLE == caught.value.code()
    assert REFUSED == read_error(caught.value)


@pytest.mark.parametrize(
    ("http_status", "code"),
    [
        (400, StatusCode.INVALID_ARGUMENT),
        (401, StatusCode.UNAUTHENTICATED),
        (403, StatusCode.PERMISSION_DENIED),
        (404, StatusCode.NOT_FOUND),
        (408, StatusCode.DEADLINE_EXCEEDED),
        (409, StatusCode.ABORTED),
        (413, StatusCode.INVALID_ARGUMENT),
        (418, StatusCode.FAILED_PRECONDITION),
        (422, StatusCode.INVALID_ARGUMENT),
        (429, StatusCode.RESOURCE_EXHAUSTED),
        (499, StatusCode.CANCELLED),
        (500, StatusCode.INTERNAL),
        (501, StatusCode.UNIMPLEMENTED),
        (502, StatusCode.UNAVAILABLE),
        (503, StatusCode.UNAVAILABLE),
        (504, StatusCode.DEADLINE_EXCEEDED),
        (599, StatusCode.INTERNAL),
        (302, StatusCode.UNKNOWN),
    ],
)
def test_status_codes(http_status: int, code: StatusCode) -> None:
    assert code == status_code(http_status)


@pytest.mark.parametrize(
    ("body", "details", "expected"),
    [
        pytest.param(
            b"<html>Bad gateway</html>",
            "the upstream answered with HTTP status 502",
            {
                "error": {
                    "message": "the upstream answered with HTTP status 502",
                    "type": "server_error",
                    "param": None,
                    "code": None,
                }
            },
            id="html",
        ),
        pytest.param(
            b'{"error": "model is loading"}',
            "the upstream answered with HTTP status 502",
            {"error": "model is loading"},
            id="string",
        ),
        pytest.param(
            b'{"object": "error", "message": "no", "code": 502}',
            "the upstream answered with HTTP status 502",
            {"object": "error", "message": "no", "code": 502},
            id="flat",
        ),
    ],
)
async def test_errors_of_other_shapes(body: bytes, details: str, expected: Any) -> None:
    failure = await failed(Script(error=UpstreamError(502, body)))
    assert StatusCode.UNAVAILABLE == failure.code()
    assert details == failure.details()
    assert expected == read_error(failure)


async def test_a_long_error_is_cut_to_fit_the_trailers() -> None:
    """Beyond a few KiB of trailers, clients see nothing but that the trailers are too long."""
    error = {"message": "é" * 100_000, "type": "invalid_request_error", "param": "p" * 9000}
    body = json.dumps({"error": {**error, "code": "too_long"}}).encode()
    failure = await failed(Script(error=UpstreamError(400, body)))
    assert StatusCode.INVALID_ARGUMENT == failure.code()
    detail = read_error(failure)["error"]
    assert ("invalid_request_error", "too_long") == (detail["type"], detail["code"])
    assert detail["message"] == failure.details()
    assert detail["message"] == "é" * 498 + "…"
    assert detail["param"].startswith("ppp")


async def test_a_request_without_a_json_form_is_refused() -> None:
    request = create_request(temperature=float(1))
    request.request.temperature = float("nan")
    request.request.messages[0].residue.extra_json = "}"
    upstream = Script([{}])
    with pytest.raises(aio.AioRpcError) as caught:
        await created(upstream, request)
    assert StatusCode.INVALID_ARGUMENT == caught.value.code()
    error = read_error(caught.value)["error"]
    assert ("invalid_request_error", "messages[0]") == (error["type"], error["param"])
    assert "$.messages[0]: extra_json" in error["message"]
    assert [] == upstream.requests


async def test_a_field_of_a_newer_schema_is_refused_not_dropped() -> None:
    request = create_request()
    request.request.MergeFromString(b"\xfa\x3e\x01x")
    with pytest.raises(aio.AioRpcError) as caught:
        await created(Script([{}]), request)
    assert StatusCode.INVALID_ARGUMENT == caught.value.code()
    assert "field 1007" in (caught.value.details() or "")


def incident(failure: aio.AioRpcError, text: str, log: pytest.LogCaptureFixture) -> None:
    """Checks a fixed text, and that the log has the failure under the id that stands in it."""
    details = failure.details() or ""
    assert details.startswith(text)
    fields: Any = vars(log.records[-1])["fields"]
    assert details.rpartition(" ")[2] == fields["id"]
    assert log.records[-1].exc_info is not None
    expected = {"message": details, "type": "server_error", "param": None, "code": None}
    assert {"error": expected} == read_error(failure)


async def test_no_text_of_an_unknown_error_gets_out(caplog: pytest.LogCaptureFixture) -> None:
    failure = await failed(Script(error=KeyError("secret-path")))
    assert StatusCode.INTERNAL == failure.code()
    incident(failure, "The relay failed", caplog)
    assert "secret" not in str(failure)
    assert "secret-path" in caplog.text


async def test_nor_on_the_way(caplog: pytest.LogCaptureFixture) -> None:
    messages: list[Any] = []
    upstream = Script([chunk("a")], error=KeyError("secret-path"))
    with pytest.raises(aio.AioRpcError) as caught:
        await streamed_into(messages, upstream, stream_request())
    assert [[chunk("a")]] == messages
    assert StatusCode.INTERNAL == caught.value.code()
    incident(caught.value, "The relay failed", caplog)
    assert "secret" not in str(caught.value)


async def test_an_unreadable_completion_is_the_upstreams_fault(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failure = await failed(Script([b'{"id": "secret']))
    assert StatusCode.DATA_LOSS == failure.code()
    incident(failure, "The upstream's answer could not be read", caplog)
    assert "secret" not in str(failure)


async def test_the_chunks_before_an_unreadable_one_are_sent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    messages: list[Any] = []
    upstream = Script([chunk("a"), b"[]", chunk("b")])
    with pytest.raises(aio.AioRpcError) as caught:
        await streamed_into(messages, upstream, stream_request())
    assert [[chunk("a")]] == messages
    assert StatusCode.DATA_LOSS == caught.value.code()
    incident(caught.value, "The upstream's answer could not be read", caplog)


async def test_openais_refusal_by_the_builtin_upstream() -> None:
    failure = await failed(BuiltinUpstream(), temperature=9)
    assert StatusCode.INVALID_ARGUMENT == failure.code()
    error = read_error(failure)["error"]
    assert ("temperature", "decimal_above_max_value") == (error["param"], error["code"])
    assert error["message"] == failure.details()


async def test_an_empty_request_is_refused() -> None:
    with pytest.raises(aio.AioRpcError) as caught:
        await created(BuiltinUpstream(), CreateChatCompletionRequest())
    assert "you must provide a model parameter" == caught.value.details()


async def test_messages_may_be_large() -> None:
    """More than gRPC's own limit of 4 MiB, to the relay; the caller sets its own limit."""
    content = "x" * 5_000_000
    upstream = Script([{}])
    request = create_request(messages=[{"role": "user", "content": content}])
    await created(upstream, request)
    assert content == upstream.requests[0]["messages"][0]["content"]


@pytest.mark.parametrize("service", ["", SERVICE_NAME])
async def test_health(service: str) -> None:
    assert SERVICE_NAME == "chatpb.v1.ChatCompletionService"
    async with connected(BuiltinUpstream()) as channel:
        stub: Any = HealthStub(channel)
        answer = await stub.Check(HealthCheckRequest(service=service), timeout=TIMEOUT)
    assert HealthCheckResponse.SERVING == answer.status


async def test_health_of_an_unknown_service() -> None:
    """The status that health chooses passes the interceptor."""
    async with connected(BuiltinUpstream()) as channel:
        stub: Any = HealthStub(channel)
        with pytest.raises(aio.AioRpcError) as caught:
            await stub.Check(HealthCheckRequest(service="x"), timeout=TIMEOUT)
    assert StatusCode.NOT_FOUND == caught.value.code()


async def test_reflection() -> None:
    async with connected(BuiltinUpstream()) as channel:
        stub: Any = ServerReflectionStub(cast("Any", channel))
        call = stub.ServerReflectionInfo(
            [
                ServerReflectionRequest(list_services=""),
                ServerReflectionRequest(file_containing_symbol=SERVICE_NAME),
            ],
            timeout=TIMEOUT,
        )
        listed, described = [answer async for answer in call]
    names = {service.name for service in listed.list_services_response.service}
    assert {SERVICE_NAME, "grpc.health.v1.Health"} <= names
    assert described.file_descriptor_response.file_descriptor_proto


@asynccontextmanager
async def draining(upstream: Live, grace: float) -> AsyncIterator[tuple[asyncio.Task[None], Any]]:
    """A relay that has one streaming call and drains: the task that serves, and the call."""
    stop = asyncio.Event()
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def serve() -> None:
        async with serving(upstream, options=Options(grace=grace)) as port:
            ready.set_result(port)
            await stop.wait()

    server = asyncio.create_task(serve())
    async with aio.insecure_channel(f"127.0.0.1:{await within(ready)}") as channel:
        call = ChatCompletionServiceStub(channel).StreamChatCompletion(
            stream_request(), timeout=TIMEOUT
        )
        health: Any = HealthStub(channel)
        watch = health.Watch(HealthCheckRequest(service=SERVICE_NAME), timeout=TIMEOUT)
        assert HealthCheckResponse.SERVING == (await watch.read()).status
        await within(upstream.started.wait())
        stop.set()
        assert HealthCheckResponse.NOT_SERVING == (await watch.read()).status
        watch.cancel()
        yield server, call
    with suppress(asyncio.CancelledError):
        await within(server)


async def test_running_calls_finish_while_the_relay_drains() -> None:
    upstream = Live()
    async with draining(upstream, grace=TIMEOUT) as (server, call):
        upstream.batches.put_nowait([chunk("a")])
        upstream.batches.put_nowait(None)
        assert [1] == [len(response.chunks) async for response in call]
        assert StatusCode.OK == await call.code()
        await within(server)
    assert upstream.closed.is_set()


async def test_calls_that_outlast_the_grace_period_are_told() -> None:
    upstream = Live()
    async with draining(upstream, grace=0.1) as (server, call):
        assert StatusCode.UNAVAILABLE == await call.code()
        assert "The relay is stopping; call again." == await call.details()
        await within(server)
    assert upstream.ended.is_set()


async def test_a_relay_that_drains_can_be_stopped_at_once() -> None:
    upstream = Live()
    async with draining(upstream, grace=TIMEOUT) as (server, call):
        server.cancel()
        assert await call.code() in (StatusCode.CANCELLED, StatusCode.UNAVAILABLE)
        await within(upstream.ended.wait())
    assert server.cancelled()
    assert upstream.closed.is_set()
