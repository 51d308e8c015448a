"""The outermost fields of messages in binary form, against the runtime that knows the messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatpb._wire import Span, WireError, embedded, flag, is_true, joined, spans, without
from chatpb.v1.chat_completion_request_pb2 import ChatCompletionRequest
from chatpb.v1.chat_completion_service_pb2 import (
    CreateChatCompletionRequest,
    StreamChatCompletionResponse,
)

MODEL = ChatCompletionRequest.MODEL_FIELD_NUMBER
STREAM = ChatCompletionRequest.STREAM_FIELD_NUMBER


def test_spans_of_each_wire_type() -> None:
    data = b"\x08\x96\x01" + b"\x11" + b"x" * 8 + b"\x1a\x02ab" + b"\x25" + b"y" * 4
    expected = [Span(1, 0, 1, 3), Span(2, 3, 4, 12), Span(3, 12, 14, 16), Span(4, 16, 17, 21)]
    assert expected == list(spans(data))


@pytest.mark.parametrize(
    "data",
    [
        b"\x08",
        b"\x0a\x02a",
        b"\x11abc",
        b"\x0b",  # a group
        b"\x0f",
        b"\x00\x00",  # no number
        b"\x08" + b"\xff" * 10 + b"\x01",
        b"\x0a" + b"\xff" * 9 + b"\x01",
    ],
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        list(spans(data))


@given(st.binary(max_size=60))
def test_spans_are_whole_or_refused(data: bytes) -> None:
    try:
        found = list(spans(data))
    except WireError:
        return
    assert data == b"".join(data[span.start : span.end] for span in found)


def test_a_message_in_pieces_is_joined() -> None:
    pieces = [ChatCompletionRequest(model="m"), ChatCompletionRequest(n=2)]
    data = b"".join(
        CreateChatCompletionRequest(request=piece).SerializeToString() for piece in pieces
    )
    request = joined(data, CreateChatCompletionRequest.REQUEST_FIELD_NUMBER)
    assert ChatCompletionRequest(model="m", n=2) == ChatCompletionRequest.FromString(request)
    assert b"" == joined(b"", 1)


def test_a_field_is_taken_out_and_put_in() -> None:
    request = ChatCompletionRequest(model="m", stream=True, n=2)
    data = without(request.SerializeToString(), STREAM)
    assert ChatCompletionRequest(model="m", n=2) == ChatCompletionRequest.FromString(data)
    assert request == ChatCompletionRequest.FromString(data + flag(STREAM))


def test_a_flag_is_read() -> None:
    assert not is_true(b"", STREAM)
    assert is_true(flag(STREAM), STREAM)
    assert not is_true(flag(STREAM) + flag(STREAM, False), STREAM)
    assert not is_true(flag(STREAM), MODEL)


@given(st.lists(st.text(max_size=300), max_size=5))
def test_embedded_messages_are_those_of_the_runtime(ids: list[str]) -> None:
    response = StreamChatCompletionResponse()
    for text in ids:
        response.chunks.add(id=text)
    chunks = [chunk.SerializeToString() for chunk in response.chunks]
    number = StreamChatCompletionResponse.CHUNKS_FIELD_NUMBER
    assert response.SerializeToString() == embedded(number, chunks)
