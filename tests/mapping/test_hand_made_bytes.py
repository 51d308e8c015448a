"""Bytes that were worked out by hand from the field numbers, so that swapped numbers are seen.

Golden files come from the code that they test. These do not: a key is ``number << 3 | wire type``,
where the wire type is 0 for integers, 1 for doubles, and 2 for what has a length.
"""

from __future__ import annotations

import pytest
from google.protobuf.message import Message

from chatpb import binary_to_json, json_to_binary, v1
from support.equality import exact

# Members that an unset field stands for, which leave no bytes.
COMPLETION = '"object":"chat.completion","choices":[]'
MESSAGE = '"role":"assistant","refusal":null,"annotations":[]'


def row(message_type: type[Message], text: str, data: bytes, name: str) -> object:
    return pytest.param(message_type, text, data, id=name)


ROWS = [
    row(
        v1.ChatCompletion,
        f'{{"id":"x","created":1,"model":"m","service_tier":"priority","system_fingerprint":"fp",'
        f"{COMPLETION}}}",
        b"\x0a\x01x\x18\x01\x22\x01m\x38\x05\x42\x02fp",
        "completion",
    ),
    row(
        v1.ChatCompletion,
        '{"id":"","object":"o","created":0,"model":"","choices":[{"index":1,"message":'
        f'{{"content":"hi",{MESSAGE}}},"logprobs":null,"finish_reason":"tool_calls"}}],'
        '"system_fingerprint":null}',
        b"\x12\x01o\x2a\x0a\x08\x01\x12\x04\x12\x02hi\x20\x03",
        "choice",
    ),
    row(
        v1.ChatCompletion,
        '{"id":"","created":0,"model":"","system_fingerprint":null,"request_id":"r","seed":2,'
        f'"top_p":0.5,{COMPLETION}}}',
        b"\xa2\x06\x01r\xb0\x06\x02\xb9\x06\x00\x00\x00\x00\x00\x00\xe0\x3f",
        "de facto members, from number 100",
    ),
    row(
        v1.ChatCompletionMessage,
        '{"role":"assistant","content":null,"refusal":"no","annotations":[],'
        '"reasoning_content":"r","reasoning":"s"}',
        b"\x1a\x02no\xa2\x06\x01r\xaa\x06\x01s",
        "refusal and reasoning",
    ),
    row(
        v1.ChatCompletionMessage,
        f'{{"content":"","tool_calls":[],{MESSAGE}}}',
        b"\x12\x00\x7a\x03\x1a\x01\x05",
        "residue: empty",
    ),
    row(
        v1.ChatCompletionMessage,
        '{"role":"assistant","content":"a"}',
        b"\x12\x01a\x7a\x04\x12\x02\x03\x04",
        "residue: absent",
    ),
    row(
        v1.ChatCompletionMessage,
        f'{{"content":null,"audio":null,"tool_calls":null,"reasoning":null,{MESSAGE}}}',
        b"\x7a\x05\x0a\x03\x05\x07\x65",
        "residue: null, ascending",
    ),
    row(
        v1.ChatCompletionMessage,
        f'{{"content":null, {MESSAGE}, "a": 1}}',
        b'\x7a\x09\x22\x07{"a":1}',
        "residue: extra",
    ),
    row(
        v1.ChatCompletionTokenLogprob,
        '{"token":"a","logprob":-0.5,"bytes":[97],"top_logprobs":[]}',
        b"\x0a\x01a\x11\x00\x00\x00\x00\x00\x00\xe0\xbf",
        "token",
    ),
    row(
        v1.ChatCompletionTokenLogprob,
        '{"token":"","logprob":0.0,"bytes":[240,159],"top_logprobs":'
        '[{"token":"b","logprob":-0.0,"bytes":null}]}',
        b"\x1a\x02\xf0\x9f"
        b"\x22\x11\x0a\x01b\x11\x00\x00\x00\x00\x00\x00\x00\x80\x7a\x03\x0a\x01\x03",
        "token of a part of a character, minus zero, null",
    ),
    row(
        v1.CompletionUsage,
        '{"prompt_tokens":3,"completion_tokens":5,"total_tokens":300,"prompt_tokens_details":'
        '{"cached_tokens":2,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":1,'
        '"audio_tokens":4,"accepted_prediction_tokens":6,"rejected_prediction_tokens":7}}',
        b"\x08\x03\x10\x05\x18\xac\x02\x22\x02\x08\x02\x2a\x08\x08\x01\x10\x04\x18\x06\x20\x07",
        "usage",
    ),
    row(
        v1.ToolCall,
        '{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}',
        b"\x08\x00\x12\x01c\x18\x01\x22\x07\x0a\x01f\x12\x02{}",
        "call of a function",
    ),
    row(
        v1.ToolCall,
        '{"id":"c","type":"custom","custom":{"name":"f","input":"i"}}',
        b"\x12\x01c\x18\x02\x2a\x06\x0a\x01f\x12\x01i",
        "call of a custom tool",
    ),
    row(
        v1.ChatCompletionAudio,
        '{"id":"a","data":"AP8=","transcript":"t","expires_at":1}',
        b"\x0a\x01a\x12\x02\x00\xff\x1a\x01t\x20\x01",
        "audio",
    ),
    row(
        v1.UrlCitation,
        '{"end_index":2,"start_index":1,"title":"t","url":"u"}',
        b"\x08\x02\x10\x01\x1a\x01t\x22\x01u",
        "citation",
    ),
    row(
        v1.ChatCompletionChunk,
        '{"id":"x","object":"chat.completion.chunk","created":0,"model":"",'
        '"system_fingerprint":null,"obfuscation":"o","choices":[{"index":0,"delta":'
        '{"role":"assistant","content":"h"},"logprobs":null,"finish_reason":null},'
        '{"index":0,"delta":{},"logprobs":null,"finish_reason":"length"}]}',
        b"\x0a\x01x\x2a\x07\x12\x05\x08\x04\x12\x01h\x2a\x02\x20\x02\x4a\x01o",
        "chunk",
    ),
    row(
        v1.ModerationResult,
        '{"type":"moderation_result","flagged":false,"category_scores":{"x":0.5},'
        '"category_applied_input_types":{"x":["image","text"]}}',
        b"\x18\x00"
        b"\x2a\x0c\x0a\x01x\x11\x00\x00\x00\x00\x00\x00\xe0\x3f"
        b"\x32\x09\x0a\x01x\x12\x04\x0a\x02\x02\x01",
        "maps",
    ),
    row(
        v1.ChatCompletionUpdate,
        '{"metadata":{"b":"","ab":"","a":"1","":"2"}}',
        b"\x0a\x05\x0a\x00\x12\x012"
        b"\x0a\x06\x0a\x01a\x12\x011"
        b"\x0a\x06\x0a\x02ab\x12\x00"
        b"\x0a\x05\x0a\x01b\x12\x00",
        "map entries in the order of their keys, a prefix first",
    ),
    row(
        v1.ChatCompletionRequest,
        '{"model":"m","messages":[{"role":"user","content":"hi"}],"temperature":0,"n":2,'
        '"stream":true,"seed":-1}',
        b"\x0a\x01m"
        b"\x12\x08\x08\x03\x12\x04\x0a\x02hi"
        b"\x49\x00\x00\x00\x00\x00\x00\x00\x00"
        b"\x58\x02"
        b"\x68\x01"
        b"\xa8\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        "request",
    ),
    row(
        v1.ChatCompletionRequest,
        '{"logit_bias":{"7":1},"modalities":["audio","text"],"reasoning_effort":"xhigh"}',
        b"\x92\x01\x05\x0a\x017\x10\x01\xb0\x01\x06\xc2\x01\x02\x02\x01",
        "request: map, enum, list of enums",
    ),
    row(
        v1.ChatCompletionRequest,
        '{"messages":[{"content":[{"type":"text","text":"a"},{"type":"image_url",'
        '"image_url":{"url":"u","detail":"low"}}]},{"content":[]}]}',
        b"\x12\x14\x12\x12"
        b"\x12\x05\x08\x01\x12\x01a"
        b"\x12\x09\x08\x02\x1a\x05\x0a\x01u\x10\x02"
        b"\x12\x02\x12\x00",
        "request: content parts",
    ),
    row(v1.ChatCompletionRequest, '{"stop":"x"}', b"\x62\x03\x0a\x01x", "stop: a string"),
    row(v1.ChatCompletionRequest, '{"stop":["x"]}', b"\x62\x03\x12\x01x", "stop: a list"),
    row(v1.ChatCompletionRequest, '{"stop":[]}', b"\x62\x00", "stop: an empty list"),
    row(
        v1.ChatCompletionRequest,
        '{"tool_choice":"auto","function_call":"none"}',
        b"\x22\x02\x08\x02\xaa\x02\x02\x08\x01",
        "tool choice: a word",
    ),
    row(
        v1.ChatCompletionRequest,
        '{"tool_choice":{"type":"function","function":{"name":"f"}}}',
        b"\x22\x09\x12\x07\x08\x02\x1a\x03\x0a\x01f",
        "tool choice: an object",
    ),
    row(
        v1.FunctionDefinition,
        '{"name":"f","parameters":{"b": 1E2, "a": {}},"strict":true}',
        b'\x0a\x01f\x1a\x10{"b":1E2,"a":{}}\x20\x01',
        "free JSON",
    ),
    row(
        v1.ErrorResponse,
        '{"error":{"message":"m","type":"t","param":"p","code":"c"}}',
        b"\x0a\x0c\x0a\x01m\x12\x01t\x1a\x01p\x22\x01c",
        "error",
    ),
    row(
        v1.ChatCompletionStoreMessage,
        '{"id":"i","role":"user","content":"c","name":"n","content_parts":null}',
        b"\x0a\x01i\x10\x03\x1a\x01c\xa2\x06\x01n",
        "stored message",
    ),
    row(
        v1.ChatCompletionDeleted,
        '{"object":"chat.completion.deleted","id":"i","deleted":true}',
        b"\x12\x01i\x18\x01",
        "deletion",
    ),
    row(
        v1.ChatCompletionList,
        '{"object":"list","data":[],"first_id":"f","last_id":"l","has_more":true}',
        b"\x1a\x01f\x22\x01l\x28\x01",
        "page",
    ),
]


@pytest.mark.parametrize(("message_type", "text", "data"), ROWS)
def test_json_and_bytes_are_one_message(
    message_type: type[Message], text: str, data: bytes
) -> None:
    assert data == json_to_binary(text, message_type)
    assert exact(text) == exact(binary_to_json(data, message_type))


@pytest.mark.parametrize(
    ("message", "data"),
    [
        pytest.param(
            v1.CreateChatCompletionRequest(request=v1.ChatCompletionRequest(model="m")),
            b"\x0a\x03\x0a\x01m",
            id="request for an answer",
        ),
        pytest.param(
            v1.CreateChatCompletionResponse(completion=v1.ChatCompletion(id="x")),
            b"\x0a\x03\x0a\x01x",
            id="answer",
        ),
        pytest.param(
            v1.StreamChatCompletionRequest(request=v1.ChatCompletionRequest(stream=False)),
            b"\x0a\x02\x68\x00",
            id="request for a stream",
        ),
        pytest.param(
            v1.StreamChatCompletionRequest(compact=True),
            b"\x10\x01",
            id="request for a compact stream",
        ),
        pytest.param(
            v1.StreamChatCompletionResponse(
                chunks=[v1.ChatCompletionChunk(), v1.ChatCompletionChunk(id="x")]
            ),
            b"\x0a\x00\x0a\x03\x0a\x01x",
            id="piece of a stream",
        ),
        pytest.param(
            v1.StreamChatCompletionResponse(
                chunks=[v1.ChatCompletionChunk(id="x")], compact_chunks=[v1.ChatCompletionChunk()]
            ),
            b"\x0a\x03\x0a\x01x\x12\x00",
            id="piece of a compact stream",
        ),
        pytest.param(v1.ListModelsRequest(), b"", id="request for all models"),
        pytest.param(
            v1.ListModelsResponse(models=v1.ModelList(data=[v1.Model(id="x")])),
            b"\x0a\x05\x12\x03\x0a\x01x",
            id="all models",
        ),
        pytest.param(v1.GetModelRequest(model="x"), b"\x0a\x01x", id="request for a model"),
        pytest.param(
            v1.GetModelResponse(model=v1.Model(id="x")), b"\x0a\x03\x0a\x01x", id="a model"
        ),
    ],
)
def test_envelopes_of_the_service(message: Message, data: bytes) -> None:
    """They have no JSON form."""
    assert data == message.SerializeToString(deterministic=True)
    assert type(message).FromString(data) == message
