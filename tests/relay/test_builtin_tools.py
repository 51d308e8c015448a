"""Tool calls, function calls and JSON of the upstream that is built in."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.builtin import CALLED, CLOCK, HELLO, SHELL, WEATHER, choice, refused, text


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
