"""What the members of a JSON object become, in both directions, and what is refused."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.message import Message

import chatpb
from chatpb.v1 import (
    ChatCompletion,
    ChatCompletionMessageParam,
    ChatCompletionRequest,
    ChatCompletionTokenLogprob,
    Choice,
    CompletionUsage,
    ContentPart,
    FinishReason,
    FunctionDefinition,
    MessageContent,
    ModerationInputType,
    ModerationInputTypes,
    ModerationResult,
    NamedToolChoice,
    Residue,
    Role,
    Stop,
    ToolCall,
    ToolChoice,
    ToolChoiceMode,
    ToolType,
)
from support.equality import exact

# Both directions: the JSON gives the message, and the message gives the JSON.
ROWS = [
    pytest.param(
        {"index": 1, "logprobs": None, "finish_reason": "tool_calls"},
        Choice(index=1, finish_reason=FinishReason.FINISH_REASON_TOOL_CALLS),
        id="enum word",
    ),
    pytest.param(
        {"index": 0, "logprobs": None, "finish_reason": "eos_token"},
        Choice(residue=Residue(extra_json='{"finish_reason":"eos_token"}')),
        id="unknown enum word",
    ),
    pytest.param(
        {"index": 0, "logprobs": None, "finish_reason": "unspecified"},
        Choice(residue=Residue(extra_json='{"finish_reason":"unspecified"}')),
        id="the zero value has no word",
    ),
    pytest.param(
        {"index": 0, "finish_reason": None},
        Choice(residue=Residue(absent_fields=[3])),
        id="absent",
    ),
    pytest.param(
        {"index": None, "message": None, "logprobs": None, "finish_reason": None},
        Choice(residue=Residue(null_fields=[1, 2])),
        id="null",
    ),
    pytest.param(
        {"index": 0, "logprobs": {"content": [], "refusal": None}, "finish_reason": None},
        Choice(logprobs={"residue": {"empty_fields": [1]}}),  # type: ignore[arg-type]
        id="empty",
    ),
    pytest.param(
        {"index": 2**31, "logprobs": [], "finish_reason": 1, "tokens": [1], "": {"a": None}},
        Choice(
            residue=Residue(
                extra_json=(
                    '{"index":2147483648,"logprobs":[],"finish_reason":1,"tokens":[1],"":{"a":null}}'
                )
            )
        ),
        id="values that do not fit, and members that nobody knows",
    ),
    pytest.param(
        {"prompt_tokens": 1.5, "completion_tokens": 2**70, "total_tokens": True},
        CompletionUsage(
            residue=Residue(
                extra_json=(
                    '{"prompt_tokens":1.5,"completion_tokens":1180591620717411303424,'
                    '"total_tokens":true}'
                )
            )
        ),
        id="no integers",
    ),
    pytest.param(
        {"token": "a", "logprob": -9999, "bytes": [97], "top_logprobs": []},
        ChatCompletionTokenLogprob(token="a", logprob=-9999.0),
        id="an integer is a double, and bytes are derived",
    ),
    pytest.param(
        {"token": "\ufffd", "logprob": -0.0, "bytes": [240, 159], "top_logprobs": []},
        ChatCompletionTokenLogprob(token="\ufffd", logprob=-0.0, bytes=b"\xf0\x9f"),
        id="bytes of their own, and minus zero",
    ),
    pytest.param(
        {"token": "", "logprob": 0.0, "bytes": [], "top_logprobs": []},
        ChatCompletionTokenLogprob(),
        id="a token without text",
    ),
    pytest.param(
        {"token": "\x01", "logprob": 0.0, "bytes": [True], "top_logprobs": []},
        ChatCompletionTokenLogprob(token="\x01", residue=Residue(extra_json='{"bytes":[true]}')),
        id="true is not 1",
    ),
    pytest.param(
        {"token": "\ud83d", "logprob": 0.0, "bytes": None, "top_logprobs": []},
        ChatCompletionTokenLogprob(
            residue=Residue(null_fields=[3], extra_json='{"token":"\\ud83d"}')
        ),
        id="lone surrogate",
    ),
    pytest.param(
        {"id": "c", "type": "function", "function": {"arguments": "{"}, "custom": {"input": ""}},
        ToolCall(
            id="c",
            type=ToolType.TOOL_TYPE_FUNCTION,
            function={"arguments": "{"},  # type: ignore[arg-type]
            custom={"input": ""},  # type: ignore[arg-type]
        ),
        id="both arms of a union",
    ),
    pytest.param(
        {"role": "user", "content": "hi"},
        ChatCompletionMessageParam(role=Role.ROLE_USER, content=MessageContent(text="hi")),
        id="union: text",
    ),
    pytest.param(
        {"content": [{"type": "thinking", "text": "hm"}]},
        ChatCompletionMessageParam(
            content=MessageContent(
                parts=[ContentPart(text="hm", residue=Residue(extra_json='{"type":"thinking"}'))]
            )
        ),
        id="union: list",
    ),
    pytest.param(
        {"content": []}, ChatCompletionMessageParam(content=MessageContent()), id="union: []"
    ),
    pytest.param(
        {"content": 5},
        ChatCompletionMessageParam(residue=Residue(extra_json='{"content":5}')),
        id="union: neither",
    ),
    pytest.param(
        {"stop": ["a", "b"], "tool_choice": "auto", "n": 1},
        ChatCompletionRequest(
            n=1,
            stop=Stop(sequences=["a", "b"]),
            tool_choice=ToolChoice(mode=ToolChoiceMode.TOOL_CHOICE_MODE_AUTO),
        ),
        id="union: words",
    ),
    pytest.param(
        {"stop": ["a", None], "tool_choice": {}},
        ChatCompletionRequest(
            tool_choice=ToolChoice(named=NamedToolChoice()),
            residue=Residue(extra_json='{"stop":["a",null]}'),
        ),
        id="a list with a null in it",
    ),
    pytest.param(
        {"parameters": {"z": 1.50, "a": {"const": 1}}, "strict": False},
        FunctionDefinition(parameters='{"z":1.5,"a":{"const":1}}', strict=False),
        id="free JSON keeps its order",
    ),
    pytest.param(
        {"metadata": {"k": "v"}, "logit_bias": {"50256": -100}},
        ChatCompletionRequest(metadata={"k": "v"}, logit_bias={"50256": -100}),
        id="maps",
    ),
    pytest.param(
        {"metadata": {"k": 1}, "logit_bias": {}, "modalities": ["text", "smell"]},
        ChatCompletionRequest(
            residue=Residue(
                empty_fields=[18], extra_json='{"metadata":{"k":1},"modalities":["text","smell"]}'
            )
        ),
        id="a map or a list of which one value does not fit",
    ),
    pytest.param(
        {"type": "moderation_result", "category_applied_input_types": {"a": ["text"], "b": []}},
        ModerationResult(
            category_applied_input_types={
                "a": ModerationInputTypes(types=[ModerationInputType.MODERATION_INPUT_TYPE_TEXT]),
                "b": ModerationInputTypes(),
            }
        ),
        id="a map of lists",
    ),
    pytest.param(
        {"residue": 1, "index": 0, "logprobs": None, "finish_reason": None},
        Choice(residue=Residue(extra_json='{"residue":1}')),
        id="a member named residue",
    ),
]


@pytest.mark.parametrize(("members", "message"), ROWS)
def test_both_directions(members: dict[str, Any], message: Message) -> None:
    kind = type(message)
    assert message == chatpb.from_dict(members, kind)
    assert message == chatpb.from_json(json.dumps(members), kind)
    assert members == chatpb.to_dict(message)
    assert exact(json.dumps(members)) == exact(chatpb.to_json(message))


def test_members_come_in_the_order_of_openai() -> None:
    completion = ChatCompletion(
        id="chatcmpl-1",
        created=1,
        model="m",
        choices=[Choice(message={"content": "hi"}, finish_reason=1)],  # type: ignore[arg-type]
        usage=CompletionUsage(total_tokens=3),
        service_tier=2,  # type: ignore[arg-type]
        residue=Residue(extra_json='{"provider":"x"}'),
    )
    assert chatpb.to_json(completion) == (
        b'{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":'
        b'[{"index":0,"message":{"role":"assistant","content":"hi","refusal":null,"annotations":[]}'
        b',"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":0,"completion_tokens":'
        b'0,"total_tokens":3},"service_tier":"default","system_fingerprint":null,"provider":"x"}'
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param('{"x":1,"x":2}', '{"x":2}', id="the last of two members"),
        pytest.param('{"x":1,"y":0,"x":{"a":1,"a":2}}', '{"x":{"a":2},"y":0}', id="at all levels"),
        pytest.param(
            '{"a":0.00000537,"b":1E5,"c":-0,"d":1.0,"e":1e400,"f":10570679248326920000}',
            '{"a":0.00000537,"b":1E5,"c":-0,"d":1.0,"e":1e400,"f":10570679248326920000}',
            id="numbers as they were written",
        ),
        pytest.param('{"a": "\\ud83d\\u00e9\\u003c/"}', '{"a":"\\ud83dé</"}', id="strings"),
        pytest.param(
            '{"a":"\\ud83d\\ude00 \\u2028\\u0000\\n"}', '{"a":"😀 \u2028\\u0000\\n"}', id="text"
        ),
        pytest.param('\ufeff \n\t{ "a" : [ 1 , { } ] } \r\n', '{"a":[1,{}]}', id="white space"),
        pytest.param('{"a":' + "9" * 5000 + "}", '{"a":' + "9" * 5000 + "}", id="a long integer"),
    ],
)
def test_extra_json(text: str, expected: str) -> None:
    message = chatpb.from_json(text.encode(), FunctionDefinition)
    assert expected == message.residue.extra_json
    assert expected == chatpb.to_json(message).decode()


def test_minus_zero() -> None:
    text = b'{"index":-0,"message":{},"logprobs":null,"finish_reason":null}'
    choice = chatpb.from_json(text, Choice)
    assert choice.residue.extra_json == '{"index":-0}'
    text = b'{"token":"a","logprob":-0,"bytes":null,"top_logprobs":[]}'
    token = chatpb.from_json(text, ChatCompletionTokenLogprob)
    assert math.copysign(1, token.logprob) == -1.0
    assert b'"logprob":-0.0' in chatpb.to_json(token)


def test_a_str_may_hold_lone_surrogates() -> None:
    message = chatpb.from_json('{"name":"\ud83d"}', FunctionDefinition)
    assert chatpb.to_json(message) == b'{"name":"\\ud83d"}'


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_not_finite(word: str) -> None:
    text = f'{{"token":"a","logprob":{word},"bytes":null,"top_logprobs":[],"x":[{word}]}}'
    with pytest.raises(chatpb.ConversionError, match="pass allow_nan=True") as refused:
        chatpb.from_json(text, ChatCompletionTokenLogprob)
    assert (refused.value.path, refused.value.offset) == ("$.logprob", 23)

    message = chatpb.from_json(text, ChatCompletionTokenLogprob, allow_nan=True)
    assert not math.isfinite(message.logprob)
    with pytest.raises(chatpb.ConversionError, match="pass allow_nan=True"):
        chatpb.to_json(message)
    assert exact(text) == exact(chatpb.to_json(message, allow_nan=True))
    assert repr(json.loads(text)["x"]) == repr(chatpb.to_dict(message, allow_nan=True)["x"])


def _deep(levels: int) -> str:
    return '{"a":' + "[" * (levels - 1) + "]" * (levels - 1) + "}"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b'{"id":"NaN"}', id="none"),
        pytest.param(b'{"choices":[{"logprobs":{"content":[{"logprob":-Infinity}]}}]}', id="typed"),
        pytest.param(b'{"a":{"b":[NaN]}}', id="unknown"),
        pytest.param(b'{"choices":[{"message":{"reasoning_details":[NaN,{"x":NaN}]}}]}', id="free"),
    ],
)
def test_numbers_that_are_not_finite_are_found_wherever_they_are(text: bytes) -> None:
    message = chatpb.from_json(text, allow_nan=True)
    assert text == chatpb.to_json(message, allow_nan=True)
    assert text == chatpb.binary_to_json(message.SerializeToString(), allow_nan=True)


@pytest.mark.parametrize(
    "convert",
    [
        pytest.param(lambda text: chatpb.from_json(text, FunctionDefinition), id="from_json"),
        pytest.param(
            lambda text: chatpb.to_json(FunctionDefinition(residue=Residue(extra_json=text))),
            id="to_json",
        ),
        pytest.param(
            lambda text: chatpb.to_dict(FunctionDefinition(residue=Residue(extra_json=text))),
            id="to_dict",
        ),
    ],
)
def test_hostile_nesting_is_an_error(convert: Callable[[str], object]) -> None:
    convert(_deep(200))
    for levels in (201, 300, 5_000, 200_000):
        with pytest.raises(chatpb.ConversionError, match="nested deeper than 200 levels"):
            convert(_deep(levels))


def test_hostile_nesting_in_a_mapping_is_an_error() -> None:
    members: dict[str, Any] = {}
    members["a"] = members
    with pytest.raises(chatpb.ConversionError, match="nested deeper than 200 levels"):
        chatpb.from_dict(members)


@pytest.mark.parametrize(
    ("members", "path", "reason"),
    [
        pytest.param({"a": [1, {2}]}, "$.a[1]", "expected a JSON value, got set", id="a set"),
        pytest.param({"a": {1: 2}}, "$.a", "expected a string as a member name, got 1", id="key"),
        pytest.param({"a b": b""}, "$['a b']", "expected a JSON value, got bytes", id="bytes"),
        pytest.param([], "$", "expected an object, got an array", id="a list"),
    ],
)
def test_values_that_are_not_json(members: Any, path: str, reason: str) -> None:
    with pytest.raises(chatpb.ConversionError) as error:
        chatpb.from_dict(members)
    assert (path, reason, None) == (error.value.path, error.value.reason, error.value.offset)


def test_python_values_that_are_json() -> None:
    class Name(str):
        pass

    members: dict[str, Any] = {Name("a"): (1, Role.ROLE_USER, Name("b"))}
    assert b'"a":[1,3,"b"]' in chatpb.to_json(chatpb.from_dict(members))


@pytest.mark.parametrize(
    ("message", "path", "reason"),
    [
        pytest.param(
            ChatCompletion(choices=[Choice(), Choice(finish_reason=77)]),  # type: ignore[arg-type]
            "$.choices[1].finish_reason",
            "77 is a value that the schema does not know",
            id="unknown enum value",
        ),
        pytest.param(
            ChatCompletion(choices=[Choice(residue=Residue(null_fields=[99]))]),
            "$.choices[0]",
            "the residue names field 99, which the schema does not know",
            id="unknown field in a residue",
        ),
        pytest.param(
            ChatCompletion.FromString(b"\x2a\x03\xf8\x3f\x01"),
            "$.choices[0]",
            "field 1023 of chatpb.v1.Choice is not in this version of the schema",
            id="unknown field",
        ),
    ],
)
def test_what_the_schema_does_not_know(message: Message, path: str, reason: str) -> None:
    with pytest.raises(chatpb.ConversionError) as error:
        chatpb.to_json(message)
    assert path == error.value.path
    assert f"{reason}; pass ignore_unknown_fields=True to leave it out" == error.value.reason
    chatpb.to_json(message, ignore_unknown_fields=True)


@pytest.mark.parametrize(
    ("message", "path", "reason"),
    [
        pytest.param(
            Choice(residue=Residue(extra_json="[1]")),
            "$",
            "extra_json is not a JSON object but an array",
            id="extra_json is an array",
        ),
        pytest.param(
            ChatCompletion(choices=[Choice(residue=Residue(extra_json='{"a":1},"id":{"b":2}'))]),
            "$.choices[0]",
            "extra_json is not a JSON object: $ (byte 7): expected the end of the text, got"
            ' \',"id":{"b":2\'',
            id="nobody injects text",
        ),
        pytest.param(
            FunctionDefinition(parameters="{"),
            "$.parameters",
            "expected JSON text: $ (byte 1): expected a member name in double quotes, got the end"
            " of the text",
            id="raw",
        ),
        pytest.param(
            ChatCompletionRequest(stop=Stop(sequence="a", sequences=["b"])),
            "$.stop",
            "expected one value, but sequences is set in addition to another",
            id="two values of a union",
        ),
        pytest.param(
            Choice(residue=Residue(empty_fields=[1])),
            "$",
            "empty_fields names index, which is not a list or a map",
            id="an empty scalar",
        ),
    ],
)
def test_messages_that_stand_for_no_json(message: Message, path: str, reason: str) -> None:
    with pytest.raises(chatpb.ConversionError) as error:
        chatpb.to_json(message)
    assert (path, reason) == (error.value.path, error.value.reason)


def test_binary_that_is_no_message() -> None:
    with pytest.raises(chatpb.ConversionError) as error:
        chatpb.binary_to_json(b"\x0a\xff")
    assert str(error.value) == "$: not the binary form of a chatpb.v1.ChatCompletion"


def test_a_message_without_a_mapping() -> None:
    with pytest.raises(TypeError, match=r"chatpb\.v1\.Residue is neither"):
        chatpb.to_json(Residue())


def test_residue_lists_what_the_typed_fields_cannot_say() -> None:
    completion = chatpb.from_dict(
        {
            "id": "x",
            "object": "chat.completion",
            "created": 1,
            "model": None,
            "choices": [{"index": 0, "logprobs": None, "finish_reason": "eos", "message": {}}],
            "metadata": {},
            "a b": 1.5,
            "system_fingerprint": None,
        }
    )
    assert [
        chatpb.ResidueMember("$.model", "null"),
        chatpb.ResidueMember("$.metadata", "empty", {}),
        chatpb.ResidueMember("$['a b']", "extra", 1.5),
        chatpb.ResidueMember("$.choices[0].finish_reason", "extra", "eos"),
        chatpb.ResidueMember("$.choices[0].message.role", "absent"),
        chatpb.ResidueMember("$.choices[0].message.content", "absent"),
        chatpb.ResidueMember("$.choices[0].message.refusal", "absent"),
        chatpb.ResidueMember("$.choices[0].message.annotations", "absent"),
    ] == chatpb.residue(completion)
    assert chatpb.residue(ChatCompletion(id="x", choices=[Choice()])) == []


def test_threads_may_begin_at_once() -> None:
    """The mapping of a type is compiled at its first use, whoever else is using it."""
    code = """
import sys, threading
import chatpb
sys.setswitchinterval(1e-6)
text = b'{"id":"x","choices":[{"index":0,"message":{"content":"hi"},"finish_reason":"stop"}]}'
start, results = threading.Barrier(8), []
def run():
    start.wait()
    message = chatpb.from_json(text)
    results.append((message.choices[0].message.content, chatpb.to_json(message)))
threads = [threading.Thread(target=run) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(len(results), len(set(results)), results[0][0])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "8 1 hi\n" == done.stdout
