"""What relays exchange: messages in binary form, which never become JSON between two of them."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from grpc import aio

from chatpb import json_to_binary
from chatpb._stream.compact import Compactor, Restorer
from chatpb._wire import embedded
from chatpb.log import LogReader, LogWriter
from chatpb.sse import DONE, event
from chatpb.v1.chat_completion_chunk_pb2 import ChatCompletionChunk
from chatpb.v1.chat_completion_request_pb2 import ChatCompletionRequest
from chatpb.v1.chat_completion_service_pb2 import (
    CreateChatCompletionResponse,
    StreamChatCompletionResponse,
)
from chatpb_server.core.upstream import (
    RequestBody,
    RequestError,
    UpstreamAnswer,
    UpstreamChunks,
    UpstreamRequest,
    UpstreamStream,
)
from chatpb_server.running.serving import Options, Ports, serving, serving_all
from chatpb_server.upstreams.relay import GrpcUpstream
from chatpb_server.upstreams.router import Route, Router
from chatpb_server.watching.recording import LogRecorder
from support.build import (
    COMPLETION,
    PING,
    USAGE,
    chunk,
    chunk_of,
    completion_request,
    create_request,
    stream_request,
)
from support.calls import OWN_CONNECTION, STREAM, UNARY
from support.limits import TIMEOUT, within

VALUES = [chunk("a", role="assistant"), chunk("b"), chunk("c"), chunk_of(usage=USAGE)]
WHOLE = [json_to_binary(json.dumps(value), ChatCompletionChunk) for value in VALUES]
ANSWER = json_to_binary(json.dumps(COMPLETION))
#: What a relay could convert with.
CONVERTERS = ("binary_to_json", "from_json", "json_to_binary", "to_dict", "to_json", "ChunkDecoder")


class Binary:
    """An upstream that answers in binary form, and keeps what it is asked.

    Args:
        chunks: The chunks of a stream, each item those that come together.
    """

    def __init__(self, *chunks: Sequence[bytes]) -> None:
        self.requests: list[UpstreamRequest] = []
        self._chunks = chunks

    async def create(self, request: UpstreamRequest) -> UpstreamAnswer:
        """The completion."""
        self.requests.append(request)
        return UpstreamAnswer(ANSWER)

    @asynccontextmanager
    async def stream(self, request: UpstreamRequest) -> AsyncIterator[UpstreamStream]:
        """The chunks."""
        self.requests.append(request)
        yield UpstreamStream(self._arriving())

    async def _arriving(self) -> AsyncIterator[UpstreamChunks]:
        for together in self._chunks:
            yield UpstreamChunks(together)

    async def close(self) -> None:
        """Does nothing."""


@asynccontextmanager
async def two_hops(core: Any, options: Options | None = None) -> AsyncIterator[Ports]:
    """A relay in front of another one, which is in front of an upstream."""
    async with serving(core) as inner:
        router = Router([Route("core", GrpcUpstream(f"grpc://127.0.0.1:{inner}"))])
        async with serving_all(router, options=options) as ports:
            yield ports


@asynccontextmanager
async def channel_to(ports: Ports) -> AsyncIterator[Any]:
    """A channel, for bytes."""
    async with aio.insecure_channel(f"127.0.0.1:{ports.grpc}", OWN_CONNECTION) as channel:
        yield channel


async def responses(channel: Any, *, compact: bool) -> list[bytes]:
    """The responses of a stream, as they come."""
    request = stream_request()
    request.compact = compact
    call = channel.unary_stream(STREAM)(request.SerializeToString(), timeout=TIMEOUT)
    return [response async for response in call]


def forbid_conversion(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets every conversion of the server fail."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a message became JSON, or JSON a message")

    for name, module in list(sys.modules.items()):
        if name.startswith("chatpb_server."):
            for converter in CONVERTERS:
                if hasattr(module, converter):
                    monkeypatch.setattr(module, converter, refuse)


def compacted(chunks: Sequence[bytes]) -> list[bytes]:
    """The responses of a relay that compacts chunks, each of which comes alone."""
    compactor = Compactor()
    return [
        embedded(1, whole) + embedded(2, compact)
        for part in chunks
        for whole, compact in compactor.add([part])
    ]


async def test_an_answer_stays_binary_through_two_relays(monkeypatch: pytest.MonkeyPatch) -> None:
    core = Binary()
    async with two_hops(core) as ports, channel_to(ports) as channel:
        forbid_conversion(monkeypatch)
        request = create_request()
        data = await channel.unary_unary(UNARY)(request.SerializeToString(), timeout=TIMEOUT)
    number = CreateChatCompletionResponse.COMPLETION_FIELD_NUMBER
    assert embedded(number, [ANSWER]) == data
    [asked] = core.requests
    assert request.request.SerializeToString() == await asked.body.binary()


async def test_a_stream_stays_binary_through_two_relays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compact chunks pass as they are; who does not take them gets whole ones."""
    core = Binary(*([part] for part in WHOLE))
    async with two_hops(core) as ports, channel_to(ports) as channel:
        forbid_conversion(monkeypatch)
        compact = await responses(channel, compact=True)
        whole = await responses(channel, compact=False)
    assert compacted(WHOLE) == compact
    assert [embedded(1, [part]) for part in WHOLE] == whole
    for asked in core.requests:
        assert completion_request(stream=True) == ChatCompletionRequest.FromString(
            await asked.body.binary()
        )


async def test_whole_chunks_of_another_relay_are_compacted() -> None:
    """By the edge, for example if the other relay is too old to do that."""
    core = Binary(*([part] for part in WHOLE))
    async with serving_all(core) as ports, channel_to(ports) as channel:
        assert compacted(WHOLE) == await responses(channel, compact=True)


async def test_compaction_ends_where_another_relay_goes_on() -> None:
    """A whole chunk after compact ones must not build on one that the caller has forgotten."""
    shared = WHOLE[:2]
    [_, second] = compacted(shared)
    compact = StreamChatCompletionResponse.FromString(second).compact_chunks[0].SerializeToString()

    class Mixed(Binary):
        async def _arriving(self) -> AsyncIterator[UpstreamChunks]:
            yield UpstreamChunks([WHOLE[0]])
            yield UpstreamChunks([], [compact])
            yield UpstreamChunks([WHOLE[2]])

    async with serving_all(Mixed()) as ports, channel_to(ports) as channel:
        data = await responses(channel, compact=True)
    restorer = Restorer()
    found = [
        part
        for response in map(StreamChatCompletionResponse.FromString, data)
        for part in restorer.add(response)
    ]
    assert list(map(ChatCompletionChunk.FromString, WHOLE[:3])) == found


async def test_the_port_of_another_relay_has_no_text() -> None:
    async with serving(Binary(WHOLE)) as inner:
        relay = GrpcUpstream(f"grpc://127.0.0.1:{inner}")
        binary = completion_request(stream=True).SerializeToString()
        request = UpstreamRequest(RequestBody(binary=binary))
        answer = await relay.create(request)
        async with relay.stream(request) as stream:
            arrived = [item async for item in stream.chunks]
        await relay.close()
    assert (ANSWER, None) == (answer.binary, answer.text)
    assert [None] == [item.text for item in arrived]
    assert WHOLE == Restorer().restore(arrived[0].whole, arrived[0].compact)


@pytest.mark.parametrize("values", [VALUES, []], ids=["chunks", "no chunk"])
async def test_the_http_edge_makes_json_of_what_has_none(values: list[Any]) -> None:
    core = Binary(*([part] for part in WHOLE[: len(values)]))
    async with (
        two_hops(core, Options(http="127.0.0.1:0")) as ports,
        aiohttp.ClientSession() as session,
    ):
        url = f"http://127.0.0.1:{ports.http}/v1/chat/completions"
        async with session.post(url, json=PING) as response:
            assert COMPLETION == await response.json()
        async with session.post(url, json={**PING, "stream": True}) as response:
            text = await response.read()
    *events, end = [part for part in text.split(b"\n\n") if part]
    assert event(DONE) == end + b"\n\n"
    assert values == [json.loads(part.removeprefix(b"data: ")) for part in events]


async def test_recorded_chunks_are_whole(tmp_path: Path) -> None:
    """Even if the caller gets them compact."""
    recorder = LogRecorder(lambda: LogWriter(tmp_path))
    core = Binary(*([part] for part in WHOLE))
    options = Options(recorder=recorder)
    async with two_hops(core, options) as ports, channel_to(ports) as channel:
        assert compacted(WHOLE) == await responses(channel, compact=True)
    recorder.close()
    with LogReader(tmp_path) as reader:
        [entry] = reader
    assert list(map(ChatCompletionChunk.FromString, WHOLE)) == list(entry.record.chunks)


async def test_a_request_is_converted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    binary = completion_request().SerializeToString()
    body = RequestBody(binary=binary)
    text = await body.text()
    assert PING == json.loads(text)
    forbid_conversion(monkeypatch)
    assert binary is await body.binary()
    assert text is await body.text()


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (RequestBody(text=b'{"messages": [{"content": NaN}]}'), "messages[0].content"),
        (RequestBody(binary=b"\x0a\x05abc"), None),
    ],
    ids=["JSON", "binary"],
)
async def test_a_request_without_the_other_form_is_refused(
    body: RequestBody, param: str | None
) -> None:
    with pytest.raises(RequestError) as caught:
        await (body.text() if param is None else body.binary())
    assert param == caught.value.param


@pytest.mark.parametrize("hops", [1, 2])
@pytest.mark.parametrize("stream", [False, True])
async def test_the_deadline_arrives_at_the_upstream(hops: int, stream: bool) -> None:
    core = Binary(WHOLE)
    relays = serving_all(core) if hops == 1 else two_hops(core)
    async with relays as ports, channel_to(ports) as channel:
        before = time.monotonic()
        if stream:
            data = stream_request().SerializeToString()
            await within(channel.unary_stream(STREAM)(data, timeout=TIMEOUT).read())
        else:
            data = create_request().SerializeToString()
            await channel.unary_unary(UNARY)(data, timeout=TIMEOUT)
        after = time.monotonic()
    [asked] = core.requests
    assert asked.deadline is not None
    # gRPC rounds what is left of the time at each hop.
    assert before + TIMEOUT - 1 <= asked.deadline <= after + TIMEOUT + 1
    assert asked.call_id
