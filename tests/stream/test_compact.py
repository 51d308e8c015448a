"""Compact streams: what is left out comes back, byte for byte, over real channels too."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from grpc import StatusCode, aio
from hypothesis import given
from hypothesis import strategies as st

from chatpb import fold, json_to_binary, to_dict, to_json
from chatpb._mapping.canonical import canonical
from chatpb._mapping.schema import mapping_of
from chatpb._stream.compact import MAX_BYTES, MAX_RESTORED_BYTES, Compactor, Restorer
from chatpb._wire import embedded, spans
from chatpb.client import AsyncClient, ChatCompletionError, Client
from chatpb.v1 import (
    ChatCompletionChunk,
    ChatCompletionRequest,
    StreamChatCompletionRequest,
    StreamChatCompletionResponse,
)
from chatpb.v1.chat_completion_service_pb2_grpc import (
    ChatCompletionServiceServicer,
    ChatCompletionServiceStub,
    add_ChatCompletionServiceServicer_to_server,
)
from chatpb.v1.options_pb2 import carried
from chatpb_server.running.serving import serving
from chatpb_server.upstreams.http import HttpUpstream as Http
from chatpb_server.upstreams.router import Route, Router
from support import build, recordings
from support.build import PING
from support.calls import OWN_CONNECTION
from support.http_upstream import WAIT, HttpUpstream, sse_answer
from support.limits import TIMEOUT
from support.strategies import json_objects, messages

CHUNKS = StreamChatCompletionResponse.CHUNKS_FIELD_NUMBER
COMPACT = StreamChatCompletionResponse.COMPACT_CHUNKS_FIELD_NUMBER
_GONE = object()


def piece(delta: Any = None, /, **members: Any) -> dict[str, Any]:
    """A choice of a chunk."""
    return {**build.delta("a"), **({} if delta is None else {"delta": delta}), **members}


def chunk(*choices: Any, **members: Any) -> dict[str, Any]:
    """A chunk as a server sends it; a member that is `_GONE` is missing."""
    whole = build.chunk_of(
        *choices, **{"id": "x", "system_fingerprint": "f", "usage": None, **members}
    )
    return {name: value for name, value in whole.items() if value is not _GONE}


def binary(value: Any) -> bytes:
    return json_to_binary(json.dumps(value), ChatCompletionChunk)


def responses(chunks: Sequence[bytes], compactor: Compactor) -> list[bytes]:
    """The responses for chunks that arrived together."""
    return [
        embedded(CHUNKS, whole) + embedded(COMPACT, compact)
        for whole, compact in compactor.add(chunks)
    ]


def restored(data: Sequence[bytes]) -> list[ChatCompletionChunk]:
    """The chunks that responses stand for."""
    restorer = Restorer()
    return [
        chunk
        for part in data
        for chunk in restorer.add(StreamChatCompletionResponse.FromString(part))
    ]


def restored_bytes(data: Sequence[bytes]) -> list[bytes]:
    """The same in binary form."""
    restorer = Restorer()
    return [
        chunk
        for part in data
        for chunk in restorer.restore(fields(part, CHUNKS), fields(part, COMPACT))
    ]


def fields(data: bytes, number: int) -> list[bytes]:
    """The messages in a field of a message."""
    return [data[span.value : span.end] for span in spans(data) if span.number == number]


USAGE = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
SPOKEN = [
    chunk(piece({"role": "assistant", "content": "a"})),
    chunk(piece({"content": "b"})),
    chunk(piece({"content": "c"})),
    chunk(piece({}, finish_reason="stop")),
    chunk(usage=USAGE),
]


def test_bytes_worked_out_by_hand() -> None:
    """Responses with one chunk each: field 1 is a whole one, field 2 a compact one."""
    first = (
        b"\x0a\x01x"  # id
        b"\x18\x01"  # created
        b"\x22\x01m"  # model
        b"\x2a\x07\x12\x05\x08\x04\x12\x01a"  # choices: delta: role, content
        b"\x42\x01f"  # system_fingerprint
        b"\x7a\x03\x0a\x01\x06"  # residue: usage was null
    )
    expected = [
        b"\x0a\x19" + first,
        b"\x12\x09\x2a\x07\x12\x05\x12\x01b\x08\x00",  # the role is 0: it is unset
        b"\x12\x07\x2a\x05\x12\x03\x12\x01c",
        b"\x12\x04\x2a\x02\x20\x01",  # finish_reason
        b"\x12\x0a\x32\x06\x08\x03\x10\x05\x18\x08\x7a\x00",  # usage; the residue is unset
    ]
    compactor = Compactor()
    actual = [response for value in SPOKEN for response in responses([binary(value)], compactor)]
    assert expected == actual
    assert SPOKEN == [to_dict(part) for part in restored(actual)]


COME_AND_GO: list[Any] = [
    pytest.param(SPOKEN, 1, id="ordinary"),
    pytest.param([chunk(piece(index=i % 2)) for i in range(6)], 1, id="two choices in turn"),
    pytest.param([chunk(piece(), piece(index=1)) for _ in range(3)], 1, id="two choices"),
    pytest.param([chunk(piece(), piece()), chunk(piece()), chunk(piece(), piece())], 1, id="fewer"),
    pytest.param([chunk(piece(), id=name) for name in ("a", "b", "b")], 1, id="id changes"),
    pytest.param([chunk(piece(), id=name) for name in ("a", "", "a")], 2, id="id goes"),
    pytest.param([chunk(piece(), model=name) for name in ("a", _GONE, "a")], 2, id="model missing"),
    pytest.param(
        [chunk(piece(), system_fingerprint=name) for name in ("a", None, "", "", "a")],
        2,
        id="fingerprint",
    ),
    pytest.param(
        [chunk(piece(), service_tier=name) for name in ("auto", _GONE, "flex", None, "new")],
        1,
        id="tier",
    ),
    pytest.param(
        [chunk(piece(), obfuscation=name) for name in ("a", "b", _GONE, "b", "b")],
        1,
        id="obfuscation",
    ),
    pytest.param([chunk(piece(), x=value) for value in (1, 1, 2, 2.0)], 1, id="unknown member"),
    pytest.param([chunk(piece(), x=1), chunk(piece()), chunk(piece(), x=1)], 1, id="it goes"),
    pytest.param([chunk(piece(x={"a": 1})) for _ in range(3)], 1, id="unknown in a choice"),
    pytest.param(
        [chunk(piece(delta)) for delta in ({"a": 1}, {"a": 1}, {}, {"role": "user"}, {"a": 1})],
        1,
        id="unknown in a delta",
    ),
    pytest.param([chunk(piece(), usage=USAGE), chunk(piece()), chunk(usage=USAGE)], 1, id="usage"),
    pytest.param([{}, {}, {"id": "x"}, {}], 3, id="empty"),
]


@pytest.mark.parametrize(("values", "whole"), COME_AND_GO)
def test_members_come_and_go(values: list[Any], whole: int) -> None:
    data = [binary(value) for value in values]
    compactor = Compactor()
    alone = [response for part in data for response in responses([part], compactor)]
    assert data == [canonical(part) for part in restored(alone)]
    at_once = responses(data, Compactor())
    assert data == [canonical(part) for part in restored(at_once)]
    counts = [len(StreamChatCompletionResponse.FromString(part).chunks) for part in alone]
    assert whole == sum(counts)


some_objects = json_objects(mapping_of(ChatCompletionChunk)).map(json.dumps)
some_data = st.one_of(
    some_objects.map(lambda text: json_to_binary(text, ChatCompletionChunk, allow_nan=True)),
    messages(ChatCompletionChunk).map(
        lambda message: json_to_binary(
            to_json(message, allow_nan=True), ChatCompletionChunk, allow_nan=True
        )
    ),
    st.sampled_from([binary(value) for case in COME_AND_GO for value in case.values[0]]),
)


@st.composite
def streams(draw: st.DrawFn) -> list[list[bytes]]:
    """Chunks of which many are alike, and which arrive in groups."""
    pool = draw(st.lists(some_data, min_size=1, max_size=3))
    return draw(st.lists(st.lists(st.sampled_from(pool), min_size=1, max_size=4), max_size=4))


@given(streams())
def test_what_is_left_out_comes_back(groups: list[list[bytes]]) -> None:
    compactor = Compactor()
    sent: list[bytes] = []
    for group in groups:
        parts = responses(group, compactor)
        assert sum(map(len, parts)) <= len(embedded(CHUNKS, group))
        sent += parts
    expected = [data for group in groups for data in group]
    assert expected == [canonical(part) for part in restored(sent)]
    assert expected == [
        canonical(ChatCompletionChunk.FromString(part)) for part in restored_bytes(sent)
    ]


@given(st.lists(messages(ChatCompletionChunk), max_size=4))
def test_messages_of_programs_keep_their_json(chunks: list[Message]) -> None:
    """They may hold zeros and empty messages, which normal forms do not have."""
    compactor = Compactor()
    data = [message.SerializeToString(deterministic=True) for message in chunks]
    sent = [response for part in data for response in responses([part], compactor)]
    expected = [to_json(message, allow_nan=True) for message in chunks]
    assert expected == [to_json(part, allow_nan=True) for part in restored(sent)]
    assert expected == [
        to_json(ChatCompletionChunk.FromString(part), allow_nan=True)
        for part in restored_bytes(sent)
    ]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x0a\x01x\x0a\x01x", id="a field twice"),
        pytest.param(b"\x2a\x05\x12\x00\x12\x01a", id="a message in pieces"),
        pytest.param(b"\x0a\x00", id="a zero that is written"),
        pytest.param(b"\x0a", id="cut"),
        pytest.param(b"\x0b", id="a group"),
    ],
)
def test_what_no_serializer_writes_comes_whole(data: bytes) -> None:
    first = binary(chunk(piece()))
    rest = first.removeprefix(b"\x0a\x01x")
    assert len(rest) < len(first)
    assert [([first, data + rest], [])] == Compactor().add([first, data + rest])


def test_large_chunks_are_not_built_on() -> None:
    large, small = binary(chunk(x="y" * MAX_BYTES)), binary(chunk(piece()))
    assert [([large, large, small], [])] == Compactor().add([large, large, small])


def test_large_texts_are_compact() -> None:
    text = "y" * MAX_RESTORED_BYTES * 2
    data = [binary(chunk(piece({"content": text}))) for _ in range(2)]
    compactor = Compactor()
    compactor.add([binary(chunk(piece()))])
    [([], compact)] = compactor.add(data)
    assert [len(text) + 12] * 2 == [len(part) for part in compact]


def test_chunks_are_restored_to_the_bytes_that_they_were() -> None:
    """If they carry the same, which is what a stream of text does."""
    whole = [binary(value) for value in SPOKEN]
    compactor = Compactor()
    sent = [response for part in whole for response in responses([part], compactor)]
    assert whole == restored_bytes(sent)


def test_who_changes_a_chunk_changes_no_other() -> None:
    compactor = Compactor()
    data = [binary(value) for value in SPOKEN[:3]]
    [part] = responses(data, compactor)
    for part_of_it in (chunks := Restorer().add(StreamChatCompletionResponse.FromString(part))):
        assert "x" == part_of_it.id
        part_of_it.Clear()
    assert [] == list(chunks)


# What may be left out is frozen: a reader of an older version would not restore it.


def test_what_is_carried() -> None:
    found: dict[str, list[str]] = {}

    def look(descriptor: Descriptor) -> None:
        for field in descriptor.fields:
            if field.GetOptions().Extensions[carried]:
                found.setdefault(descriptor.name, []).append(field.name)
                assert not (field.is_repeated and field.message_type is not None)
            elif field.message_type is not None:
                look(field.message_type)

    look(ChatCompletionChunk.DESCRIPTOR)
    openai = ["id", "object", "created", "model", "service_tier", "system_fingerprint", "residue"]
    others = ["provider", "citations", "search_results", "model_id", "model_version", "created_at"]
    assert found == {
        "ChatCompletionChunk": [*openai, *others, "stream_options"],
        "ChunkChoice": ["residue", "native_finish_reason", "content_filter_results"],
        "ChoiceDelta": ["role", "residue"],
    }


# Through the relay.


class Relay:
    """A relay, by its stub and its client."""

    def __init__(self, stub: ChatCompletionServiceStub, client: AsyncClient) -> None:
        self.client = client
        self._stub = stub

    def stream(self, is_compact: bool) -> Any:
        """A call, as it is on the wire."""
        request = ChatCompletionRequest(model="m")
        request.messages.add().content.text = "ping"
        return self._stub.StreamChatCompletion(
            StreamChatCompletionRequest(request=request, compact=is_compact), timeout=TIMEOUT
        )


@asynccontextmanager
async def relay(url: str) -> AsyncIterator[Relay]:
    """A relay to an upstream."""
    router = Router([Route("u", Http(url), weight=1)], None, random.Random(1))
    async with (
        serving(router) as port,
        aio.insecure_channel(f"127.0.0.1:{port}", OWN_CONNECTION) as channel,
        AsyncClient(f"127.0.0.1:{port}", timeout=TIMEOUT) as client,
    ):
        yield Relay(ChatCompletionServiceStub(channel), client)


async def read(call: Any) -> tuple[list[StreamChatCompletionResponse], StatusCode]:
    """The responses of a call, and how it ends."""
    parts: list[StreamChatCompletionResponse] = []
    try:
        async for part in call:
            parts.append(part)  # noqa: PERF401
    except grpc.RpcError:
        pass
    return parts, await call.code()


async def read_with(client: AsyncClient) -> tuple[list[ChatCompletionChunk], StatusCode]:
    """The same with the client."""
    chunks: list[ChatCompletionChunk] = []
    try:
        async with client.stream(PING) as stream:
            async for part in stream:
                chunks.append(part)  # noqa: PERF401
            assert fold(chunks) == await stream.fold()
    except ChatCompletionError as error:
        return chunks, error.code
    return chunks, StatusCode.OK


@pytest.mark.parametrize("recording", recordings.parameters(recordings.streams))
async def test_recorded_streams(recording: recordings.Recording) -> None:
    async with HttpUpstream() as upstream, relay(upstream.url) as server:
        for _ in range(3):
            await upstream.answer(recording.answer("random"))
        whole, code = await read(server.stream(is_compact=False))
        expected = [canonical(part) for response in whole for part in response.chunks]
        compact, compact_code = await read(server.stream(is_compact=True))
        data = [part.SerializeToString() for part in compact]
        assert (expected, code) == ([canonical(part) for part in restored(data)], compact_code)
        chunks, client_code = await read_with(server.client)
        assert (expected, code) == ([canonical(part) for part in chunks], client_code)


async def test_who_does_not_ask_gets_whole_chunks() -> None:
    async with HttpUpstream() as upstream, relay(upstream.url) as server:
        await upstream.answer(sse_answer(*SPOKEN))
        parts, code = await read(server.stream(is_compact=False))
    assert StatusCode.OK == code
    assert not [part for part in parts if part.compact_chunks]
    assert SPOKEN == [to_dict(part) for response in parts for part in response.chunks]


async def test_a_lone_chunk_is_compact_and_comes_at_once() -> None:
    async with HttpUpstream() as upstream, relay(upstream.url) as server:
        await upstream.answer(sse_answer(SPOKEN[0], WAIT, SPOKEN[1], WAIT, SPOKEN[2]))
        call = server.stream(is_compact=True)
        sent = []
        for counts in ((1, 0), (0, 1), (0, 1)):
            part = await call.read()
            assert counts == (len(part.chunks), len(part.compact_chunks))
            sent.append(part.SerializeToString())
            await upstream.go()
        assert aio.EOF == await call.read()
    assert SPOKEN[:3] == [to_dict(part) for part in restored(sent)]


async def test_an_error_in_the_middle_comes_after_the_chunks() -> None:
    error = {"error": {"message": "no", "type": "server_error"}}
    async with HttpUpstream() as upstream, relay(upstream.url) as server:
        await upstream.answer(sse_answer(*SPOKEN[:3], error))
        chunks, code = await read_with(server.client)
    assert SPOKEN[:3] == [to_dict(part) for part in chunks]
    assert StatusCode.INTERNAL == code


async def test_messages_stay_bounded() -> None:
    """A client takes 4 MiB if it is not told otherwise, and the burst is larger."""
    values = [chunk(piece({"content": "y" * 100_000}), n=i) for i in range(60)]
    burst = b"".join(b"data: " + json.dumps(value).encode() + b"\n\n" for value in values)
    async with HttpUpstream() as upstream, relay(upstream.url) as server:
        await upstream.answer(sse_answer(burst, writes="whole"))
        parts, code = await read(server.stream(is_compact=True))
    assert StatusCode.OK == code
    assert all(part.ByteSize() < 2**20 + 200_000 for part in parts)
    sent = [part.SerializeToString() for part in parts]
    assert values == [to_dict(part) for part in restored(sent)]


# Servers that break the rule.


class Hostile(ChatCompletionServiceServicer):
    """Answers with what it is told."""

    def __init__(self, *parts: StreamChatCompletionResponse) -> None:
        self._parts = parts

    async def CreateChatCompletion(self, request: Any, context: Any) -> Any:  # noqa: N802 (gRPC's)
        """Is not called."""
        raise NotImplementedError(request, context)

    async def StreamChatCompletion(  # noqa: N802
        self,
        request: StreamChatCompletionRequest,
        context: Any,  # noqa: ARG002
    ) -> AsyncIterator[StreamChatCompletionResponse]:
        """Answers."""
        assert request.compact
        for part in self._parts:
            yield part


@asynccontextmanager
async def served(*parts: StreamChatCompletionResponse) -> AsyncIterator[str]:
    """The address of a server that answers with these parts."""
    server = aio.server()
    options: Any = server
    add_ChatCompletionServiceServicer_to_server(Hostile(*parts), options)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


EMPTY = ChatCompletionChunk()
LARGE = ChatCompletionChunk(id="x" * (MAX_RESTORED_BYTES + 1))
BAD: list[Any] = [
    pytest.param(StreamChatCompletionResponse(compact_chunks=[EMPTY]), 0, id="compact first"),
    pytest.param(
        StreamChatCompletionResponse(chunks=[LARGE], compact_chunks=[EMPTY, EMPTY]), 1, id="bomb"
    ),
]


@pytest.mark.parametrize(("part", "before"), BAD)
async def test_an_answer_that_breaks_the_rule_is_an_error(
    part: StreamChatCompletionResponse, before: int
) -> None:
    async with served(part) as address, AsyncClient(address, timeout=TIMEOUT) as client:
        stream = client.stream(PING)
        for _ in range(before):
            await anext(stream)
        for _ in range(2):  # and it stays one
            with pytest.raises(ChatCompletionError, match="the answer cannot be read") as caught:
                await anext(stream)
            assert StatusCode.INTERNAL == caught.value.code
        with pytest.raises(ChatCompletionError):
            await stream.fold()


@pytest.mark.parametrize(("part", "before"), BAD)
async def test_the_twin_says_the_same(part: StreamChatCompletionResponse, before: int) -> None:
    def call(address: str) -> None:
        with Client(address, timeout=TIMEOUT) as client, client.stream(PING) as stream:
            for _ in range(before):
                next(stream)
            with pytest.raises(ChatCompletionError, match="the answer cannot be read"):
                next(stream)

    async with served(part) as address:
        await asyncio.to_thread(call, address)
