"""The golden vectors of streams, by the laws of tests/vectors/README.md."""

from __future__ import annotations

import pytest

from chatpb import fold, json_to_binary, unfold
from chatpb._mapping.canonical import canonical
from chatpb._stream.compact import Restorer
from chatpb._wire import spans
from chatpb.v1 import ChatCompletion, ChatCompletionChunk, StreamChatCompletionResponse
from support.golden_files import RENEW
from support.stream_vectors import (
    MANIFEST,
    STREAMS,
    StreamVector,
    compacted,
    decoded,
    golden,
    messages_of,
    pieces_of,
    restored,
    stream_vectors,
)


def each(kind: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "vector", [pytest.param(vector, id=vector.name) for vector in stream_vectors(kind)]
    )


def test_files_are_those_of_the_manifest() -> None:
    made = dict(golden())
    stale = [path.name for path, data in made.items() if path.read_bytes() != data]
    assert [] == stale, RENEW
    written = {"fold": ".jsonl", "compact": ".jsonl", "unfold": ".json", "sse": ".sse"}
    inputs = {v.file(written[v.kind]) for v in stream_vectors() if not v.is_written}
    assert {*made, *inputs} == set(STREAMS.iterdir())
    assert MANIFEST in made


@each("fold")
def test_chunks_make_the_completion(vector: StreamVector) -> None:
    expected = vector.file(".binpb").read_bytes()
    assert expected == canonical(fold(vector.chunks)), RENEW
    completion = ChatCompletion.FromString(expected)
    assert expected == canonical(fold(unfold(completion)))


@each("fold")
def test_chunks_in_binary_form_make_the_completion(vector: StreamVector) -> None:
    allow_nan = vector.entry.get("allow_nan", False)
    chunks = [
        ChatCompletionChunk.FromString(
            json_to_binary(line, ChatCompletionChunk, allow_nan=allow_nan)
        )
        for line in vector.file(".jsonl").read_bytes().splitlines()
    ]
    assert vector.file(".binpb").read_bytes() == canonical(fold(chunks))


@each("unfold")
def test_completions_make_the_chunks(vector: StreamVector) -> None:
    chunks = messages_of(vector.file(".binpbs").read_bytes())
    assert chunks == [canonical(chunk) for chunk in unfold(vector.completion)], RENEW
    completion = canonical(vector.completion)
    assert completion == canonical(fold(map(ChatCompletionChunk.FromString, chunks)))


@each("compact")
def test_responses_are_restored(vector: StreamVector) -> None:
    responses = messages_of(vector.file(".binpbs").read_bytes())
    expected = messages_of(vector.file(".chunks.binpbs").read_bytes()), vector.entry["reason"]
    assert expected == restored(responses)
    chunks: list[bytes] = []
    restorer, reason = Restorer(), None
    try:
        for response in responses:
            for span in spans(response):
                part = response[span.value : span.end]
                is_whole = span.number == StreamChatCompletionResponse.CHUNKS_FIELD_NUMBER
                chunks += restorer.restore([part], []) if is_whole else restorer.restore([], [part])
    except ValueError as error:
        reason = str(error)
    assert expected == (
        [canonical(ChatCompletionChunk.FromString(chunk)) for chunk in chunks],
        reason,
    )


@pytest.mark.parametrize(
    "vector",
    [pytest.param(v, id=v.name) for v in stream_vectors("compact") if not v.is_written],
)
def test_chunks_are_made_compact(vector: StreamVector) -> None:
    assert messages_of(vector.file(".binpbs").read_bytes()) == compacted(vector.chunks), RENEW
    assert [canonical(chunk) for chunk in vector.chunks] == messages_of(
        vector.file(".chunks.binpbs").read_bytes()
    )


@each("sse")
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_event_streams_give_the_chunks(vector: StreamVector, size: int) -> None:
    data = vector.file(".sse").read_bytes()
    found = decoded(pieces_of(data, size), vector.entry["max_event_bytes"])
    given = {"name", "kind", "purpose", "max_event_bytes"}
    assert {name: value for name, value in vector.entry.items() if name not in given} == found
