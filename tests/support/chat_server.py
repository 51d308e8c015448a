"""A server of chat completions that answers and fails as a test tells it."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

import chatpb
from chatpb.v1 import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionRequest,
    CreateChatCompletionRequest,
    CreateChatCompletionResponse,
    StreamChatCompletionRequest,
    StreamChatCompletionResponse,
)
from chatpb.v1.chat_completion_service_pb2_grpc import (
    ChatCompletionServiceServicer,
    add_ChatCompletionServiceServicer_to_server,
)

TRAILERS = (("x-ratelimit-remaining", "7"), ("x-request-id", "req_7"), ("x-raw-bin", b"\0\xff"))


COMPLETION = ChatCompletion(id="a", model="m")


CHUNKS = [
    chatpb.from_dict({"id": "a", "choices": [{"index": 0, "delta": delta}]}, ChatCompletionChunk)
    for delta in ({"role": "assistant"}, {"content": "po"}, {"content": "ng"})
]


class Server(ChatCompletionServiceServicer):
    """Answers with COMPLETION and CHUNKS, and keeps what it receives.

    Attributes:
        failures: The statuses that the next calls fail with, one each.
        after: The number of chunks that a stream sends before it fails or is held.
        holds: Whether calls are held: they do not end by themselves.
        size: The length of the model's name in completions.
        requests: The requests.
        metadata: The metadata of each call.
        remaining: The seconds to each call's deadline.
        began: Set when a call is held.
        ended: Set when a held call has ended.
    """

    def __init__(self) -> None:
        self.address = ""
        self.failures: list[grpc.Status] = []
        self.after = 0
        self.holds = False
        self.size = 1
        self.requests: list[ChatCompletionRequest] = []
        self.metadata: list[list[tuple[str, Any]]] = []
        self.remaining: list[float | None] = []
        self.began = asyncio.Event()
        self.ended = asyncio.Event()

    async def CreateChatCompletion(  # noqa: N802 (gRPC's name)
        self, request: CreateChatCompletionRequest, context: Any
    ) -> CreateChatCompletionResponse:
        """Answers with the completion."""
        self._note(request.request, context)
        await self._trouble(context)
        completion = copy.deepcopy(COMPLETION)
        completion.model *= self.size
        return CreateChatCompletionResponse(completion=completion)

    async def StreamChatCompletion(  # noqa: N802
        self, request: StreamChatCompletionRequest, context: Any
    ) -> AsyncIterator[StreamChatCompletionResponse]:
        """Answers with the chunks, the last two together."""
        self._note(request.request, context)
        if self.after:
            yield StreamChatCompletionResponse(chunks=CHUNKS[: self.after])
        await self._trouble(context)
        if not self.after:
            yield StreamChatCompletionResponse(chunks=CHUNKS[:1])
            yield StreamChatCompletionResponse(chunks=CHUNKS[1:])

    def _note(self, request: ChatCompletionRequest, context: Any) -> None:
        self.requests.append(request)
        self.metadata.append(list(context.invocation_metadata()))
        self.remaining.append(context.time_remaining())
        context.set_trailing_metadata(TRAILERS)

    async def _trouble(self, context: Any) -> None:
        if self.holds:
            self.began.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.ended.set()
        if self.failures:
            failure = self.failures.pop(0)
            trailers = (*failure.trailing_metadata, *TRAILERS)
            await context.abort(failure.code, failure.details, trailers)


@asynccontextmanager
async def served(credentials: grpc.ServerCredentials | None = None) -> AsyncIterator[Server]:
    """A server on a port of its own."""
    server, servicer = grpc.aio.server(), Server()
    options: Any = server  # the stub's type requires a server of either kind
    add_ChatCompletionServiceServicer_to_server(servicer, options)
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    servicer.address = f"127.0.0.1:{port}"
    try:
        yield servicer
    finally:
        await server.stop(0)
