"""Traces: the spans of a call, with the real SDK and an exporter in memory."""

# Assertions read `expected == actual`, also where what is expected is a literal.

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from threading import Event
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind
from opentelemetry.trace import StatusCode as SpanStatus

from chatpb_server.core.call import Call
from chatpb_server.core.upstream import UpstreamError
from chatpb_server.watching.spans import SpanObserver, provider
from chatpb_server.watching.tracing import TracingError, tracer_observer
from support.calls import STREAM, UNARY
from support.limits import TIMEOUT

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


class Spans:
    """What an observer makes.

    Attributes:
        observer: The observer.
    """

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        tracers = TracerProvider(shutdown_on_exit=False)
        tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.observer = SpanObserver(tracers)

    def finished(self) -> tuple[ReadableSpan, ...]:
        """The spans that have ended, in the order of their ends."""
        return self._exporter.get_finished_spans()


def span_id(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.span_id:016x}"


def trace_id(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.trace_id:032x}"


def parent_id(span: ReadableSpan) -> str | None:
    return None if span.parent is None else f"{span.parent.span_id:016x}"


def attributes(span: ReadableSpan, **expected: Any) -> dict[str, Any]:
    """The attributes, without those that differ from run to run."""
    found = dict(span.attributes or {})
    for name in ("chatpb.call.id", "gen_ai.response.time_to_first_chunk"):
        found.pop(name, None)
    return found | expected


def test_a_stream() -> None:
    spans = Spans()
    observer = spans.observer
    call = Call(STREAM, {"traceparent": f"00-{TRACE}-{PARENT}-01", "baggage": "a=secret"})
    observer.began(call)
    assert TRACE == call.trace_id
    call.caller, call.model, call.upstream = "alice", "m", "vllm"
    headers = observer.upstream_headers(call)
    observer.attempted(call, "503", 0.5)
    assert headers == observer.upstream_headers(call)
    observer.attempted(call, "timeout", 0.25)
    observer.attempted(call, "200", 1.5)
    call.first_sent = time.monotonic()
    observer.sent(call, 1, 2.0)
    call.response_id, call.response_model = "chatcmpl-1", "m-2026"
    call.tokens_in, call.tokens_out = 10, 0
    observer.ended(call, grpc.StatusCode.OK, None)

    first, second, third, chat, rpc = spans.finished()
    assert "chatpb.v1.ChatCompletionService/StreamChatCompletion" == rpc.name
    assert SpanKind.SERVER == rpc.kind
    assert PARENT == parent_id(rpc)
    assert SpanStatus.UNSET == rpc.status.status_code
    expected: dict[str, Any] = {
        "rpc.system.name": "grpc",
        "rpc.method": "chatpb.v1.ChatCompletionService/StreamChatCompletion",
        "rpc.response.status_code": "OK",
        "chatpb.caller": "alice",
    }
    assert expected == attributes(rpc)
    assert call.id == (rpc.attributes or {})["chatpb.call.id"]

    assert "chat m" == chat.name
    assert SpanKind.CLIENT == chat.kind
    assert span_id(rpc) == parent_id(chat)
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "openai.api.type": "chat_completions",
        "gen_ai.request.model": "m",
        "gen_ai.request.stream": True,
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.model": "m-2026",
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 0,
        "chatpb.upstream": "vllm",
    }
    assert expected == attributes(chat)
    first_chunk = (chat.attributes or {})["gen_ai.response.time_to_first_chunk"]
    assert isinstance(first_chunk, float)
    assert 0 <= first_chunk < TIMEOUT
    assert {"traceparent": f"00-{TRACE}-{span_id(chat)}-01"} == headers

    attempts = (first, second, third)
    assert [span_id(chat)] * 3 == [parent_id(span) for span in attempts]
    assert [("POST", SpanKind.CLIENT)] * 3 == [(span.name, span.kind) for span in attempts]
    common = {"http.request.method": "POST", "chatpb.upstream": "vllm"}
    assert [
        {**common, "http.response.status_code": 503, "error.type": "503"},
        {**common, "http.request.resend_count": 1, "error.type": "timeout"},
        {**common, "http.request.resend_count": 2, "http.response.status_code": 200},
    ] == [attributes(span) for span in attempts]
    assert [SpanStatus.ERROR, SpanStatus.ERROR, SpanStatus.UNSET] == [
        span.status.status_code for span in attempts
    ]
    durations = [(span.end_time or 0) - (span.start_time or 0) for span in attempts]
    assert [500_000_000, 250_000_000, 1_500_000_000] == durations
    assert {TRACE} == {trace_id(span) for span in spans.finished()}


@pytest.mark.parametrize(
    ("code", "error", "kind", "chat_kind", "status"),
    [
        pytest.param(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            UpstreamError(429, b"secret"),
            *("RESOURCE_EXHAUSTED", "429", SpanStatus.UNSET),
            id="the caller's",
        ),
        pytest.param(
            grpc.StatusCode.INTERNAL,
            UpstreamError(200, b"secret"),
            *("INTERNAL", "INTERNAL", SpanStatus.ERROR),
            id="in a stream",
        ),
        pytest.param(
            grpc.StatusCode.INTERNAL,
            KeyError("secret"),
            *("INTERNAL", "INTERNAL", SpanStatus.ERROR),
            id="ours",
        ),
    ],
)
def test_failures(
    code: grpc.StatusCode, error: Exception, kind: str, chat_kind: str, status: SpanStatus
) -> None:
    spans = Spans()
    call = Call(UNARY, {"authorization": "Bearer secret"}, model="m")
    spans.observer.began(call)
    spans.observer.upstream_headers(call)
    spans.observer.ended(call, code, error)
    chat, rpc = spans.finished()
    assert kind == attributes(rpc)["error.type"]
    assert code.name == attributes(rpc)["rpc.response.status_code"]
    assert status == rpc.status.status_code
    assert chat_kind == attributes(chat)["error.type"]
    assert SpanStatus.ERROR == chat.status.status_code
    for span in (chat, rpc):
        assert "secret" not in span.to_json()
        assert () == span.events


def test_a_call_that_never_gets_to_an_upstream() -> None:
    spans = Spans()
    call = Call(UNARY, {"traceparent": "nonsense"}, model="m")
    spans.observer.began(call)
    spans.observer.ended(call, grpc.StatusCode.INVALID_ARGUMENT, None)
    [rpc] = spans.finished()
    assert parent_id(rpc) is None
    assert trace_id(rpc) == call.trace_id
    assert SpanStatus.UNSET == rpc.status.status_code


def test_an_upstream_without_headers() -> None:
    spans = Spans()
    call = Call(UNARY)
    spans.observer.began(call)
    spans.observer.attempted(call, "200", 0.5)
    spans.observer.ended(call, grpc.StatusCode.OK, None)
    post, chat, rpc = spans.finished()
    assert "chat" == chat.name
    assert [span_id(chat), span_id(rpc), None] == [parent_id(span) for span in (post, chat, rpc)]
    assert "gen_ai.request.stream" not in attributes(chat)


def test_calls_that_are_not_watched() -> None:
    spans = Spans()
    call = Call(UNARY)
    assert {} == spans.observer.upstream_headers(call)
    spans.observer.attempted(call, "200", 0.5)
    spans.observer.ended(call, grpc.StatusCode.OK, None)
    assert () == spans.finished()


def test_long_names_are_cut() -> None:
    spans = Spans()
    call = Call(UNARY, model="m" * 1000, response_id="i" * 1000)
    spans.observer.began(call)
    spans.observer.upstream_headers(call)
    spans.observer.ended(call, grpc.StatusCode.OK, None)
    chat = spans.finished()[0]
    assert "chat " + "m" * 200 == chat.name
    assert "m" * 200 == attributes(chat)["gen_ai.request.model"]
    assert "i" * 200 == attributes(chat)["gen_ai.response.id"]


def test_what_is_not_sampled_is_passed_on() -> None:
    observer = SpanObserver(TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False))
    call = Call(UNARY, {"traceparent": f"00-{TRACE}-{PARENT}-00", "tracestate": "v=1"})
    observer.began(call)
    headers = observer.upstream_headers(call)
    observer.ended(call, grpc.StatusCode.OK, None)
    assert TRACE == call.trace_id
    version, trace, _, flags = headers["traceparent"].split("-")
    assert ("00", TRACE, "00", "v=1") == (version, trace, flags, headers["tracestate"])


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of OpenTelemetry's variables is set."""
    for name in (
        "OTEL_SDK_DISABLED",
        "OTEL_SERVICE_NAME",
        "OTEL_RESOURCE_ATTRIBUTES",
        "OTEL_TRACES_EXPORTER",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    ):
        monkeypatch.delenv(name, raising=False)


ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_SERVICE_NAME": "relay"},
        {**ENDPOINT, "OTEL_SDK_DISABLED": "True"},
        {**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_traces_that_nobody_asked_for(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    assert tracer_observer() is None


@pytest.mark.parametrize(
    ("variables", "absent", "expected"),
    [
        pytest.param(
            {"OTEL_TRACES_EXPORTER": "zipkin"},
            "",
            "expected OTEL_TRACES_EXPORTER to be otlp, console or none, got zipkin",
            id="exporter",
        ),
        pytest.param(
            {**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
            "",
            "expected OTEL_EXPORTER_OTLP_PROTOCOL to be grpc or http/protobuf, got http/json",
            id="protocol",
        ),
        pytest.param(
            {**ENDPOINT, "OTEL_EXPORTER_OTLP_TIMEOUT": "secret"},
            "",
            "cannot read OpenTelemetry's environment variables: ValueError",
            id="timeout",
        ),
        pytest.param(
            ENDPOINT,
            "opentelemetry.exporter.otlp.proto.grpc.trace_exporter",
            "traces need opentelemetry.exporter.otlp.proto.grpc.trace_exporter: "
            "pip install 'chatpb[otel]'",
            id="without the exporter",
        ),
        pytest.param(
            {**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
            "opentelemetry.exporter.otlp.proto.http.trace_exporter",
            "traces need opentelemetry.exporter.otlp.proto.http.trace_exporter: "
            "pip install opentelemetry-exporter-otlp-proto-http",
            id="without the exporter over HTTP",
        ),
        pytest.param(
            {"OTEL_TRACES_EXPORTER": "console"},
            "opentelemetry.sdk.trace",
            "traces need opentelemetry.sdk.trace: pip install 'chatpb[otel]'",
            id="without the SDK",
        ),
    ],
)
def test_traces_that_cannot_be(
    variables: dict[str, str], absent: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    if absent:
        monkeypatch.delitem(sys.modules, "chatpb_server.watching.spans")
        monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(TracingError) as caught:
        tracer_observer()
    assert expected == str(caught.value)


class Collector(TraceServiceServicer):
    """A collector.

    Attributes:
        requests: What it was sent.
    """

    def __init__(self) -> None:
        self.requests: SimpleQueue[ExportTraceServiceRequest] = SimpleQueue()

    def Export(  # noqa: N802 (the name of the rpc)
        self, request: ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> ExportTraceServiceResponse:
        """Keeps what it is sent."""
        del context
        self.requests.put(request)
        return ExportTraceServiceResponse()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector that the environment names."""
    server = grpc.server(ThreadPoolExecutor(1))
    servicer = Collector()
    add_TraceServiceServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    yield servicer
    server.stop(None).wait()


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, "chatpb-server"),
        ({"OTEL_SERVICE_NAME": "relay"}, "relay"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "a=b,service.name=relay"}, "relay"),
    ],
)
def test_a_collector_gets_the_spans(
    variables: dict[str, str],
    name: str,
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variable, text in variables.items():
        monkeypatch.setenv(variable, text)
    observer = tracer_observer()
    assert observer is not None
    call = Call(UNARY, model="m")
    observer.began(call)
    observer.upstream_headers(call)
    observer.ended(call, grpc.StatusCode.OK, None)
    observer.close(TIMEOUT)
    [resource_spans] = collector.requests.get(timeout=TIMEOUT).resource_spans
    resource = {item.key: item.value.string_value for item in resource_spans.resource.attributes}
    assert name == resource["service.name"]
    [scope] = resource_spans.scope_spans
    expected = ["chat m", "chatpb.v1.ChatCompletionService/CreateChatCompletion"]
    assert expected == [span.name for span in scope.spans]


class Stuck(SpanExporter):
    """An exporter that does not come to an end before it is told to.

    Attributes:
        began: Set when it has begun.
        may_end: To be set when it may end.
        ended: Set when it is at its end.
    """

    def __init__(self) -> None:
        self.began, self.may_end, self.ended = Event(), Event(), Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002
        """Waits."""
        self.began.set()
        self.may_end.wait(TIMEOUT)
        self.ended.set()
        return SpanExportResult.SUCCESS


def test_closing_does_not_wait_for_ever() -> None:
    exporter = Stuck()
    observer = SpanObserver(provider(exporter))
    call = Call(UNARY)
    observer.began(call)
    observer.ended(call, grpc.StatusCode.OK, None)
    observer.close(0.01)
    assert exporter.began.wait(TIMEOUT)
    assert not exporter.ended.is_set()
    exporter.may_end.set()
    assert exporter.ended.wait(TIMEOUT)
