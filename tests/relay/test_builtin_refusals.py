"""Requests that the upstream that is built in refuses, as OpenAI does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chatpb_server.core.upstream import RequestBody, UpstreamError, UpstreamRequest
from chatpb_server.upstreams.builtin.upstream import BuiltinUpstream
from support.builtin import CLOCK, HELLO, WEATHER, chunks, refused


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
