"""What recordings give: the bytes that were recorded, or the other form made of them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from chatpb import binary_to_json, fold, json_to_binary, to_dict
from chatpb.sse import DONE, event
from chatpb.v1.chat_completion_chunk_pb2 import ChatCompletionChunk
from chatpb_server.core.upstream import (
    RequestBody,
    UpstreamChunks,
    UpstreamDataError,
    UpstreamError,
    UpstreamRequest,
)
from chatpb_server.upstreams.replay import ReplayError, ReplayUpstream
from support.build import COMPLETION, chunk, error_object

COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}
REQUEST = UpstreamRequest(RequestBody(text=b"{}"))
CHUNKS = [chunk("po", role="assistant"), chunk("ng"), chunk(None, "stop")]
TEXTS = [json.dumps(value).encode() for value in CHUNKS]
EVENTS = b": hello\n\n" + b"".join(map(event, (*TEXTS, DONE)))


def recorded(folder: Path, name: str, data: bytes) -> ReplayUpstream:
    (folder / name).write_bytes(data)
    return ReplayUpstream(folder / name)


async def streamed(upstream: ReplayUpstream) -> list[UpstreamChunks]:
    async with upstream.stream(REQUEST) as stream:
        return [arrived async for arrived in stream.chunks]


def values(arrived: list[UpstreamChunks]) -> list[Any]:
    parts = [part for item in arrived for part in item.whole]
    return [json.loads(binary_to_json(part, ChatCompletionChunk)) for part in parts]


async def test_a_completion(tmp_path: Path) -> None:
    text = json.dumps(COMPLETION, indent=1).encode()
    upstream = recorded(tmp_path, "a.json", text)
    answer = await upstream.create(REQUEST)
    assert (text, json_to_binary(text)) == (answer.text, answer.binary)
    arrived = await streamed(upstream)
    assert {None} == {item.text for item in arrived}
    parts = [ChatCompletionChunk.FromString(part) for item in arrived for part in item.whole]
    assert COMPLETION == to_dict(fold(parts))


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("a.sse", EVENTS, EVENTS),
        ("a.jsonl", b"\n".join(TEXTS), b"".join(map(event, (*TEXTS, DONE)))),
        ("a.ndjson", b"\n".join(TEXTS), b"".join(map(event, (*TEXTS, DONE)))),
    ],
    ids=["sse", "jsonl", "ndjson"],
)
async def test_a_stream(name: str, data: bytes, text: bytes, tmp_path: Path) -> None:
    upstream = recorded(tmp_path, name, data)
    arrived = await streamed(upstream)
    assert text == b"".join(item.text or b"" for item in arrived)
    assert CHUNKS == values(arrived)
    answer = await upstream.create(REQUEST)
    assert answer.text is None
    parts = [ChatCompletionChunk.FromString(part) for item in arrived for part in item.whole]
    assert to_dict(fold(parts)) == json.loads(binary_to_json(answer.binary))


@pytest.mark.parametrize("kind", COMPRESSIONS)
async def test_compressed_recordings(kind: str, tmp_path: Path) -> None:
    text = json.dumps(COMPLETION).encode()
    compress = COMPRESSIONS[kind]
    for name, data in (("a.json", text), ("b.jsonl", b"\n".join(TEXTS)), ("c.sse", EVENTS)):
        (tmp_path / f"{name}{kind}").write_bytes(compress(data))
    (tmp_path / f"a.request.json{kind}").write_bytes(compress(b"{}"))
    upstream = ReplayUpstream(tmp_path)
    assert text == (await upstream.create(REQUEST)).text
    assert CHUNKS == values(await streamed(upstream))
    assert CHUNKS == values(await streamed(upstream))
    assert text == (await upstream.create(REQUEST)).text
    damaged = tmp_path / f"d.json{kind}"
    damaged.write_bytes(compress(text)[:-4])
    with pytest.raises(ReplayError, match=r"^[^ ]*/d\.json[^ ]*: (cut|damaged) (gzip|zstd)"):
        ReplayUpstream(damaged)


async def test_an_error_in_a_choice(tmp_path: Path) -> None:
    """A stream has the chunks, then the error; a completion with content is an answer."""
    choice = {**COMPLETION["choices"][0], **error_object("gone", code=502)}
    text = json.dumps({**COMPLETION, "choices": [choice]}).encode()
    upstream = recorded(tmp_path, "a.json", text)
    assert text == (await upstream.create(REQUEST)).text
    arrived: list[UpstreamChunks] = []

    async def read() -> None:
        async with upstream.stream(REQUEST) as stream:
            async for item in stream.chunks:
                arrived.append(item)  # noqa: PERF401 (those before the error count)

    with pytest.raises(UpstreamError) as caught:
        await read()
    assert error_object("gone", code=502) == json.loads(caught.value.body)
    parts = [ChatCompletionChunk.FromString(part) for item in arrived for part in item.whole]
    assert {**COMPLETION, "choices": [choice]} == to_dict(fold(parts))


@pytest.mark.parametrize(("code", "expected"), [(429, 429), (None, 400), ("x", 400), (200, 400)])
async def test_an_error(code: Any, expected: int, tmp_path: Path) -> None:
    text = json.dumps(error_object("no", code=code)).encode()
    upstream = recorded(tmp_path, "a.json", text)
    for ask in (upstream.create(REQUEST), streamed(upstream)):
        with pytest.raises(UpstreamError) as caught:
            await ask
        assert (expected, text) == (caught.value.http_status, caught.value.body)


async def test_a_stream_that_breaks_off(tmp_path: Path) -> None:
    upstream = recorded(tmp_path, "a.sse", event(TEXTS[0]))
    with pytest.raises(UpstreamDataError, match="ended before the completion did"):
        await streamed(upstream)


def test_a_recording_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()
    with pytest.raises(ReplayError) as caught:
        ReplayUpstream(tmp_path)
    assert f"{tmp_path} cannot be replayed: is a directory" == str(caught.value)
