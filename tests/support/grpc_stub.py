"""A gRPC server that keeps what it is sent, and answers or fails as a test tells it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc

from chatpb import from_dict, to_dict
from chatpb.v1 import (
    ChatCompletion,
    ChatCompletionChunk,
    CreateChatCompletionRequest,
    CreateChatCompletionResponse,
    StreamChatCompletionResponse,
)
from support.build import choice, chunk, completion


class Stub(grpc.GenericRpcHandler):
    """A server that keeps what it receives, and answers with a completion or a status.

    Attributes:
        target: Its address.
        metadata: The metadata of each call.
        requests: The JSON value of each request.
        failure: The status of the next calls.
        after: Whether streams fail after their first chunk.
        initial: The initial metadata of answers.
        trailing: The trailing metadata.
    """

    def __init__(self) -> None:
        self.target = ""
        self.metadata: list[dict[str, Any]] = []
        self.requests: list[Any] = []
        self.failure: grpc.Status | None = None
        self.after = False
        self.initial: tuple[tuple[str, str], ...] = ()
        self.trailing: tuple[tuple[str, str], ...] = ()
        self.data = b""

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """The handler of an rpc; None for other services."""
        if ".ChatCompletionService/" not in details.method:
            return None
        if "Stream" in details.method:
            return grpc.unary_stream_rpc_method_handler(self._stream)
        return grpc.unary_unary_rpc_method_handler(self._create)

    async def _create(self, request: bytes, context: Any) -> bytes:
        await self._note(request, context)
        await self._fail(context)
        answer = from_dict(completion(choice("pong")), ChatCompletion)
        return self.data or CreateChatCompletionResponse(completion=answer).SerializeToString()

    async def _stream(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        await self._note(request, context)
        answer = from_dict(chunk("a"), ChatCompletionChunk)
        if self.after:
            yield StreamChatCompletionResponse(chunks=[answer]).SerializeToString()
        await self._fail(context)
        yield self.data or StreamChatCompletionResponse(chunks=[answer]).SerializeToString()

    async def _note(self, request: bytes, context: Any) -> None:
        self.requests.append(to_dict(CreateChatCompletionRequest.FromString(request).request))
        self.metadata.append(dict(context.invocation_metadata()))
        await context.send_initial_metadata(self.initial)
        context.set_trailing_metadata(self.trailing)

    async def _fail(self, context: Any) -> None:
        if self.failure is not None:
            trailers = (*self.failure.trailing_metadata, *self.trailing)
            await context.abort(self.failure.code, self.failure.details, trailers)


@asynccontextmanager
async def served(
    credentials: grpc.ServerCredentials | None = None,
    port: int = 0,
    options: Sequence[tuple[str, Any]] = (),
) -> AsyncIterator[Stub]:
    """A stub on a port."""
    stub = Stub()
    server = grpc.aio.server(handlers=[stub], options=options)
    address = f"127.0.0.1:{port}"
    if credentials is None:
        port = server.add_insecure_port(address)
    else:
        port = server.add_secure_port(address, credentials)
    await server.start()
    stub.target = f"127.0.0.1:{port}"
    try:
        yield stub
    finally:
        await server.stop(0)
