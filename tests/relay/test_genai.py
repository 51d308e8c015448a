"""Traces, metrics and events by OpenTelemetry's conventions for GenAI, as a collector gets them."""

# Assertions read `expected == actual`, also where what is expected is a literal.

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes, openai_attributes
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
from opentelemetry.semconv.attributes import error_attributes, server_attributes

from chatpb_server.watching.tracing import CAPTURE
from support.build import choice, chunk, chunk_of, completion
from support.collector import Collector, attributes, collecting, environ
from support.http_upstream import HttpUpstream, json_answer, sse_answer
from support.limits import TIMEOUT, within
from support.relay_process import end, listening, start

SECRET: Final = "the secret of the prompt"
ANSWER: Final = "the secret of the answer"
USAGE: Final = {
    "prompt_tokens": 20,
    "completion_tokens": 10,
    "total_tokens": 30,
    "prompt_tokens_details": {"cached_tokens": 16},
    "completion_tokens_details": {"reasoning_tokens": 7},
}
PARAMETERS: Final[dict[str, Any]] = {
    "temperature": 0.5,
    "top_p": 1,
    "max_completion_tokens": 100,
    "frequency_penalty": 0.25,
    "presence_penalty": -0.25,
    "seed": 7,
    "n": 2,
    "stop": ["END"],
    "service_tier": "auto",
    "reasoning_effort": "low",
    "response_format": {"type": "json_object"},
}
#: In the conventions' own repository, but not yet in the package of names.
NEWER: Final = {"gen_ai.request.reasoning.level"}
CALL: Final = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "f", "arguments": '{"a":1}'},
}
MESSAGES: Final = [
    {"role": "system", "content": "be brief"},
    {
        "role": "user",
        "name": "bob",
        "content": [
            {"type": "text", "text": SECRET},
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        ],
    },
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "rainy"},
]
BODY: Final = {"model": "m", "messages": MESSAGES, **PARAMETERS}


def answers() -> tuple[Any, Any]:
    """A completion and a stream."""
    whole = completion(
        choice(ANSWER, reasoning_content="so"),
        choice(None, 1, tool_calls=[CALL]),
        usage=USAGE,
        service_tier="default",
        system_fingerprint="fp_1",
    )
    usage = chunk_of(usage=USAGE, service_tier="default")
    return json_answer(whole), sse_answer(chunk(ANSWER), chunk(None, "length"), usage)


async def collected(collector: Collector, *arguments: str, **variables: str) -> Any:
    """What a relay sends of a completion and a stream; the address of its upstream."""
    whole, stream = answers()
    async with HttpUpstream() as upstream:
        await upstream.answer(whole)
        await upstream.answer(stream)
        process = await start(
            *("--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--log-level", "error"),
            *("--upstream", upstream.url, *arguments),
            environ=environ(collector, **variables),
        )
        try:
            await listening(process)
            assert process.stdout is not None
            line = (await within(process.stdout.readline())).decode()
            url = f"{line.removeprefix('http on ').strip()}/chat/completions"
            async with aiohttp.ClientSession() as session:
                for more in ({}, {"stream": True}):
                    async with session.post(url, json={**BODY, **more}) as answer:
                        assert 200 == answer.status
                        assert ANSWER in (await answer.text())
            process.terminate()
            assert 0 == await within(process.wait())
        finally:
            await end(process)
        return urlsplit(upstream.url)


def chats(collector: Collector) -> list[dict[str, Any]]:
    """The attributes of the spans of the completion and of the stream."""
    found = [attributes(span) for span in collector.spans() if span.name == "chat m"]
    return sorted(found, key=lambda span: "gen_ai.request.stream" in span)


def names(*modules: ModuleType) -> set[str]:
    return {
        value
        for module in modules
        for name, value in inspect.getmembers(module)
        if name.isupper() and isinstance(value, str)
    }


async def test_what_is_sent_without_contents() -> None:
    with collecting() as collector:
        address = await collected(collector)
    server = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "m",
        "server.address": address.hostname,
        "server.port": address.port,
    }
    common = {
        **server,
        "openai.api.type": "chat_completions",
        "chatpb.upstream": "default",
        "gen_ai.output.type": "json",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 1.0,
        "gen_ai.request.max_tokens": 100,
        "gen_ai.request.frequency_penalty": 0.25,
        "gen_ai.request.presence_penalty": -0.25,
        "gen_ai.request.seed": 7,
        "gen_ai.request.choice.count": 2,
        "gen_ai.request.stop_sequences": ["END"],
        "gen_ai.request.reasoning.level": "low",
        "openai.request.service_tier": "auto",
        "openai.response.service_tier": "default",
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.model": "m",
        "gen_ai.usage.input_tokens": 20,
        "gen_ai.usage.output_tokens": 10,
        "gen_ai.usage.cache_read.input_tokens": 16,
        "gen_ai.usage.reasoning.output_tokens": 7,
    }
    whole, stream = chats(collector)
    expected = {
        **common,
        "gen_ai.response.finish_reasons": ["stop", "tool_calls"],
        "openai.response.system_fingerprint": "fp_1",
    }
    assert expected == whole
    first = stream.pop("gen_ai.response.time_to_first_chunk")
    assert 0 < first < TIMEOUT
    expected = {
        **common,
        "gen_ai.request.stream": True,
        "gen_ai.response.id": "c",
        "gen_ai.response.finish_reasons": ["length"],
    }
    assert expected == stream
    known = names(gen_ai_attributes, openai_attributes, error_attributes, server_attributes)
    used = {*whole, *stream, "gen_ai.response.time_to_first_chunk"}
    assert NEWER == {name for name in used if not name.startswith("chatpb.")} - known

    metrics = collector.metrics()
    assert set() == metrics.keys() - names(gen_ai_metrics)
    [duration] = metrics["gen_ai.client.operation.duration"].histogram.data_points
    assert (2, server) == (duration.count, attributes(duration))
    assert [0.01, 0.02, 81.92] == [duration.explicit_bounds[at] for at in (0, 1, -1)]
    tokens = metrics["gen_ai.client.token.usage"].histogram.data_points
    assert {"input": (2, 40), "output": (2, 20)} == {
        attributes(point)["gen_ai.token.type"]: (point.count, point.sum) for point in tokens
    }
    assert [1, 4, 67108864] == [tokens[0].explicit_bounds[at] for at in (0, 1, -1)]
    [first_chunk] = metrics["gen_ai.client.operation.time_to_first_chunk"].histogram.data_points
    assert (1, server) == (first_chunk.count, attributes(first_chunk))
    units = {metric.name: metric.unit for metric in metrics.values()}
    assert {"gen_ai.client.operation.duration": "s", "gen_ai.client.token.usage": "{token}"} == {
        name: unit for name, unit in units.items() if "time_" not in name
    }

    assert [] == collector.events()
    for text in (SECRET, ANSWER, "be brief", "rainy", "example.com/a.png"):
        assert text.encode() not in collector.received


def parsed(span: Mapping[str, Any]) -> list[Any]:
    return [json.loads(span[f"gen_ai.{kind}.messages"]) for kind in ("input", "output")]


async def test_contents_that_are_asked_for() -> None:
    with collecting() as collector:
        await collected(collector, "--trace-content", **{CAPTURE: "SPAN_AND_EVENT"})
    call = {"type": "tool_call", "id": "call_1", "name": "f", "arguments": {"a": 1}}
    asked = [
        {"role": "system", "parts": [{"type": "text", "content": "be brief"}]},
        {
            "role": "user",
            "name": "bob",
            "parts": [
                {"type": "text", "content": SECRET},
                {"type": "uri", "modality": "image", "uri": "https://example.com/a.png"},
            ],
        },
        {"role": "assistant", "parts": [call]},
        {
            "role": "tool",
            "parts": [{"type": "tool_call_response", "id": "call_1", "response": "rainy"}],
        },
    ]
    text = {"type": "text", "content": ANSWER}
    given = [
        {
            "role": "assistant",
            "parts": [{"type": "reasoning", "content": "so"}, text],
            "finish_reason": "stop",
        },
        {"role": "assistant", "parts": [call], "finish_reason": "tool_calls"},
    ]
    whole, stream = chats(collector)
    assert [asked, given] == parsed(whole)
    assert [{"role": "assistant", "parts": [text], "finish_reason": "length"}] == parsed(stream)[1]
    assert "chatpb.content.truncated" not in whole
    events = collector.events()
    assert ["gen_ai.client.inference.operation.details"] * 2 == [one.event_name for one in events]
    found = attributes(events[0])
    assert [asked, given] == [found[f"gen_ai.{kind}.messages"] for kind in ("input", "output")]
    assert whole.items() >= {k: v for k, v in found.items() if not k.endswith("messages")}.items()
    assert {span.span_id for span in collector.spans() if span.name == "chat m"} == {
        event.span_id for event in events
    }
