"""What callers get of a stored completion: all that was answered, and what was asked."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given

from chatpb import binary_to_json, json_to_binary
from chatpb._mapping.schema import mapping_of
from chatpb._mapping.text import parse
from chatpb.v1 import (
    ChatCompletion,
    ChatCompletionMessageParam,
    ChatCompletionRequest,
    ChatCompletionStoreMessage,
    CompletionRecord,
    options_pb2,
)
from chatpb_server.core.stored_contents import (
    changed_fields,
    messages_in,
    parts_of,
    put_together,
    stored_message,
)
from support.strategies import json_objects

#: By the names of the fields of a completion, those of the request whose values they have.
STORED_FROM = {
    field.name: field.GetOptions().Extensions[options_pb2.stored_from]
    for field in ChatCompletion.DESCRIPTOR.fields
    if field.GetOptions().HasExtension(options_pb2.stored_from)
}


def record(answer: bytes, asked: bytes, call_id: str | None = None) -> bytes:
    whole = CompletionRecord(call_id=call_id)
    whole.completion.ParseFromString(json_to_binary(answer, ChatCompletion))
    whole.request.ParseFromString(json_to_binary(asked, ChatCompletionRequest))
    return whole.SerializeToString(deterministic=True)


def read(data: bytes, kind: Any) -> Any:
    return parse(binary_to_json(data, kind))


@given(
    json_objects(mapping_of(ChatCompletion), 2), json_objects(mapping_of(ChatCompletionRequest), 2)
)
def test_a_completion_keeps_all_that_was_answered(answer: Any, asked: Any) -> None:
    answer, asked = json.dumps(answer).encode(), json.dumps(asked).encode()
    stored = record(answer, asked, "call")
    parts = parts_of(stored)
    found = put_together(parts, changed_fields(parts, "c", {"k": "v"}))
    expected = read(json_to_binary(answer, ChatCompletion), ChatCompletion)
    request = read(json_to_binary(asked, ChatCompletionRequest), ChatCompletionRequest)
    for name, source in STORED_FROM.items():
        if source in request:
            expected.setdefault(name, request[source])
    expected |= {"id": "c", "metadata": {"k": "v"}}
    expected.setdefault("request_id", "call")
    assert expected == read(found, ChatCompletion)
    whole = ChatCompletion.FromString(found)
    assert whole.SerializeToString(deterministic=True) == found or len(whole.metadata) > 1


@given(json_objects(mapping_of(ChatCompletionMessageParam)))
def test_a_message_keeps_all_that_was_asked(message: Any) -> None:
    message = json.dumps(message).encode()
    asked = b'{"messages":[%s]}' % message
    [(message_id, data)] = messages_in(record(b"{}", asked), "c").items()
    expected = read(json_to_binary(message, ChatCompletionMessageParam), ChatCompletionMessageParam)
    content = expected.pop("content", None)
    expected["content_parts" if isinstance(content, list) else "content"] = content
    expected |= {"id": message_id}
    for name in ("content", "name", "content_parts"):
        expected.setdefault(name, None)
    assert expected == read(stored_message(data, message_id), ChatCompletionStoreMessage)


def test_numbers_keep_their_spelling() -> None:
    asked = b'{"temperature":1e999,"messages":[{"role":"user","x":1.50}]}'
    stored = record(b'{"x":-0.0,"seed":1.0}', asked)
    parts = parts_of(stored)
    found = binary_to_json(put_together(parts, changed_fields(parts, "c", {})), ChatCompletion)
    assert {"x": "-0.0", "seed": "1.0", "temperature": "1e999"} == {
        name: text
        for name, text in json.loads(found, parse_float=str).items()
        if name in {"x", "seed", "temperature"}
    }
    [data] = messages_in(stored, "c").values()
    assert b'"x":1.50' in binary_to_json(stored_message(data, "c-0"), ChatCompletionStoreMessage)
