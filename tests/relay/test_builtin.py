"""The builtin upstream: what it honours, and what it refuses in OpenAI's words."""

# Assertions read `expected == actual`, also where what is expected is a literal.

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from chatpb import from_json, residue
from chatpb.sse import DONE, Decoder
from chatpb_server.core.upstream import RequestBody, UpstreamError, UpstreamRequest
from chatpb_server.upstreams.builtin.tokens import pieces, tokenize
from chatpb_server.upstreams.builtin.upstream import BuiltinUpstream

HELLO = {"role": "user", "content": "Hello"}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer", "minimum": 1, "maximum": 7},
                "unit": {"enum": ["celsius", "fahrenheit"]},
            },
            "required": ["city", "days", "unit"],
            "additionalProperties": False,
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "get_time"}}
SHELL = {"type": "custom", "custom": {"name": "shell"}}
CALLED = {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}


def request(**members: Any) -> UpstreamRequest:
    text = json.dumps({"model": "m", "messages": [HELLO], **members}).encode()
    return UpstreamRequest(RequestBody(text=text))


async def create(**members: Any) -> Any:
    """The completion of a request."""
    answer = await BuiltinUpstream(lambda: 1700000000.9).create(request(**members))
    assert answer.text is not None
    return json.loads(answer.text)


async def chunks(**members: Any) -> list[Any]:
    """The chunks of a streamed request."""
    upstream = BuiltinUpstream(lambda: 1700000000.9)
    async with upstream.stream(request(**members, stream=True)) as stream:
        pieces = [arrived.text or b"" async for arrived in stream.chunks]
    events = [event for piece in pieces for event in Decoder().feed(piece)]
    assert DONE == events.pop().data
    return [json.loads(event.data) for event in events]


async def choice(**members: Any) -> Any:
    """The one choice of the completion of a request."""
    [only] = (await create(**members))["choices"]
    return only


async def text(**members: Any) -> str:
    """The content of the one choice."""
    content = (await choice(**members))["message"]["content"]
    assert isinstance(content, str)
    return content


async def refused(**members: Any) -> Any:
    """The error object with which a request is refused."""
    with pytest.raises(UpstreamError) as caught:
        await BuiltinUpstream().create(request(**members))
    assert 400 == caught.value.http_status
    body = json.loads(caught.value.body)
    assert ["error"] == list(body)
    return body["error"]


async def test_completion_shape() -> None:
    """The members are those that api.openai.com sends, in its order."""
    completion = await create()
    content = completion["choices"][0]["message"]["content"]
    tokens = len(tokenize(content))
    expected = {
        "id": completion["id"],
        "object": "chat.completion",
        "created": 1700000000,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": content,
                    "refusal": None,
                    "annotations": [],
                },
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": tokens,
            "total_tokens": 9 + tokens,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        "service_tier": "default",
        "system_fingerprint": completion["system_fingerprint"],
    }
    assert json.dumps(expected) == json.dumps(completion)
    assert completion["id"].startswith("chatcmpl-")


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({"n": 2, "logprobs": True, "top_logprobs": 3}, id="logprobs"),
        pytest.param({"tools": [WEATHER, SHELL]}, id="tools"),
        pytest.param({"functions": [WEATHER["function"]]}, id="functions"),
        pytest.param({"max_tokens": 2}, id="length"),
    ],
)
async def test_completion_needs_no_residue(members: dict[str, Any]) -> None:
    """The schema's typed fields say all that the builtin upstream does."""
    assert [] == residue(from_json(json.dumps(await create(**members))))


async def test_chunk_shape() -> None:
    first, *between, last, end = await chunks(stream_options={"include_usage": True})
    envelope = {
        "id": first["id"],
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "m",
        "service_tier": "default",
        "system_fingerprint": first["system_fingerprint"],
    }

    def expected(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        piece = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return {**envelope, "choices": [piece], "usage": None}

    opening = expected({"role": "assistant", "content": "", "refusal": None})
    assert json.dumps(opening) == json.dumps(first)
    for chunk in between:
        assert expected({"content": chunk["choices"][0]["delta"]["content"]}) == chunk
    assert expected({}, "stop") == last
    assert {**envelope, "choices": [], "usage": (await create())["usage"]} == end


async def test_no_usage_unless_asked() -> None:
    assert all("usage" not in chunk for chunk in await chunks())


def assembled(stream: list[Any]) -> dict[str, Any]:
    """The completion that chunks make, put together by concatenation alone."""
    found: dict[int, dict[str, Any]] = {}
    for chunk in stream:
        for part in chunk["choices"]:
            delta = part["delta"]
            if part["index"] not in found:
                message = {**delta, "annotations": []}
                found[part["index"]] = {"message": message, "logprobs": None}
                continue
            known = found[part["index"]]
            message = known["message"]
            if "content" in delta:
                message["content"] += delta["content"]
            for call in delta.get("tool_calls", []):
                calls = message.setdefault("tool_calls", [])
                if call["index"] == len(calls):
                    calls.append({k: v for k, v in call.items() if k != "index"})
                else:
                    [(kind, piece)] = [(k, v) for k, v in call.items() if k != "index"]
                    [(name, more)] = piece.items()
                    calls[call["index"]][kind][name] += more
            if "function_call" in delta:
                legacy = message.setdefault("function_call", {"arguments": ""})
                name = delta["function_call"].get("name", legacy.get("name"))
                arguments = legacy["arguments"] + delta["function_call"]["arguments"]
                message["function_call"] = {"name": name, "arguments": arguments}
            if part["logprobs"]:
                logprobs = known["logprobs"] or {"content": [], "refusal": None}
                known["logprobs"] = logprobs
                logprobs["content"] += part["logprobs"]["content"]
            known["finish_reason"] = part["finish_reason"]
    choices = [{"index": index, **found[index]} for index in sorted(found)]
    envelope = {name: stream[-1][name] for name in ("id", "created", "model", "service_tier")}
    return {
        **envelope,
        "object": "chat.completion",
        "system_fingerprint": stream[-1]["system_fingerprint"],
        "choices": choices,
        "usage": stream[-1]["usage"],
    }


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({}, id="plain"),
        pytest.param({"n": 3, "logprobs": True, "top_logprobs": 2}, id="n and logprobs"),
        pytest.param({"logprobs": True, "stop": ""}, id="empty stop"),
        pytest.param({"max_completion_tokens": 4, "logprobs": True}, id="length"),
        pytest.param({"tools": [WEATHER, CLOCK, SHELL], "n": 2}, id="tools"),
        pytest.param({"tools": [WEATHER], "max_tokens": 3}, id="cut call"),
        pytest.param({"functions": [WEATHER["function"]]}, id="functions"),
        pytest.param({"response_format": {"type": "json_object"}}, id="json"),
        pytest.param({"service_tier": "flex"}, id="tier"),
    ],
)
async def test_stream_agrees_with_completion(members: dict[str, Any]) -> None:
    stream = await chunks(**members, stream_options={"include_usage": True})
    assert await create(**members) == assembled(stream)


async def test_deterministic_in_the_seed() -> None:
    assert await create(seed=1) == await create(seed=1)
    assert await text(seed=1) != await text(seed=2)
    assert await text() != await text(messages=[HELLO, HELLO])


async def test_n() -> None:
    completion = await create(n=128)
    assert list(range(128)) == [c["index"] for c in completion["choices"]]
    assert 128 == len({c["message"]["content"] for c in completion["choices"]})
    usage = completion["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


@pytest.mark.parametrize("top", [None, 0, 1, 20])
async def test_logprobs(top: int | None) -> None:
    """Tokens spell the content; alternatives are sorted, distinct, and no more than certain."""
    members = {} if top is None else {"top_logprobs": top}
    answer = await choice(logprobs=True, seed=7, **members)
    entries = answer["logprobs"]["content"]
    spelled = bytes(byte for entry in entries for byte in entry["bytes"])
    assert answer["message"]["content"] == spelled.decode()
    assert answer["logprobs"]["refusal"] is None
    among = 0
    for entry in entries:
        ranked = entry["top_logprobs"]
        assert (top or 0) == len(ranked)
        assert len(ranked) == len({bytes(other["bytes"]) for other in ranked})
        values = [other["logprob"] for other in ranked]
        assert sorted(values, reverse=True) == values
        assert sum(map(math.exp, values)) <= 1 + 1e-9
        chosen = {name: entry[name] for name in ("token", "logprob", "bytes")}
        among += chosen in ranked
    assert not top or among > len(entries) / 2


async def test_logprobs_do_not_depend_on_how_many_are_asked_for() -> None:
    few = await choice(logprobs=True, top_logprobs=1, max_tokens=5)
    many = await choice(logprobs=True, top_logprobs=20)
    expected = [
        {**entry, "top_logprobs": entry["top_logprobs"][:1]}
        for entry in many["logprobs"]["content"][:5]
    ]
    assert expected == few["logprobs"]["content"]


async def test_greedy_sampling_takes_the_most_likely_token() -> None:
    answer = await choice(logprobs=True, top_logprobs=1, temperature=0)
    for entry in answer["logprobs"]["content"]:
        assert entry["token"] == entry["top_logprobs"][0]["token"]


def test_tokens_may_split_a_character() -> None:
    tokens = tokenize('The 🦜 paints 東京, {"a": 1234}.')
    assert [b"The", b" ", b"\xf0\x9f", b"\xa6\x9c", b" paints", " 東京".encode()] == tokens[:6]
    assert [("The", 1), (" ", 1), ("🦜", 2), (" paints", 1)] == list(pieces(tokens[:5]))
    assert [("The", 1), (" ", 1)] == list(pieces(tokens[:3]))


async def test_split_characters_are_spelled_as_openai_does() -> None:
    """A piece of a stream is whole characters, with the log probabilities of all its tokens."""
    for seed in range(100):
        for chunk in await chunks(seed=seed, logprobs=True):
            part = chunk["choices"][0]
            if part["delta"].get("content") == "🦜":
                expected = [("\\xf0\\x9f", [0xF0, 0x9F]), ("\\xa6\\x9c", [0xA6, 0x9C])]
                entries = part["logprobs"]["content"]
                assert expected == [(entry["token"], entry["bytes"]) for entry in entries]
                return
    pytest.fail("no answer had a parrot")


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_max_tokens(name: str) -> None:
    whole = await create()
    count = whole["usage"]["completion_tokens"]
    words = whole["choices"][0]["message"]["content"]
    cut = await create(**{name: 3})
    assert "length" == cut["choices"][0]["finish_reason"]
    assert 3 == cut["usage"]["completion_tokens"]
    assert b"".join(tokenize(words)[:3]).decode() == cut["choices"][0]["message"]["content"]
    assert "stop" == (await choice(**{name: count}))["finish_reason"]
    assert "length" == (await choice(**{name: count - 1}))["finish_reason"]


async def test_stop() -> None:
    """The answer ends before the first of the sequences, also where that spans tokens."""
    words = await text()
    spanning = words[9:15]
    assert len(tokenize(spanning)) > 1
    for stop in (spanning, ["no such text", spanning], [words[20:26], spanning]):
        answer = await choice(stop=stop, logprobs=True)
        expected = words[: words.index(spanning)]
        assert expected == answer["message"]["content"]
        assert "stop" == answer["finish_reason"]
        spelled = (bytes(entry["bytes"]) for entry in answer["logprobs"]["content"])
        assert expected.encode() == b"".join(spelled)
    assert words == await text(stop=["no such text"])


@pytest.mark.parametrize(
    ("asked", "expected"),
    [(None, "default"), ("auto", "default"), ("default", "default"), ("flex", "flex")],
)
async def test_service_tier(asked: str | None, expected: str) -> None:
    assert expected == (await create(service_tier=asked))["service_tier"]


@pytest.mark.parametrize(
    ("members", "names", "finish_reason"),
    [
        pytest.param({}, {"get_weather"}, "tool_calls", id="auto"),
        pytest.param({"tool_choice": "required"}, {"get_weather"}, "tool_calls", id="required"),
        pytest.param({"tool_choice": "none"}, None, "stop", id="none"),
        pytest.param({"messages": [HELLO, CALLED]}, None, "stop", id="after the result"),
        pytest.param(
            {"messages": [HELLO, CALLED], "tool_choice": "required"},
            {"get_weather"},
            "tool_calls",
            id="required after the result",
        ),
        pytest.param(
            {"tools": [WEATHER, CLOCK]}, {"get_weather", "get_time"}, "tool_calls", id="parallel"
        ),
        pytest.param(
            {
                "tools": [WEATHER, CLOCK],
                "tool_choice": {"type": "function", "function": {"name": "get_time"}},
            },
            {"get_time"},
            "stop",
            id="named",
        ),
        pytest.param(
            {
                "tools": [WEATHER, SHELL],
                "tool_choice": {"type": "custom", "custom": {"name": "shell"}},
            },
            {"shell"},
            "stop",
            id="custom",
        ),
        pytest.param(
            {
                "tools": [WEATHER, CLOCK, SHELL],
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "required", "tools": [CLOCK]},
                },
            },
            {"get_time"},
            "tool_calls",
            id="allowed",
        ),
    ],
)
async def test_tools(members: dict[str, Any], names: set[str] | None, finish_reason: str) -> None:
    answer = await choice(**{"tools": [WEATHER], **members})
    message = answer["message"]
    assert finish_reason == answer["finish_reason"]
    if names is None:
        assert "tool_calls" not in message
        assert isinstance(message["content"], str)
        return
    assert message["content"] is None
    calls = message["tool_calls"]
    assert names == {call[call["type"]]["name"] for call in calls}
    assert len(calls) == len({call["id"] for call in calls})
    for call in calls:
        assert call["id"].startswith("call_")
        if call["type"] == "custom":
            assert call["custom"]["input"]
            continue
        arguments = json.loads(call["function"]["arguments"])
        if call["function"]["name"] == "get_time":
            assert {} == arguments
        else:
            assert ["city", "days", "unit"] == list(arguments)
            assert isinstance(arguments["city"], str)
            assert arguments["days"] in range(1, 8)
            assert arguments["unit"] in ("celsius", "fahrenheit")


async def test_one_call_unless_parallel() -> None:
    answer = await choice(tools=[WEATHER, CLOCK], parallel_tool_calls=False)
    assert 1 == len(answer["message"]["tool_calls"])


async def test_cut_call() -> None:
    answer = await choice(tools=[WEATHER], max_tokens=2)
    [call] = answer["message"]["tool_calls"]
    assert "length" == answer["finish_reason"]
    assert '{"city' == call["function"]["arguments"]


@pytest.mark.parametrize(
    ("function_call", "called", "finish_reason"),
    [
        (None, True, "function_call"),
        ("none", False, "stop"),
        ({"name": "get_weather"}, True, "stop"),
    ],
    ids=["auto", "none", "named"],
)
async def test_functions(function_call: Any, called: bool, finish_reason: str) -> None:
    functions = [WEATHER["function"]]
    answer = await choice(functions=functions, function_call=function_call)
    assert finish_reason == answer["finish_reason"]
    assert called == ("function_call" in answer["message"])
    if called:
        assert "get_weather" == answer["message"]["function_call"]["name"]
        arguments = json.loads(answer["message"]["function_call"]["arguments"])
        assert {"city", "days", "unit"} == set(arguments)


async def test_json_object() -> None:
    assert isinstance(json.loads(await text(response_format={"type": "json_object"})), dict)


async def follow(schema: Any) -> Any:
    """A value that the model makes up for a schema."""
    json_schema = {"name": "thing", "schema": schema, "strict": True}
    response_format = {"type": "json_schema", "json_schema": json_schema}
    return json.loads(await text(response_format=response_format))


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        pytest.param({"const": 7}, 7, id="const"),
        pytest.param({"enum": ["red"]}, "red", id="enum"),
        pytest.param({"type": "integer", "minimum": 5, "maximum": 5}, 5, id="integer"),
        pytest.param(
            {"type": "integer", "exclusiveMinimum": 4, "exclusiveMaximum": 6}, 5, id="exclusive"
        ),
        pytest.param(
            {"type": "integer", "multipleOf": 7, "minimum": 8, "maximum": 20}, 14, id="multiple"
        ),
        pytest.param({"type": "number", "minimum": 0.5, "maximum": 0.5}, 0.5, id="number"),
        pytest.param({"type": "null"}, None, id="null"),
        pytest.param({"type": "string", "format": "date"}, "2026-01-31", id="format"),
        pytest.param({"anyOf": [{"const": 1}]}, 1, id="anyOf"),
        pytest.param({"$defs": {"a": {"const": 2}}, "$ref": "#/$defs/a"}, 2, id="ref"),
        pytest.param({"allOf": [{"type": "integer"}, {"enum": [3]}]}, 3, id="allOf"),
        pytest.param(
            {"type": "array", "items": {"const": 1}, "minItems": 3, "maxItems": 3},
            [1, 1, 1],
            id="array",
        ),
        pytest.param({"type": "array", "maxItems": 0}, [], id="empty array"),
        pytest.param(
            {"properties": {"b": {"const": 1}, "a": {"type": "object"}}},
            {"b": 1, "a": {}},
            id="object",
        ),
    ],
)
async def test_json_schema(schema: Any, expected: Any) -> None:
    assert expected == await follow(schema)


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        pytest.param({"type": "string"}, str, id="string"),
        pytest.param({"type": ["null", "boolean"]}, bool, id="nullable"),
        pytest.param({"type": "number", "exclusiveMinimum": 0}, float, id="number"),
        pytest.param(True, str, id="anything"),
    ],
)
async def test_json_schema_type(schema: Any, expected: type) -> None:
    value = await follow({"properties": {"a": schema}})
    assert expected is type(value["a"])


async def test_json_schema_length() -> None:
    value: str = await follow({"type": "string", "minLength": 30, "maxLength": 31})
    assert len(value) in (30, 31)


async def test_json_schema_without_end() -> None:
    """Schemas that contain themselves, or ask for very much, give values of an ordinary size."""
    tree = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "left": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
            "more": {"type": "array", "items": {"$ref": "#"}},
        },
        "required": ["name", "left", "more"],
    }
    assert {"name", "left", "more"} == set(await follow(tree))
    endless = {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}
    assert "a" in await follow(endless)
    many: list[Any] = await follow({"type": "array", "minItems": 10**9})
    assert len(many) <= 1000
    assert isinstance(await follow({"$ref": "#"}), str)


@pytest.mark.parametrize(
    "parameters",
    [
        pytest.param({"type": "array", "minItems": "x"}, id="type"),
        pytest.param({"allOf": [{"$ref": "#"}]}, id="recursion"),
        pytest.param({"properties": [1]}, id="properties"),
    ],
)
async def test_json_schema_that_is_none(parameters: Any) -> None:
    error = await refused(tools=[{**CLOCK, "function": {"name": "f", "parameters": parameters}}])
    assert "Invalid schema for function 'f'." == error["message"]
    assert "invalid_schema" == error["code"]


async def test_unknown_members_and_nulls_are_fine() -> None:
    optional = ("temperature", "n", "stop", "tools", "tool_choice", "logprobs", "stream_options")
    assert await text(frobnicate={"a": 1}, **dict.fromkeys(optional))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param([{"type": "text", "text": "Hello"}], id="parts"),
        pytest.param([{"type": "image_url", "image_url": {"url": "https://a.b/c"}}], id="image"),
    ],
)
async def test_content_may_be_parts(content: Any) -> None:
    assert await text(messages=[{"role": "user", "content": content}])


def messages(**message: Any) -> dict[str, Any]:
    return {"messages": [HELLO, message]}


def stop_error(count: int) -> str:
    return (
        "Invalid 'stop': array too long. Expected an array with maximum length 4, but got an array"
        f" with length {count} instead."
    )


REFUSALS = [
    ({"model": None}, None, None, "you must provide a model parameter"),
    ({"model": 1}, "model", "invalid_type", "expected a string, but got an integer"),
    ({"messages": None}, "messages", "missing_required_parameter", "'messages'"),
    ({"messages": []}, "messages", "empty_array", "minimum length 1, but got an empty array"),
    ({"messages": "hi"}, "messages", "invalid_type", "expected an array of objects"),
    ({"messages": ["hi"]}, "messages[0]", "invalid_type", "expected an object"),
    (messages(content="x"), "messages[1].role", "missing_required_parameter", "role"),
    (messages(role="robot", content="x"), "messages[1].role", "invalid_value", "'robot'"),
    (messages(role="user"), "messages[1].content", None, "expected a string, got null"),
    (messages(role="user", content=1), "messages[1].content", "invalid_type", "an integer"),
    (
        messages(role="user", content=[{"text": "x"}]),
        "messages[1].content[0].type",
        "missing_required_parameter",
        "messages[1].content[0].type",
    ),
    (
        messages(role="tool", content="x"),
        "messages[1].tool_call_id",
        None,
        "messages with role 'tool' must have a 'tool_call_id'",
    ),
    (
        {"temperature": 9},
        "temperature",
        "decimal_above_max_value",
        "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 9"
        " instead.",
    ),
    ({"temperature": -0.5}, "temperature", "decimal_below_min_value", "but got -0.5 instead"),
    ({"temperature": "hot"}, "temperature", "invalid_type", "expected a decimal, but got a string"),
    ({"temperature": True}, "temperature", "invalid_type", "but got a boolean"),
    ({"top_p": 1.1}, "top_p", "decimal_above_max_value", "<= 1"),
    ({"presence_penalty": 2.5}, "presence_penalty", "decimal_above_max_value", "<= 2"),
    ({"frequency_penalty": -3}, "frequency_penalty", "decimal_below_min_value", ">= -2"),
    ({"n": 0}, "n", "integer_below_min_value", ">= 1, but got 0 instead"),
    ({"n": 129}, "n", "integer_above_max_value", "<= 128"),
    ({"n": 1.5}, "n", "invalid_type", "expected an integer, but got a decimal"),
    ({"max_tokens": 0}, "max_tokens", "integer_below_min_value", ">= 1"),
    ({"max_completion_tokens": 0}, "max_completion_tokens", "integer_below_min_value", ">= 1"),
    ({"max_tokens": 1, "max_completion_tokens": 1}, "max_tokens", None, "at the same time"),
    ({"seed": "x"}, "seed", "invalid_type", "expected an integer"),
    ({"logprobs": 1}, "logprobs", "invalid_type", "expected a boolean"),
    ({"top_logprobs": 2}, "top_logprobs", None, "only allowed when 'logprobs' is enabled"),
    (
        {"logprobs": True, "top_logprobs": 21},
        "top_logprobs",
        "integer_above_max_value",
        "<= 20",
    ),
    ({"stop": list("abcde")}, "stop", "array_above_max_length", stop_error(5)),
    ({"stop": [1]}, "stop[0]", "invalid_type", "expected a string"),
    ({"stop": 1}, "stop", "invalid_type", "one of a string or array of strings"),
    ({"stream_options": {}}, "stream_options", None, "only allowed when 'stream' is enabled"),
    (
        {"stream": True, "stream_options": {"include_usage": 1}},
        "stream_options.include_usage",
        "invalid_type",
        "expected a boolean",
    ),
    ({"tools": []}, "tools", "empty_array", "minimum length 1"),
    ({"tools": [{"type": "x"}]}, "tools[0].type", "invalid_value", "'function', and 'custom'"),
    (
        {"tools": [{"type": "function"}]},
        "tools[0].function",
        "missing_required_parameter",
        "tools[0].function",
    ),
    (
        {"tools": [{"type": "function", "function": {"name": "a b"}}]},
        "tools[0].function.name",
        "invalid_value",
        "string does not match pattern",
    ),
    ({"tool_choice": "auto"}, "tool_choice", None, "only allowed when 'tools' are specified"),
    ({"parallel_tool_calls": True}, "parallel_tool_calls", None, "only allowed when 'tools'"),
    ({"function_call": "auto"}, "function_call", None, "only allowed when 'functions'"),
    ({"tools": [CLOCK], "tool_choice": "any"}, "tool_choice", "invalid_value", "'required'"),
    ({"tools": [CLOCK], "tool_choice": WEATHER}, "tool_choice", None, "named 'get_weather'"),
    ({"functions": [{"name": "f"}], "function_call": {"name": "g"}}, "function_call", None, "'g'"),
    ({"response_format": "json"}, "response_format", "invalid_type", "expected an object"),
    ({"response_format": {"type": "xml"}}, "response_format.type", "invalid_value", "'xml'"),
    (
        {"response_format": {"type": "json_schema"}},
        "response_format.json_schema",
        "missing_required_parameter",
        "Missing required parameter: 'response_format.json_schema'.",
    ),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
        "response_format.json_schema.name",
        "missing_required_parameter",
        "response_format.json_schema.name",
    ),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
        "response_format.json_schema.schema",
        "missing_required_parameter",
        "response_format.json_schema.schema",
    ),
]


@pytest.mark.parametrize(
    ("members", "param", "code", "part"),
    [pytest.param(*row, id=json.dumps(row[0])) for row in REFUSALS],
)
async def test_refusals(
    members: dict[str, Any], param: str | None, code: str | None, part: str
) -> None:
    error = await refused(**members)
    message = error["message"]
    expected = {
        "message": message,
        "type": "invalid_request_error",
        "param": param,
        "code": code,
    }
    assert expected == error
    assert part in message


async def test_refusal_of_what_is_no_json() -> None:
    """A lone surrogate can stand in JSON, but not in the text of a prompt."""
    with pytest.raises(UpstreamError) as caught:
        await BuiltinUpstream().create(UpstreamRequest(RequestBody(text=rb'{"model": "\ud800"}')))
    assert "We could not parse the JSON body" in json.loads(caught.value.body)["error"]["message"]


async def test_a_stream_is_refused_before_its_first_chunk() -> None:
    with pytest.raises(UpstreamError):
        await chunks(temperature=9)
