"""Messages without their contents: what stays is what the schema marks as metadata."""

from __future__ import annotations

from typing import Any

import pytest

from chatpb import from_dict, to_dict
from chatpb._metadata import MOST_BYTES, is_metadata, without_contents
from chatpb._wire import embedded
from chatpb.v1.chat_completion_chunk_pb2 import ChatCompletionChunk
from chatpb.v1.chat_completion_pb2 import ChatCompletion
from chatpb.v1.chat_completion_request_pb2 import ChatCompletionRequest
from chatpb.v1.completion_record_pb2 import CompletionRecord
from support.build import COMPLETION

SECRET = "violet-canary"
KINDS = [ChatCompletionRequest, ChatCompletion, ChatCompletionChunk, CompletionRecord]


def fill(message: Any, depth: int = 0) -> None:
    """Sets every field: texts that are content to the secret, the others to a word."""
    for field in message.DESCRIPTOR.fields:
        is_list = field.is_repeated
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type is None:
                values = getattr(message, field.name)
                text = "label" if is_metadata(field) else SECRET
                is_text = field.message_type.fields_by_name["value"].type == field.TYPE_STRING
                values[text] = text if is_text else 1
        elif field.message_type is not None:
            if depth < 8:
                inner = getattr(message, field.name)
                inner.SetInParent() if not is_list else None
                fill(inner.add() if is_list else inner, depth + 1)
        else:
            text = "word" if is_metadata(field) else SECRET
            value: Any = {field.TYPE_STRING: text, field.TYPE_BYTES: SECRET.encode()}.get(
                field.type, 1
            )
            if is_list:
                getattr(message, field.name).append(value)
            else:
                setattr(message, field.name, value)


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_stays_that_is_not_marked(kind: Any) -> None:
    message = kind()
    fill(message)
    data = message.SerializeToString()
    assert SECRET.encode() in data
    reduced = without_contents(data, kind)
    assert SECRET.encode() not in reduced
    assert b"word" in reduced
    assert kind.FromString(reduced).SerializeToString(deterministic=True) == reduced
    assert reduced == without_contents(reduced, kind)


def test_what_stays_of_a_request() -> None:
    asked = {
        "model": "m",
        "messages": [
            {"role": "system", "content": SECRET},
            {"role": "user", "content": [{"type": "text", "text": SECRET}]},
        ],
        "tools": [{"type": "function", "function": {"name": SECRET}}],
        "temperature": 0,
        "user": SECRET,
        "unknown": SECRET,
    }
    data = from_dict(asked, ChatCompletionRequest).SerializeToString()
    reduced = ChatCompletionRequest.FromString(without_contents(data, ChatCompletionRequest))
    assert to_dict(reduced) == {
        "model": "m",
        "messages": [
            {"role": "system", "content": []},
            {"role": "user", "content": [{"type": "text"}]},
        ],
        "tools": [{"type": "function"}],
        "temperature": 0,
    }


def test_what_stays_of_a_completion() -> None:
    data = from_dict(COMPLETION).SerializeToString()
    reduced = to_dict(ChatCompletion.FromString(without_contents(data, ChatCompletion)))
    [choice] = reduced["choices"]
    assert {"role": "assistant", "content": None, "refusal": None, "annotations": []} == choice[
        "message"
    ]
    for name in ("id", "model", "created", "usage"):
        assert COMPLETION.get(name) == reduced.get(name)


def test_large_messages_are_reduced_in_pieces() -> None:
    record = CompletionRecord(caller="me", chunk_times_us=range(20_000))
    record.request.model = "m"
    for _ in range(2_000):
        record.request.messages.add().content.text = SECRET
    record.request.messages.add().content.text = SECRET * 10_000
    record.request.messages.add().content.parts.add().text = SECRET * 10_000
    for _ in range(3_000):
        record.chunks.add(id="i").choices.add().delta.content = SECRET
    record.completion.choices.add().message.content = SECRET * 10_000
    data = record.SerializeToString(deterministic=True)
    reduced = without_contents(data, CompletionRecord)
    assert SECRET.encode() not in reduced
    read = CompletionRecord.FromString(reduced)
    assert (2_002, 3_000, 20_000, 1, "me", "m") == (
        len(read.request.messages),
        len(read.chunks),
        len(read.chunk_times_us),
        len(read.completion.choices),
        read.caller,
        read.request.model,
    )
    assert read.SerializeToString(deterministic=True) == reduced


@pytest.mark.parametrize("times", [1, 100_000])
def test_what_no_schema_knows_is_content(times: int) -> None:
    data = embedded(19_999, [SECRET.encode()] * times) + b"\x0a\x01m"
    assert without_contents(data, ChatCompletionRequest) == b"\x0a\x01m"


@pytest.mark.parametrize("size", [MOST_BYTES, MOST_BYTES + 1, 100_000])
def test_long_texts_are_content_in_marked_fields_too(size: int) -> None:
    data = ChatCompletionRequest(model="é" + "m" * (size - 2), n=1).SerializeToString()
    reduced = ChatCompletionRequest.FromString(without_contents(data, ChatCompletionRequest))
    assert (size <= MOST_BYTES, 1) == (reduced.HasField("model"), reduced.n)


@pytest.mark.parametrize("size", [0, 20_000])
def test_what_is_no_message_is_content(size: int) -> None:
    whole = embedded(ChatCompletionRequest.MESSAGES_FIELD_NUMBER, [b"\x0a\xff" + b"x" * size])
    for data in (whole, whole[:-1], b"\xff" * (size + 1), SECRET.encode() * (size + 1)):
        reduced = without_contents(data, ChatCompletionRequest)
        assert SECRET.encode() not in reduced
        ChatCompletionRequest.FromString(reduced)


@pytest.mark.parametrize("times", [1, 10_000])
def test_numbers_of_a_request_spell_nothing(times: int) -> None:
    data = embedded(ChatCompletionRequest.MODALITIES_FIELD_NUMBER, [SECRET.encode() * times])
    assert SECRET.encode() not in without_contents(data, ChatCompletionRequest)
