"""Upstreams whose answers a test writes, and gRPC calls of a relay in front of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from google.rpc import status_pb2
from grpc import aio

from chatpb import to_dict
from chatpb.sse import DONE, event
from chatpb.v1.chat_completion_service_pb2 import (
    CreateChatCompletionRequest,
    StreamChatCompletionRequest,
)
from chatpb.v1.chat_completion_service_pb2_grpc import ChatCompletionServiceStub
from chatpb.v1.error_pb2 import ErrorResponse
from chatpb_server.core.upstream import Upstream, UpstreamAnswer, UpstreamRequest, UpstreamStream
from chatpb_server.running.serving import serving
from chatpb_server.upstreams.events import answer_of, chunks_of
from support.build import create_request
from support.calls import OWN_CONNECTION
from support.limits import TIMEOUT


class Script:
    """An upstream that keeps its requests; it answers with given chunks, or raises an error."""

    def __init__(self, *batches: Sequence[Any], error: Exception | None = None) -> None:
        self.requests: list[Any] = []
        self._batches = batches
        self._error = error

    async def create(self, request: UpstreamRequest) -> UpstreamAnswer:
        """Answers with the first text of the first batch."""
        self.requests.append(json.loads(await request.body.text()))
        if self._error:
            raise self._error
        return await answer_of(as_bytes(self._batches[0][0]))

    @asynccontextmanager
    async def stream(self, request: UpstreamRequest) -> AsyncIterator[UpstreamStream]:
        """Streams the batches and the end of the stream."""
        self.requests.append(json.loads(await request.body.text()))
        yield UpstreamStream(chunks_of(self._data()))

    async def _data(self) -> AsyncIterator[bytes]:
        for batch in self._batches:
            yield as_events(batch)
        if self._error:
            raise self._error
        yield event(DONE)

    async def close(self) -> None:
        """Does nothing."""


class Live:
    """An upstream that streams what a test puts into its queue, up to None.

    Attributes:
        batches: What is to be sent.
        started: Set when a call has come.
        ended: Set when the call is over, for whatever reason.
        closed: Set when the upstream is closed.
    """

    def __init__(self) -> None:
        self.batches: asyncio.Queue[Sequence[Any] | None] = asyncio.Queue()
        self.started = asyncio.Event()
        self.ended = asyncio.Event()
        self.closed = asyncio.Event()

    async def create(self, request: UpstreamRequest) -> UpstreamAnswer:  # noqa: ARG002
        """Answers with all texts from the queue, joined."""
        texts = [as_bytes(chunk) async for batch in self._batches() for chunk in batch]
        return await answer_of(b"".join(texts))

    @asynccontextmanager
    async def stream(self, request: UpstreamRequest) -> AsyncIterator[UpstreamStream]:  # noqa: ARG002
        """Streams the batches from the queue and the end of the stream."""
        async with aclosing(self._batches()) as batches:
            yield UpstreamStream(chunks_of(self._data(batches)))

    async def _data(self, batches: AsyncIterator[Sequence[Any]]) -> AsyncIterator[bytes]:
        async for batch in batches:
            yield as_events(batch)
        yield event(DONE)

    async def _batches(self) -> AsyncGenerator[Sequence[Any], None]:
        self.started.set()
        try:
            while (batch := await self.batches.get()) is not None:
                yield batch
        finally:
            self.ended.set()

    async def close(self) -> None:
        """Sets `closed`; no call may be running."""
        assert self.started.is_set() == self.ended.is_set()
        self.closed.set()


def as_bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def as_events(batch: Sequence[Any]) -> bytes:
    return b"".join(event(as_bytes(chunk)) for chunk in batch)


@asynccontextmanager
async def connected(upstream: Upstream) -> AsyncIterator[aio.Channel]:
    """A channel to a relay in front of the upstream."""
    async with (
        serving(upstream) as port,
        aio.insecure_channel(f"127.0.0.1:{port}", OWN_CONNECTION) as channel,
    ):
        yield channel


async def created(upstream: Upstream, request: CreateChatCompletionRequest) -> Any:
    """The completion of a unary call."""
    async with connected(upstream) as channel:
        call = ChatCompletionServiceStub(channel).CreateChatCompletion(request, timeout=TIMEOUT)
        return to_dict((await call).completion)


async def streamed(upstream: Upstream, request: StreamChatCompletionRequest) -> list[Any]:
    """The responses of a streaming call, each as a list of its chunks."""
    messages: list[Any] = []
    await streamed_into(messages, upstream, request)
    return messages


async def streamed_into(
    messages: list[Any], upstream: Upstream, request: StreamChatCompletionRequest
) -> None:
    """Appends the responses of a streaming call to a list, even if the call fails in the end."""
    async with connected(upstream) as channel:
        call = ChatCompletionServiceStub(channel).StreamChatCompletion(request, timeout=TIMEOUT)
        async for response in call:
            messages.append([to_dict(part) for part in response.chunks])  # noqa: PERF401 (it fails)


def read_error(error: aio.AioRpcError) -> Any:
    """OpenAI's error object in the details of a call's status."""
    trailers = dict(error.trailing_metadata())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    assert error.code().value[0] == status.code
    assert error.details() == status.message
    response = ErrorResponse()
    assert status.details[0].Unpack(response)
    return to_dict(response)


async def failed(upstream: Upstream, **members: Any) -> aio.AioRpcError:
    """The error of a unary call."""
    with pytest.raises(aio.AioRpcError) as caught:
        await created(upstream, create_request(**members))
    return caught.value
