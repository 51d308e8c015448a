"""All that read event streams: both decoders, recordings and the commands read them alike."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

import chatpb
from chatpb import fold, from_json, to_dict
from chatpb._cli.reading.input import Reading, open_source
from chatpb.sse import DONE, ChunkDecoder, Decoder
from chatpb.table import Dataset
from chatpb.v1 import ChatCompletionChunk, CompletionRecord, ErrorResponse
from chatpb_server.core.upstream import RequestBody, UpstreamError, UpstreamRequest
from chatpb_server.upstreams.events import chunks_of
from chatpb_server.upstreams.replay import ReplayUpstream
from support.build import chunk
from support.command_line import run

REQUEST = UpstreamRequest(RequestBody(text=b"{}"))
CHUNKS = [chunk("po", role="assistant"), chunk("ng"), chunk(None, "stop")]
A, B, C = (json.dumps(value).encode() for value in CHUNKS)
NO = b'{"error":{"message":"no"}}'

#: The messages in a stream, and its error.
Found = tuple[list[Any], Any]


def _found(chunks: list[bytes], error: bytes | None) -> Found:
    read = [to_dict(ChatCompletionChunk.FromString(data)) for data in chunks]
    return read, None if error is None else to_dict(ErrorResponse.FromString(error))


async def _decoder(stream: bytes, path: Path) -> Found:  # noqa: ARG001
    decoder = Decoder()
    events = [*decoder.feed(stream), *decoder.close()]
    assert DONE == events.pop().data
    chunks = [to_dict(from_json(e.data, ChatCompletionChunk)) for e in events if not e.is_error]
    errors = [to_dict(from_json(e.data, ErrorResponse)) for e in events if e.is_error]
    return chunks, errors[0] if errors else None


async def _chunk_decoder(stream: bytes, path: Path, is_native: bool = True) -> Found:  # noqa: ARG001
    decoder = ChunkDecoder()
    if not is_native:
        decoder._reader._native = None
    chunks = decoder.feed(stream)
    while more := decoder.close():
        chunks += more
    assert decoder.is_done
    return _found(chunks, decoder.error)


async def _reference(stream: bytes, path: Path) -> Found:
    return await _chunk_decoder(stream, path, is_native=False)


async def _taken(chunks: AsyncIterator[Any]) -> Found:
    found: list[bytes] = []
    try:
        async for arrived in chunks:
            found += arrived.whole
    except UpstreamError as error:
        return _found(found, chatpb.json_to_binary(error.body, ErrorResponse))
    return _found(found, None)


async def _upstream(stream: bytes, path: Path) -> Found:  # noqa: ARG001
    async def data() -> AsyncIterator[bytes]:
        yield stream

    return await _taken(chunks_of(data()))


async def _replayed(stream: bytes, path: Path) -> Found:  # noqa: ARG001
    async with ReplayUpstream(path).stream(REQUEST) as answer:
        return await _taken(answer.chunks)


async def _records(stream: bytes, path: Path) -> Found:  # noqa: ARG001
    """The records of the commands."""
    chunks: list[Any] = []
    errors: list[Any] = []
    with open_source(str(path), Reading()) as source:
        for record in source.records():
            kind = record.kind(ChatCompletionChunk)
            (errors if kind is ErrorResponse else chunks).append(
                to_dict(from_json(record.data, kind))
            )
    return chunks, errors[0] if errors else None


async def _table(stream: bytes, path: Path) -> Found:  # noqa: ARG001
    table = path.with_name("table")
    assert 0 == run("compact", path, table).exit_code
    (data,) = Dataset(table).records()
    record = CompletionRecord.FromString(data)
    error = to_dict(record.error) if record.HasField("error") else None
    return [to_dict(each) for each in record.chunks], error


READERS: list[Callable[[bytes, Path], Coroutine[Any, Any, Found]]] = [
    _decoder,
    _chunk_decoder,
    _reference,
    _upstream,
    _replayed,
    _records,
    _table,
]

STREAMS = [
    pytest.param([b"data: " + A, b"data: " + B, b"data: " + C, b"data: [DONE]"], id="usual"),
    pytest.param(
        [b"data: " + A, b"data:" + B + b" ", b"data:  " + C, b"data:  [DONE] "], id="space"
    ),
    pytest.param(
        [
            b": PROCESSING",
            b"data: : PROCESSING",
            b"data: " + A,
            b"data:",
            b"data: " + B,
            b"data::",
            b"data: \t",
            b"data: " + C,
            b"data: [DONE]\t",
            b"data: : bye",
        ],
        id="comments",
    ),
    pytest.param(
        [
            b"event: ping\ndata: : ping",
            b"event: message\ndata: " + A,
            b"event: chunk\ndata: " + B,
            b"event: completion\nid: 7\nretry: 1\ndata: " + C,
            b"event: done\ndata: [DONE]",
        ],
        id="names",
    ),
    pytest.param(
        [b"data: : PROCESSING\ndata: " + A + b"\ndata: " + B, b"data: " + C, b"data:[DONE]"],
        id="glued",
    ),
]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("events", STREAMS)
async def test_chunks(read: Any, events: list[bytes], end: bytes, tmp_path: Path) -> None:
    stream = b"\n\n".join([*events, b""]).replace(b"\n", end)
    (tmp_path / "a.sse").write_bytes(stream)
    assert (CHUNKS, None) == await read(stream, tmp_path / "a.sse")


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    "event",
    [
        pytest.param(b"data: " + NO, id="data"),
        pytest.param(b"event: error\ndata: " + NO, id="name"),
        pytest.param(b"event: error\ndata: : ping\ndata:  " + NO + b" ", id="space"),
    ],
)
async def test_errors(read: Any, event: bytes, tmp_path: Path) -> None:
    stream = b"\n\n".join([b"data: " + A, event, b"data: [DONE] ", b""])
    (tmp_path / "a.sse").write_bytes(stream)
    assert (CHUNKS[:1], json.loads(NO)) == await read(stream, tmp_path / "a.sse")
    with pytest.raises(UpstreamError) as caught:
        await ReplayUpstream(tmp_path / "a.sse").create(REQUEST)
    assert json.loads(NO) == json.loads(caught.value.body)
    assert b"no" in run("fold", tmp_path / "a.sse").stderr.encode()


@pytest.mark.parametrize("data", [b'{"message":"no"}', b'{"code":1}', b'{"id":"a","error":null}'])
@pytest.mark.parametrize("read", READERS)
async def test_the_name_of_an_event_tells_an_error(read: Any, data: bytes, tmp_path: Path) -> None:
    stream = b"\n\n".join([b"data: " + A, b"event: error\ndata: " + data, b"data: [DONE]", b""])
    (tmp_path / "a.sse").write_bytes(stream)
    assert (CHUNKS[:1], json.loads(data)) == await read(stream, tmp_path / "a.sse")


@pytest.mark.parametrize("events", STREAMS)
async def test_what_puts_a_stream_together(events: list[bytes], tmp_path: Path) -> None:
    stream = b"\n\n".join([*events, b""])
    (tmp_path / "a.sse").write_bytes(stream)
    expected = fold(chatpb.from_dict(value, ChatCompletionChunk) for value in CHUNKS)
    answer = await ReplayUpstream(tmp_path / "a.sse").create(REQUEST)
    assert expected == type(expected).FromString(answer.binary)
    assert to_dict(expected) == json.loads(run("fold", tmp_path / "a.sse").stdout)
