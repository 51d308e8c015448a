"""The event stream decoder, on what servers send and however the bytes arrive."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatpb import ConversionError, to_dict
from chatpb.sse import DONE, ChunkDecoder, Decoder, Event, event, is_error
from chatpb.v1 import ChatCompletionChunk, ErrorResponse

ROWS = [
    pytest.param(b"data: {}\n\ndata: [DONE]\n\n", [Event(b"{}"), Event(DONE)], id="openai"),
    pytest.param(
        b'data: {"a":1}\r\n\r\ndata: 2\r\n\r\n', [Event(b'{"a":1}'), Event(b"2")], id="crlf"
    ),
    pytest.param(b"data: 1\r\rdata: 2\r\r", [Event(b"1"), Event(b"2")], id="cr"),
    pytest.param(b"data:{}\n\n", [Event(b"{}")], id="no space"),
    pytest.param(b"data:  {}\n\n", [Event(b" {}")], id="only one space is cut"),
    pytest.param(b": OPENROUTER PROCESSING\n\ndata: 1\n\n: bye\n", [Event(b"1")], id="comments"),
    pytest.param(
        b"event: error\ndata: {}\n\ndata: 1\n\n", [Event(b"{}", "error"), Event(b"1")], id="name"
    ),
    pytest.param(b"data: 1\ndata: 2\n\n", [Event(b"1\n2")], id="two lines"),
    pytest.param(b"data: 1", [Event(b"1")], id="no line end at the end"),
    pytest.param(b"data: 1\n", [Event(b"1")], id="no blank line at the end"),
    pytest.param(
        b'data:{"a":1}\ndata:{"b":2}\ndata: [DONE]\n',
        [Event(b'{"a":1}'), Event(b'{"b":2}'), Event(DONE)],
        id="no blank lines between texts",
    ),
    pytest.param(b"data: {\ndata: }\n\n", [Event(b"{\n}")], id="one text on two lines"),
    pytest.param(b"data:\n\ndata: 1\n\n", [Event(b"1")], id="empty data"),
    pytest.param(b"\xef\xbb\xbfdata: 1\n\n", [Event(b"1")], id="bom"),
    pytest.param(b"id: 7\nretry: 1\nfoo\ndata: 1\n\n", [Event(b"1")], id="other fields"),
    pytest.param(b"", [], id="nothing"),
    pytest.param(b"data:\t[DONE]  \n\n", [Event(DONE)], id="white space around the end"),
    pytest.param(b"data:\ndata: [DONE]\n\n", [Event(DONE)], id="an empty line before the end"),
    pytest.param(
        b"data: : PROCESSING\n\ndata::\n\ndata: 1\n\n", [Event(b"1")], id="comments as data"
    ),
    pytest.param(
        b"event: error\ndata:  : ping\ndata: 1\n\n",
        [Event(b"1", "error")],
        id="a comment as data before a text",
    ),
    pytest.param(b'data: {"a"\ndata: : 1}\n\n', [Event(b'{"a"\n: 1}')], id="a colon within a text"),
    pytest.param(b"data: \t \n\ndata: 1\n\n", [Event(b"1")], id="blank data"),
    pytest.param(
        b'data: {"a":1} \ndata:\ndata:  {"b":2}\n\n',
        [Event(b'{"a":1} \n'), Event(b' {"b":2}')],
        id="white space between texts",
    ),
]


@pytest.mark.parametrize(("stream", "expected"), ROWS)
def test_events(stream: bytes, expected: list[Event]) -> None:
    whole = Decoder()
    assert expected == [*whole.feed(stream), *whole.close()]

    bytewise = Decoder()
    pieces = [item for i in range(len(stream)) for item in bytewise.feed(stream[i : i + 1])]
    assert expected == [*pieces, *bytewise.close()]


@pytest.mark.parametrize("data", [b"{}", b'{\n"a": [1,\n{}]}', DONE])
def test_an_event_holds_its_data(data: bytes) -> None:
    stream = event(data)
    assert [Event(data)] == Decoder().feed(stream)
    assert stream.endswith(b"\n\n")


@given(
    lines=st.lists(st.sampled_from([b"data: {}", b"data:1", b"event: e", b": c", b"", b"x"])),
    ends=st.lists(st.sampled_from([b"\n", b"\r\n", b"\r"])),
    cuts=st.lists(st.integers(0, 200)),
)
def test_any_split_gives_the_same_events(
    lines: list[bytes], ends: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(
        line + (ends[i % len(ends)] if ends else b"\n") for i, line in enumerate(lines)
    )
    whole, split = Decoder(), Decoder()
    bounds = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [
        event
        for start, end in itertools.pairwise(bounds)
        for event in split.feed(stream[start:end])
    ]
    assert [*whole.feed(stream), *whole.close()] == [*pieces, *split.close()]


@pytest.mark.parametrize(
    "line",
    [b"data: " + b"x" * 100, b"data: 1234567\n" * 20, b":" * 200, b"data:\n" * 200],
    ids=["long", "many lines", "comment", "empty lines"],
)
def test_an_endless_event_is_refused(line: bytes) -> None:
    decoder = Decoder(max_event_bytes=99)
    assert [Event(b"1")] == decoder.feed(b"data: 1\n\n" + line)
    for _ in range(2):
        with pytest.raises(ConversionError, match="longer than 99 bytes"):
            decoder.feed(line)


_STREAM = (
    b": hello\n\n"
    b'data: {"id":"a","choices":[]}\r\n\r\n'
    b'data:{"id":"b","choices":[],"error":{"code":1}}\n\n'
    b'data: {"error":{"message":"no"}}\n\n'
    b'event: error\ndata: {"message":"later"}\n\n'
    b'data: {"id":"c","x":"\\"error\\""}\n\n'
    b"data: [DONE]\n\n"
    b'data: {"id":"d"}'
)


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_chunks(size: int) -> None:
    decoder = ChunkDecoder()
    chunks: list[bytes] = []
    for at in range(0, len(_STREAM), size):
        chunks += decoder.feed(_STREAM[at : at + size])
    assert decoder.is_done
    chunks += decoder.close()

    assert ["a", "b", "c", "d"] == [ChatCompletionChunk.FromString(chunk).id for chunk in chunks]
    assert decoder.error is not None
    assert "no" == ErrorResponse.FromString(decoder.error).error.message


_OF_CHOICE = b'data: {"choices":[{"index":0,"error":{"message":"one"}},{"index":1}]}\n\n'
_LATER = b'data: {"error":{"message":"all"},"choices":[]}\n\n'


@pytest.mark.parametrize(
    ("stream", "count", "message", "is_of_choice"),
    [
        pytest.param(_OF_CHOICE, 1, "one", True, id="in a choice"),
        pytest.param(_OF_CHOICE * 2, 2, "one", True, id="twice"),
        pytest.param(_OF_CHOICE + _LATER, 2, "all", False, id="in a choice, then in a chunk"),
        pytest.param(b'data: {"message":"one","request_id":"r"}\n\n', 0, "one", False, id="flat"),
    ],
)
def test_errors_in_chunks(stream: bytes, count: int, message: str, is_of_choice: bool) -> None:
    decoder = ChunkDecoder()
    assert count == len(decoder.feed(stream))
    assert decoder.error is not None
    value = to_dict(ErrorResponse.FromString(decoder.error))
    assert message == value.get("error", value)["message"]
    assert is_of_choice == decoder.is_error_of_choice


@pytest.mark.parametrize(
    "data",
    [
        b'{"choices":[{"index":0,"error":null,"delta":{"content":"x"}}]}',
        b'{"choices":["error"]}',
        b'{"id":"a","detail":"x"}',
        b'{"detail":null}',
    ],
)
def test_what_is_no_error(data: bytes) -> None:
    decoder = ChunkDecoder()
    assert 1 == len(decoder.feed(b"data: " + data + b"\n\n"))
    assert decoder.error is None
    assert not is_error(data)


def test_a_detail_is_an_error() -> None:
    decoder = ChunkDecoder()
    assert [] == decoder.feed(b'data: {"detail":"no"}\n\n')
    assert decoder.error is not None
    assert {"detail": "no"} == to_dict(ErrorResponse.FromString(decoder.error))
    assert is_error(b'{"detail":[{"msg":"no"}]}')


def test_an_event_that_is_no_object_is_refused() -> None:
    with pytest.raises(ConversionError, match="expected an object, got an array"):
        ChunkDecoder().feed(b"data: [1]\n\n")


def test_the_chunks_before_a_bad_event_are_not_lost() -> None:
    decoder = ChunkDecoder()
    (chunk,) = decoder.feed(b'data: {"id":"a"}\n\ndata: {\n\ndata: {"id":"b"}\n\n')
    assert "a" == ChatCompletionChunk.FromString(chunk).id
    for _ in range(2):
        with pytest.raises(ConversionError, match="expected a member name"):
            decoder.feed(b"")
