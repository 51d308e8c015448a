"""How the command line recognises formats and kinds."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatpb._cli.failure import CliError
from chatpb._cli.reading.delimited import read_delimited
from chatpb._cli.reading.kinds import converted, kind_named, label, recognise
from chatpb._cli.reading.sniff import Format
from chatpb._cli.reading.source import Source
from chatpb._errors import ConversionError
from chatpb._mapping.convert import json_to_binary
from chatpb._mapping.schema import mapping_of
from chatpb._wire import delimited
from chatpb.v1 import ChatCompletion, ChatCompletionChunk, ChatCompletionList, ToolCall
from support.strategies import json_objects

DELTA = {"index": 0, "delta": {"content": "x"}}
MESSAGE = {"index": 0, "message": {"content": "x"}}
BOTH = DELTA | MESSAGE


@pytest.mark.parametrize(
    ("value", "in_stream", "expected"),
    [
        pytest.param({"object": "chat.completion"}, False, "completion", id="word"),
        pytest.param({"object": "chat.completion.chunk"}, False, "chunk", id="word-chunk"),
        pytest.param({"object": "chat.completion.deleted"}, False, "deleted", id="word-deleted"),
        pytest.param({"object": "model", "id": "m"}, False, "model", id="word-model"),
        pytest.param(
            {"object": "list", "data": [{"object": "model"}]}, False, "models", id="models"
        ),
        pytest.param({"object": "list", "data": []}, False, "list", id="empty-list"),
        pytest.param({"object": "list", "data": [{"choices": []}]}, False, "list", id="list"),
        pytest.param(
            {"object": "list", "data": [{"id": "m", "content_parts": None}]},
            False,
            "messages",
            id="messages",
        ),
        pytest.param({"object": "list", "data": [1]}, False, "messages", id="strange-list"),
        pytest.param(
            {"object": "chat.completion", "choices": [BOTH]}, True, "chunk", id="misnamed-chunk"
        ),
        pytest.param(
            {"object": "chat.completion", "choices": [BOTH]}, False, "completion", id="both"
        ),
        pytest.param({"choices": [DELTA]}, False, "chunk", id="delta"),
        pytest.param({"choices": [MESSAGE]}, True, "completion", id="message-in-stream"),
        pytest.param({"choices": []}, True, "chunk", id="no-choice-in-stream"),
        pytest.param({"choices": []}, False, "completion", id="no-choice"),
        pytest.param({"choices": 3}, False, "completion", id="choices-no-list"),
        pytest.param({"error": {"message": "x"}}, True, "error", id="error-event"),
        pytest.param({"error": "x", "choices": None}, False, "error", id="error-null-choices"),
        pytest.param({"error": {}, "choices": [DELTA]}, True, "chunk", id="error-in-chunk"),
        pytest.param({"object": "error", "message": "x"}, False, "error", id="flat"),
        pytest.param({"detail": [{"msg": "x"}]}, False, "error", id="detail"),
        pytest.param({"model": "m", "message": {}}, False, "completion", id="no-flat-error"),
        pytest.param({"message": "x", "request_id": "r"}, False, "error", id="message-only"),
        pytest.param({"model": "m", "messages": []}, True, "request", id="request"),
        pytest.param({"usage": {}}, True, "chunk", id="unknown-in-stream"),
        pytest.param({"usage": {}}, False, "completion", id="unknown"),
        pytest.param([1], False, "completion", id="no-object"),
    ],
)
def test_recognises_kind(value: Any, in_stream: bool, expected: str) -> None:
    assert expected == label(recognise(json.dumps(value).encode(), in_stream=in_stream))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.request.json", "request"), ("a.error.json", "error"), ("a.json", "completion")],
)
def test_recognises_kind_by_name(name: str, expected: str) -> None:
    assert expected == label(recognise(b"{}", name))


def test_recognises_kind_of_what_orjson_refuses() -> None:
    assert label(recognise(b'\xef\xbb\xbf{"messages":[NaN,"\\ud83d",1e999]}')) == "request"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param('event: error\ndata: {"code":1}', "error", id="by the event's name"),
        pytest.param('event: message\ndata: {"code":1}', "chunk", id="by another name"),
        pytest.param('data: {"detail":"no"}', "error", id="detail"),
        pytest.param('data: {"id":"a","detail":"no"}', "chunk", id="not alone"),
    ],
)
def test_the_event_decides(text: str, expected: str) -> None:
    source = Source("x.sse", io.BytesIO(f"{text}\n\n".encode()))
    assert [expected] == [label(record.kind(ChatCompletion)) for record in source.records()]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("chunk", ChatCompletionChunk),
        ("ChatCompletionList", ChatCompletionList),
        ("chatpb.v1.ToolCall", ToolCall),
    ],
)
def test_names_of_kinds(name: str, expected: type) -> None:
    assert expected is kind_named(name)


@pytest.mark.parametrize("name", ["MessageContent", "CreateChatCompletionRequest", "Role", "x"])
def test_what_mirrors_no_object_is_no_kind(name: str) -> None:
    with pytest.raises(CliError, match="mirrors a JSON object"):
        kind_named(name)


COMPLETION = ChatCompletion(id="x" * 32, created=1).SerializeToString()
LONG = b'{"a":"' + b"x" * 200_000 + b'"}'


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    ("data", "expected", "records"),
    [
        pytest.param(b'{"a":1}', Format.JSON, [b'{"a":1}'], id="json"),
        pytest.param(b'\n\n {"a":\n1}\n', Format.JSON, [b'\n\n {"a":\n1}\n'], id="json-lines-in"),
        pytest.param(b'{"a":1}\n\n', Format.JSON, [b'{"a":1}\n\n'], id="one-line"),
        pytest.param(b'{"a":1}\n\n2', Format.JSONL, [b'{"a":1}', b"2"], id="jsonl"),
        pytest.param(b"\xef\xbb\xbf{}\r\n{}\r\n", Format.JSONL, [b"{}", b"{}"], id="jsonl-bom"),
        pytest.param(LONG + b"\n" + LONG, Format.JSONL, [LONG, LONG], id="jsonl-long"),
        pytest.param(b"[1]\n[2]", Format.JSONL, [b"[1]", b"[2]"], id="jsonl-arrays"),
        pytest.param(b"{\n}\n{\n}", Format.JSON, [b"{\n}\n{\n}"], id="two-values"),
        pytest.param(b"", Format.JSON, [b""], id="empty"),
        pytest.param(b" \n", Format.JSON, [b" \n"], id="blank"),
        pytest.param(b"word", Format.JSON, [b"word"], id="word"),
        pytest.param(b"data: {}\n\n", Format.SSE, [b"{}"], id="sse"),
        pytest.param(b": hello\r\n\r\ndata:{}\r\n\r\n", Format.SSE, [b"{}"], id="sse-comment"),
        pytest.param(b"event: a\ndata: {}", Format.SSE, [b"{}"], id="sse-event"),
        pytest.param(b"data: [DONE]\n\n", Format.SSE, [], id="sse-done"),
        pytest.param(b"data\n\ndata: : ping\n\ndata: 1\n\n", Format.SSE, [b"1"], id="sse-empty"),
        pytest.param(COMPLETION, Format.BINARY, [COMPLETION], id="binary-begins-with-spaces"),
        pytest.param(b"\x80{}", Format.BINARY, [b"\x80{}"], id="not-utf8"),
        pytest.param('{"ä":1}'.encode(), Format.JSON, ['{"ä":1}'.encode()], id="utf8"),
    ],
)
def test_finds_format_and_records(
    data: bytes, expected: Format, records: list[bytes], step: int
) -> None:
    """However the bytes arrive."""
    if step == 1 and len(data) > 1000:
        step = 1000
    source = Source("<stdin>", _Slow(data, step))
    assert expected == source.format
    assert records == [record.data for record in source.records()]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.jsonl", Format.JSONL), ("a.ndjson", Format.JSONL), ("a.sse", Format.SSE)],
)
def test_ending_tells_format(name: str, expected: Format) -> None:
    assert expected == Source(name, io.BytesIO(b"{}")).format


def test_places() -> None:
    lines = Source("a.jsonl", io.BytesIO(b"\n{}\n\n{}"))
    assert [record.place for record in lines.records()] == ["a.jsonl:2", "a.jsonl:4"]
    events = Source("a.sse", io.BytesIO(b":\n\ndata: {}\n\ndata: [DONE]\n\ndata: 1"))
    assert [record.place for record in events.records()] == ["a.sse:event 1", "a.sse:event 3"]


@pytest.mark.parametrize("form", [Format.JSON, Format.JSONL, Format.SSE, Format.DELIMITED])
def test_records_are_bounded(form: Format) -> None:
    data = delimited(b"x" * 101) if form is Format.DELIMITED else b"data: " + b"x" * 101
    source = Source("a", io.BytesIO(data), form, limit=100)
    with pytest.raises(CliError, match=r"^a(:1)?: .*100"):
        list(source.records())


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 300_000])
def test_delimited_messages(size: int) -> None:
    data = delimited(b"x" * size)
    stream = io.BufferedReader(io.BytesIO(data + data))
    found = list(read_delimited(stream, size))
    assert [(0, b"x" * size), (len(data), b"x" * size)] == found


@pytest.mark.parametrize(
    ("data", "reason", "offset"),
    [
        pytest.param(b"\x01a\x80", "within the length", 2, id="length"),
        pytest.param(b"\x01a\x03ab", "within a message: 2 of 3 bytes", 2, id="message"),
        pytest.param(b"\xff" * 9, "not the length", 0, id="no-length"),
        pytest.param(b"\xff\xff\xff\xff\x0f", "4294967295 bytes", 0, id="too-long"),
    ],
)
def test_delimited_faults(data: bytes, reason: str, offset: int) -> None:
    with pytest.raises(ConversionError, match=reason) as caught:
        list(read_delimited(io.BytesIO(data), 1 << 20))
    assert offset == caught.value.offset


class _Slow:
    """A stream that gives a few bytes at a time."""

    def __init__(self, data: bytes, step: int) -> None:
        self._stream = io.BytesIO(data)
        self._step = step

    def read1(self, size: int = -1, /) -> bytes:
        return self._stream.read1(min(size, self._step))


@given(
    members=st.one_of(
        json_objects(mapping_of(ChatCompletion)), json_objects(mapping_of(ChatCompletionChunk))
    ),
    others=st.dictionaries(
        st.sampled_from(["object", "choices", "error", "messages", "data", "x"]),
        st.sampled_from(["chat.completion", "list", None, [DELTA], [MESSAGE], [BOTH], {}, []]),
    ),
)
def test_kinds_that_the_conversion_proves(members: dict[str, Any], others: dict[str, Any]) -> None:
    for value in (members, others, members | others, {"object": "chat.completion"} | others):
        text = json.dumps(value).encode()
        found = converted(text)
        if found is not None:
            kind, binary, stream = found
            assert json_to_binary(text, kind) == binary
            if kind is ChatCompletionChunk:
                assert ChatCompletionChunk.FromString(binary).id == stream
            for in_stream in (False, True) if kind is ChatCompletion else (True,):
                assert recognise(text, in_stream=in_stream) is kind


def test_usual_kinds_are_proved() -> None:
    for completion in (
        b'{"object":"chat.completion","choices":[{"message":{}}]}',
        b'{"x":1,"object":"chat.completion"}',
    ):
        assert (ChatCompletion, json_to_binary(completion), "") == converted(completion)
    chunk = json.dumps({"id": "a", "choices": [DELTA]}).encode()
    assert (ChatCompletionChunk, json_to_binary(chunk, ChatCompletionChunk), "a") == converted(
        chunk
    )


@pytest.mark.parametrize(
    ("beginning", "repeated"),
    [(b"", b"["), (b" ", b'{"\xc3\xa4":'), (b'{"a":\n', b"["), (b'["\\"]",', b"[1,")],
)
def test_json_that_nests_too_deeply_is_not_read_to_its_end(
    beginning: bytes, repeated: bytes
) -> None:
    stream = io.BytesIO(beginning + repeated * 1_000_000)
    source = Source("a.json", stream)
    assert source.format is Format.JSON
    with pytest.raises(
        CliError, match=r"^a\.json: \$.* \(byte \d+\): nested deeper than 200 levels"
    ):
        list(source.records())
    assert stream.tell() < 300_000


def test_json_with_brackets_in_texts_is_read() -> None:
    data = b'["' + b"[" * 1_000_000 + b'\xc3\xa4"]'
    [record] = Source("a.json", io.BytesIO(data)).records()
    assert data == record.data
