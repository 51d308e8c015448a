"""What is kept of contents for traces, how much of it, and what asks for it."""

# Assertions read `expected == actual`, also where what is expected is a literal.

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode
from opentelemetry.exporter.otlp.proto.common._internal import _encode_attributes
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from chatpb import from_dict, to_dict
from chatpb.v1.chat_completion_chunk_pb2 import ChatCompletionChunk
from chatpb.v1.chat_completion_pb2 import ChatCompletion
from chatpb_server.core.call import Call
from chatpb_server.core.upstream import RequestBody, UpstreamError
from chatpb_server.running.config import load_all
from chatpb_server.running.summary import summary
from chatpb_server.watching import details, messages
from chatpb_server.watching.contents import MOST_CALL, ContentRecorder
from chatpb_server.watching.details import Details
from chatpb_server.watching.genai import answer_attributes, request_attributes, request_binary
from chatpb_server.watching.messages import MOST_TEXT, input_messages, output_messages
from chatpb_server.watching.meters import MeterObserver
from chatpb_server.watching.resource import resource
from chatpb_server.watching.servers import Server
from chatpb_server.watching.spans import SpanObserver
from chatpb_server.watching.tracing import CAPTURE, TracingError, captured, meter_observer
from support.build import choice, chunk, completion, completion_request
from support.calls import STREAM, UNARY


def asked(*messages: Any) -> tuple[list[Any], bool]:
    """The messages of a request, as traces have them."""
    return input_messages(completion_request(messages=list(messages)).SerializeToString())


def parts(message: dict[str, Any]) -> list[Any]:
    [[found], _] = asked(message)
    return list(found["parts"])


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"role": "user", "content": "hi"}, [{"type": "text", "content": "hi"}]),
        ({"role": "user", "content": ""}, [{"type": "text", "content": ""}]),
        (
            {"role": "user", "content": [{"type": "file", "file": {"file_id": "f-1"}}]},
            [{"type": "file", "modality": "document", "file_id": "f-1"}],
        ),
        (
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                    {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                    {"type": "file", "file": {"file_data": "AAAA"}},
                ],
            },
            [
                {"type": "blob", "modality": "image", "content": "", "mime_type": "image/png"},
                {"type": "blob", "modality": "audio", "content": "", "mime_type": "audio/wav"},
                {"type": "blob", "modality": "document", "content": ""},
            ],
        ),
        (
            {"role": "assistant", "content": None, "refusal": "no"},
            [{"type": "refusal", "content": "no"}],
        ),
        (
            {"role": "assistant", "function_call": {"name": "f", "arguments": "{"}},
            [{"type": "tool_call", "name": "f", "arguments": "{"}],
        ),
        (
            {
                "role": "assistant",
                "tool_calls": [
                    {"id": "c", "type": "custom", "custom": {"name": "g", "input": "x"}}
                ],
            },
            [{"type": "tool_call", "name": "g", "id": "c", "arguments": "x"}],
        ),
    ],
)
def test_parts(message: dict[str, Any], expected: list[Any]) -> None:
    assert expected == parts(message)


def test_the_newest_messages_are_kept_in_order() -> None:
    half = MOST_TEXT // 2 + 1
    texts = ["a" * half, "b" * half, "c"]
    messages, is_cut = asked(*({"role": "user", "content": text} for text in texts))
    assert is_cut
    found = [message["parts"][0]["content"] for message in messages]
    assert ["a" * (MOST_TEXT - half - 1), "b" * half, "c"] == found
    assert ([], False) == asked()


def calling(**function: Any) -> dict[str, Any]:
    return {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", **function}]}


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": "a\ud800b"},
        {"role": "\ud800", "content": "a", "name": {"a": 1}},
        {"role": "tool", "content": "a", "tool_call_id": 5},
        {"role": "assistant", "content": 5, "refusal": {"a": 1}},
        {"role": "user", "content": [{"type": "file", "file": {"file_id": 5}}, {"type": {}}]},
        {
            "role": "user",
            "content": [{"type": "input_audio", "input_audio": {"format": "p" * 999}}],
        },
        {"role": "user", "tool_calls": "abc", "function_call": 5},
        {"role": "user", "tool_calls": ["abc", {"function": "abc"}]},
        *(
            calling(function={"name": "f", "arguments": arguments})
            for arguments in (
                '{"a": "\\ud800"}',
                "[NaN]",
                "[1e999]",
                "[9223372036854775808]",
                "[" * 200 + "]" * 200,
                "[" * 9999,
                {"a": 1},
                5,
            )
        ),
    ],
)
def test_hostile_messages(message: Any) -> None:
    """What OTLP cannot represent would be lost with all that is sent at the same time."""
    text = json.dumps({"model": "m", "messages": [message]}).encode()
    messages, _ = input_messages(request_binary(text, True))
    for value in (messages, json.dumps(messages, ensure_ascii=False, allow_nan=False)):
        attributes = _encode_attributes({"a": value})
        assert attributes
        assert len(attributes[0].SerializeToString()) < 1000 + len(text)


def test_many_empty_parts_and_choices_are_cut() -> None:
    [[found], is_cut] = asked({"role": "user", "content": [{"type": "text", "text": ""}] * 9999})
    assert (1024, True) == (len(found["parts"]), is_cut)
    answer = {"choices": [{"index": index} for index in range(9999)]}
    choices, is_cut = output_messages(from_dict(answer, ChatCompletion).SerializeToString(), ())
    assert (1024, True) == (len(choices), is_cut)


def test_what_would_take_long_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would hold up the calls that run."""
    sizes: list[int] = []

    def measured(message: Any) -> dict[str, Any]:
        sizes.append(message.ByteSize())
        return to_dict(message)

    monkeypatch.setattr(messages, "to_dict", measured)
    tool = {"id": "", "type": "function", "function": {"name": "f", "arguments": ""}}
    for message in (
        {"role": "user", "content": [{"type": "text", "text": ""}] * 99_999},
        {"role": "user", "tool_calls": [tool] * 9999},
        {"role": "user", "content": "a", "x": [0] * 99_999},
        {"role": "assistant", "content": "a", "reasoning_details": [{"a": [0] * 99_999}]},
        {"role": "user", "content": [{"type": "file", "file": {"file_data": "A" * 99_999}}]},
    ):
        [[found], is_cut] = asked(message)
        assert (message["role"], True) == (found["role"], is_cut)
    token = {"token": "a", "logprob": -1.0, "bytes": [97], "top_logprobs": []}
    answer = completion(choice("pong") | {"logprobs": {"content": [token] * 9999}})
    [[found], is_cut] = output_messages(from_dict(answer, ChatCompletion).SerializeToString(), ())
    assert ([{"type": "text", "content": "pong"}], False) == (found["parts"], is_cut)
    assert max(sizes) < 32_000


@pytest.mark.parametrize(
    ("url", "mime_type"),
    [("data:secret", None), ("data:,secret", None), ("data:image/png;base64,secret", "image/png")],
)
def test_data_of_images_are_never_sent(url: str, mime_type: str | None) -> None:
    part = {"type": "image_url", "image_url": {"url": url}}
    [found] = parts({"role": "user", "content": [part]})
    assert (mime_type, False) == (found.get("mime_type"), "secret" in str(found))


@pytest.mark.parametrize("name", ["\ud800", "a" * 199 + "\ud800"])
def test_a_model_that_otlp_cannot_represent(name: str) -> None:
    call = Call(UNARY, model=name, response_id=name)
    [span] = spans_of([call], ContentRecorder())
    assert encode_spans([span]).SerializeToString()


def test_hostile_bytes() -> None:
    for data in (b"\xff", b"\x12\x05abc", b"\x12\x02\xff\xff"):
        assert ([], True) == input_messages(data)
        assert {} == request_attributes(data)
        assert {} == answer_attributes((data,), is_stream=False)
    assert ([], True) == output_messages(b"\xff\xff", ())
    assert b"" == request_binary(b"{", True)


def test_attributes_of_a_choice_that_does_not_end() -> None:
    chunks = (chunk("a"), chunk("b", index=1), chunk(None, "stop"))
    ends = [from_dict(one, ChatCompletionChunk).SerializeToString() for one in chunks]
    expected = {"gen_ai.response.finish_reasons": ["stop", "error"]}
    assert expected == answer_attributes(ends, is_stream=True)


def test_parameters_are_cut() -> None:
    request = completion_request(stop=["x" * 1000] * 10).SerializeToString()
    [(name, stops)] = request_attributes(request).items()
    assert ("gen_ai.request.stop_sequences", ["x" * 200] * 4) == (name, stops)


async def test_what_is_held_is_bounded_and_given_back() -> None:
    recorder = ContentRecorder()
    call = Call(STREAM)
    recording = recorder.begin(call)
    recording.asked(b"x" * 1000)
    recording.came([b"y" * 500] * 2)
    assert 2000 == recorder.held
    recording.came([b"z" * MOST_CALL])
    recording.came([b"z"])  # none after a gap
    assert 2000 == recorder.held
    contents = recorder.take(call.id)
    assert contents is not None
    assert contents.is_cut
    await recording.end(StatusCode.OK, None)  # the span has it
    assert 2000 == recorder.held
    contents.forget()
    assert 0 == recorder.held
    other = recorder.begin(Call(UNARY))
    other.asked(b"x")
    await other.end(StatusCode.OK, None)
    assert 0 == recorder.held


@pytest.mark.parametrize("wish", ["metadata", "none"])
def test_a_caller_who_wishes_no_record_has_no_texts_in_traces(wish: Any) -> None:
    recorder = ContentRecorder()
    call = Call(UNARY, wish=wish)
    recorder.begin(call).asked(b"secret")
    assert (None, 0) == (recorder.take(call.id), recorder.held)
    [span] = spans_of([call], ContentRecorder(), stop=["secret"])
    assert "secret" not in str(span.attributes)
    [span] = spans_of([Call(UNARY)], ContentRecorder(), stop=["a"])
    assert ("a",) == (span.attributes or {})["gen_ai.request.stop_sequences"]


def spans_of(
    calls: Sequence[Call], recorder: ContentRecorder, **members: Any
) -> list[ReadableSpan]:
    """The spans of calls whose contents are recorded."""
    exporter = InMemorySpanExporter()
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    observer = SpanObserver(tracers, Details(recorder))
    data = from_dict(completion(choice("pong")), ChatCompletion).SerializeToString()
    for call in calls:
        request = completion_request(**members).SerializeToString()
        observer.began(call)
        recording = recorder.begin(call)
        recording.asked(request)
        observer.upstream_headers(call)
        recording.answered(data)
        call.body, call.ends = RequestBody(binary=request), (data,)
        observer.ended(call, StatusCode.OK, None)
    observer.close()
    return [span for span in exporter.get_finished_spans() if span.kind is SpanKind.CLIENT]


def test_what_cannot_be_read_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(details, "request_attributes", lambda _: dict[str, str]()["secret"])
    recorder = ContentRecorder()
    [span] = spans_of([Call(UNARY)], recorder)
    assert "gen_ai.operation.name" in (span.attributes or {})
    assert ["a span is not complete: a part of its call cannot be read"] == caplog.messages
    assert 0 == recorder.held


@pytest.mark.parametrize("bound", ["_MOST_PENDING", "_MOST_BYTES"])
def test_too_many_calls_at_once(bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their spans end without what would have to be read, and nothing is held."""
    recorder = ContentRecorder()
    [span] = spans_of([Call(UNARY)], recorder)
    found = dict(span.attributes or {})
    message = {"role": "user", "parts": [{"type": "text", "content": "ping"}]}
    assert [message] == json.loads(str(found["gen_ai.input.messages"]))
    assert ("stop",) == found["gen_ai.response.finish_reasons"]
    monkeypatch.setattr(details, bound, 0)
    [span] = spans_of([Call(UNARY)], recorder)
    assert "gen_ai.input.messages" not in (span.attributes or {})
    assert "gen_ai.response.finish_reasons" not in (span.attributes or {})
    assert 0 == recorder.held


@pytest.mark.parametrize(
    ("setting", "variable", "expected"),
    [
        (None, "", (False, False)),
        (None, "NO_CONTENT", (False, False)),
        (None, "true", (True, False)),
        (None, "span_only", (True, False)),
        (None, "EVENT_ONLY", (False, True)),
        (True, "", (True, False)),
        (True, "NO_CONTENT", (True, False)),
        (True, "SPAN_AND_EVENT", (True, True)),
        (False, "SPAN_AND_EVENT", (False, False)),
    ],
)
def test_what_asks_for_contents(
    setting: bool | None,
    variable: str,
    expected: tuple[bool, bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(CAPTURE, variable)
    assert expected == captured(setting)


def test_a_word_that_asks_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CAPTURE, "all")
    with pytest.raises(TracingError) as caught:
        captured(None)
    words = "NO_CONTENT, SPAN_ONLY, EVENT_ONLY, SPAN_AND_EVENT"
    assert f"expected {CAPTURE} to be one of {words}, got all" == str(caught.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://api.openai.com/v1", ("api.openai.com", 443, "openai")),
        ("https://a.openai.azure.com/openai", ("a.openai.azure.com", 443, "azure.ai.openai")),
        ("https://api.groq.com/openai/v1", ("api.groq.com", 443, "groq")),
        ("http://[::1]:8000/v1", ("::1", 8000, "openai")),
        ("grpc://core:50052", ("core", 50052, "openai")),
        ("builtin", None),
        ("recordings/chat.json", None),
    ],
)
def test_servers(url: str, expected: tuple[str, int, str] | None) -> None:
    assert expected == Server.of(url)


def test_metrics_of_a_call_that_fails() -> None:
    reader = InMemoryMetricReader()
    observer = MeterObserver(MeterProvider([reader], shutdown_on_exit=False))
    call = Call(UNARY, model="invented")
    observer.upstream_headers(call)
    observer.ended(call, StatusCode.RESOURCE_EXHAUSTED, UpstreamError(429, b"{}"))
    observer.ended(Call(UNARY), StatusCode.UNAUTHENTICATED, None)  # no upstream was asked
    files = Call("/openai.v1/files", passed="GET")
    observer.upstream_headers(files)
    observer.ended(files, StatusCode.OK, None)
    data = reader.get_metrics_data()
    assert data is not None
    [metric] = data.resource_metrics[0].scope_metrics[0].metrics
    [point] = metric.data.data_points
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "other",
        "error.type": "429",
    }
    assert expected == dict(point.attributes or {})


@pytest.mark.parametrize("kind", ["", "none"])
def test_metrics_that_nobody_asked_for(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", kind)
    assert meter_observer() is None


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({}, "as OpenTelemetry's variables say"),
        ({"enabled": True, "content": True}, "on; with the messages of calls"),
        ({"enabled": False, "content": True}, "off"),
    ],
)
def test_what_the_summary_says(table: dict[str, bool], expected: str, tmp_path: Path) -> None:
    """So that nobody sends messages by mistake."""
    file = tmp_path / "relay.toml"
    members = ", ".join(f"{name} = {str(value).lower()}" for name, value in table.items())
    file.write_text(f"tracing = {{ {members} }}")
    lines = summary(load_all({}, file, {})).splitlines()
    [line] = [line for line in lines if line.startswith("tracing")]
    assert expected == line.removeprefix("tracing").strip()


def test_workers_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_RESOURCE_ATTRIBUTES", raising=False)
    mine = resource().attributes["service.instance.id"]
    assert mine == resource().attributes["service.instance.id"]
    monkeypatch.setattr(os, "getpid", lambda: 1)
    assert mine != resource().attributes["service.instance.id"]
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=a")
    assert "a" == resource().attributes["service.instance.id"]
