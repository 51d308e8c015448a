"""Spans of calls, by OpenTelemetry's conventions for RPC, GenAI and HTTP.

Only `chatpb_server.watching.tracing` imports this: it needs OpenTelemetry.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from threading import Thread
from typing import Final

import grpc
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from chatpb_server.core.call import Call
from chatpb_server.watching.bounded import representable
from chatpb_server.watching.contents import ContentRecorder
from chatpb_server.watching.details import Details
from chatpb_server.watching.genai import MOST_LENGTH, error_type
from chatpb_server.watching.observers import SilentObserver
from chatpb_server.watching.resource import resource
from chatpb_server.watching.servers import DEFAULT_PROVIDER, Server

# The statuses that are the server's fault, by the conventions.
_SERVER_FAULTS: Final = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)


@dataclass(slots=True, eq=False)
class _Spans:
    """The spans of a call that runs.

    Attributes:
        rpc: The call, as its caller sees it.
        rpc_context: A context with that span.
        chat: What is asked of the upstreams; None before.
        chat_context: A context with that span.
        chat_started: When that span began, in seconds of `time.monotonic`.
        attempts: How many attempts are over.
    """

    rpc: Span
    rpc_context: Context
    chat: Span | None = None
    chat_context: Context | None = None
    chat_started: float = 0.0
    attempts: int = 0


class SpanObserver(SilentObserver):
    """Makes spans of calls. They hold no texts of errors, and messages only if that is asked for.

    A call is a SERVER span, named after the rpc; its parent is the span that the caller's metadata
    name by W3C's ``traceparent``. Its child is a CLIENT span ``chat MODEL``, from the time when the
    call is about to go to an upstream to its end; upstreams get this one as their parent. Below
    it is a CLIENT span ``POST`` for each attempt, up to the first byte of the answer. A call that
    is passed on as it is has spans of its attempts only, named after its method.

    Baggage is not passed on: it is not meant for others.

    Args:
        provider: Where the spans go.
        details: Adds what is read from requests and answers. None: that without messages.

    Attributes:
        servers: The upstreams, by their names.
    """

    def __init__(self, provider: TracerProvider, details: Details | None = None) -> None:
        self.servers: Mapping[str, Server | None] = {}
        self._details = details or Details()
        self._provider = provider
        self._tracer: Tracer = provider.get_tracer("chatpb_server", version("chatpb"))
        self._propagator = TraceContextTextMapPropagator()
        self._running: dict[str, _Spans] = {}

    @property
    def contents(self) -> ContentRecorder | None:
        """Records the messages of calls; None if they are not asked for."""
        return self._details.contents

    def began(self, call: Call) -> None:
        """Begins the span of the call, and names its trace."""
        method = call.method.removeprefix("/")
        span = self._tracer.start_span(
            method,
            # An empty context, not the current one: the caller's span, or none, is the parent.
            self._propagator.extract(call.metadata, Context()),
            SpanKind.SERVER,
            {
                "rpc.system.name": "http" if method.startswith("openai.") else "grpc",
                "rpc.method": method,
                "chatpb.call.id": call.id,
                **_texts({"chatpb.caller": call.caller}),
            },
        )
        self._running[call.id] = _Spans(span, set_span_in_context(span, Context()))
        context = span.get_span_context()
        if context.is_valid:
            call.trace_id = f"{context.trace_id:032x}"

    def upstream_headers(self, call: Call) -> Mapping[str, str]:
        """Begins the span of the upstream, unless there is one, and tells of it."""
        headers: dict[str, str] = {}
        if spans := self._running.get(call.id):
            self._propagator.inject(headers, self._context(call, spans, 0.0))
        return headers

    def attempted(self, call: Call, outcome: str, seconds: float) -> None:
        """Adds the span of an attempt."""
        spans = self._running.get(call.id)
        if spans is None:
            return
        context = self._context(call, spans, seconds)
        method = call.passed or "POST"
        attributes: dict[str, AttributeValue] = {
            "http.request.method": method,
            **_texts({"chatpb.upstream": call.upstream}),
        }
        if spans.attempts:
            attributes["http.request.resend_count"] = spans.attempts
        spans.attempts += 1
        failed = True
        if outcome.isdigit():
            attributes["http.response.status_code"] = int(outcome)
            failed = int(outcome) >= 400
        if failed:
            attributes["error.type"] = outcome
        end = time.time_ns()
        span = self._tracer.start_span(
            method,
            context,
            SpanKind.CLIENT,
            attributes,
            start_time=end - int(seconds * 1e9),
        )
        if failed:
            span.set_status(StatusCode.ERROR)
        span.end(end)

    def ended(self, call: Call, code: grpc.StatusCode, error: BaseException | None) -> None:
        """Ends the spans of the call."""
        spans = self._running.pop(call.id, None)
        if spans is None:
            return
        if spans.chat is not None:
            self._end_chat(call, spans, spans.chat, code, error)
        span = spans.rpc
        span.set_attribute("rpc.response.status_code", code.name)
        span.set_attributes(_texts({"chatpb.caller": call.caller}))
        if code is not grpc.StatusCode.OK:
            span.set_attribute("error.type", code.name)
        if code in _SERVER_FAULTS:
            span.set_status(StatusCode.ERROR)
        span.end()

    def close(self, seconds: float = 5.0) -> None:
        """Sends what is left, and blocks until then or until the time is up."""
        # The providers have no such limit, and try for long where no collector answers.
        thread = Thread(target=self._shut_down, daemon=True)
        thread.start()
        thread.join(seconds)

    def _shut_down(self) -> None:
        self._details.close()
        self._provider.shutdown()

    def _context(self, call: Call, spans: _Spans, seconds_ago: float) -> Context | None:
        """What attempts are below: the span of the upstream, if the call is a chat."""
        if call.passed:
            return spans.rpc_context
        self._begin_chat(call, spans, seconds_ago)
        return spans.chat_context

    def _begin_chat(self, call: Call, spans: _Spans, seconds_ago: float) -> None:
        if spans.chat is not None:
            return
        attributes: dict[str, AttributeValue] = {
            "gen_ai.operation.name": "chat",
            # What the upstream speaks, by the conventions, where one cannot know who it is.
            "gen_ai.provider.name": DEFAULT_PROVIDER,
            "openai.api.type": "chat_completions",
            **_texts({"gen_ai.request.model": call.model}),
        }
        if _streams(call):
            attributes["gen_ai.request.stream"] = True
        spans.chat = self._tracer.start_span(
            f"chat {_short(call.model)}".rstrip(),
            spans.rpc_context,
            SpanKind.CLIENT,
            attributes,
            start_time=time.time_ns() - int(seconds_ago * 1e9),
        )
        spans.chat_context = set_span_in_context(spans.chat, Context())
        spans.chat_started = time.monotonic() - seconds_ago

    def _end_chat(
        self,
        call: Call,
        spans: _Spans,
        span: Span,
        code: grpc.StatusCode,
        error: BaseException | None,
    ) -> None:
        texts = {
            "chatpb.upstream": call.upstream,
            "gen_ai.response.id": call.response_id,
            "gen_ai.response.model": call.response_model,
        }
        attributes = _texts(texts)
        if server := self.servers.get(call.upstream):
            attributes |= server.attributes
        for name, tokens in (("input", call.tokens_in), ("output", call.tokens_out)):
            if tokens is not None:
                attributes[f"gen_ai.usage.{name}_tokens"] = tokens
        if call.first_sent is not None and _streams(call):
            first = call.first_sent - spans.chat_started
            attributes["gen_ai.response.time_to_first_chunk"] = first
        if code is not grpc.StatusCode.OK:
            attributes["error.type"] = error_type(code, error)
            span.set_status(StatusCode.ERROR)
        span.set_attributes(attributes)
        self._details.end(span, call, is_stream=_streams(call))


def provider(exporter: SpanExporter) -> TracerProvider:
    """A provider of spans that sends them in the background, sampled as the variables specify."""
    # `close` ends it. At exit it would hold the process up where no collector answers.
    result = TracerProvider(resource=resource(), shutdown_on_exit=False)
    result.add_span_processor(BatchSpanProcessor(exporter))
    return result


def _streams(call: Call) -> bool:
    return call.is_stream or call.method.endswith("/StreamChatCompletion")


def _texts(texts: Mapping[str, str]) -> dict[str, AttributeValue]:
    """The attributes that are not empty, cut: callers and upstreams choose their length."""
    return {name: _short(text) for name, text in texts.items() if text}


def _short(text: str) -> str:
    return representable(text[:MOST_LENGTH])
