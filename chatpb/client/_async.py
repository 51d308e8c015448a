"""The client for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import grpc
import grpc.aio

from chatpb._forks import Owner
from chatpb._rpc.loops import Home
from chatpb._rpc.metadata import Metadata, mapping
from chatpb.client._ready import CHECK, PAUSE, REQUEST, Waiting
from chatpb.client._shared import (
    END,
    BaseClient,
    BaseStream,
    Request,
    completion_of,
    create_request,
    model_of,
    models_of,
    stream_request,
    translated,
)
from chatpb.client._stored import AsyncStoredCalls
from chatpb.v1.chat_completion_chunk_pb2 import ChatCompletionChunk
from chatpb.v1.chat_completion_pb2 import ChatCompletion
from chatpb.v1.chat_completion_service_pb2 import StreamChatCompletionResponse
from chatpb.v1.chat_completion_service_pb2_grpc import ChatCompletionServiceStub
from chatpb.v1.model_pb2 import Model, ModelList
from chatpb.v1.model_service_pb2 import GetModelRequest, ListModelsRequest
from chatpb.v1.model_service_pb2_grpc import ModelServiceStub
from chatpb.v1.stored_chat_completion_service_pb2_grpc import StoredChatCompletionServiceStub

if TYPE_CHECKING:
    from chatpb.v1.chat_completion_service_pb2_grpc import ChatCompletionServiceAsyncStub
    from chatpb.v1.model_service_pb2_grpc import ModelServiceAsyncStub


class AsyncClient(BaseClient, AsyncStoredCalls):
    """A client for asyncio: one server, any number of concurrent calls.

    It belongs to the event loop and the process of its first call; calls in another one raise
    `RuntimeError`. It is an async context manager that closes itself.

    Args:
        target: The address of the server: ``HOST:PORT``, or another name that gRPC resolves. No
            proxy is used for loopback addresses.
        credentials: How the connection is encrypted, such as `grpc.ssl_channel_credentials()`.
            None: no encryption.
        token: Sent with each call, as ``authorization: Bearer TOKEN``.
        allow_insecure_token: Whether the token may leave this machine unencrypted.
        timeout: The time limit of a call in seconds, including its stream; `math.inf`: no limit.
        metadata: Sent with each call.
        options: Channel options; they override the ones that the client sets.

    Raises:
        ValueError: The token would leave this machine unencrypted, metadata cannot be sent, or the
            timeout is NaN.
        TypeError: An argument has another type.
    """

    _channel: grpc.aio.Channel | None = None  # made when there is an event loop

    def _start(self) -> None:
        self._home = Home("the client")

    async def create(
        self, request: Request, *, timeout: float | None = None, metadata: Metadata = ()
    ) -> ChatCompletion:
        """Asks for a completion.

        Args:
            request: The parameters: a message, or a mapping with OpenAI's members.
            timeout: The time limit of the call in seconds; None: the client's.
            metadata: Sent with the call, after the client's metadata.

        Raises:
            ChatCompletionError: The call failed.
            ConversionError: The members are not a JSON object (see `chatpb.from_dict`).
            ValueError: The metadata cannot be sent, or the timeout is NaN.
            TypeError: An argument has another type.
            RuntimeError: The client is closed, or belongs to another event loop or process.
        """
        return (await self.create_with_metadata(request, timeout=timeout, metadata=metadata))[0]

    async def create_with_metadata(
        self, request: Request, *, timeout: float | None = None, metadata: Metadata = ()
    ) -> tuple[ChatCompletion, Mapping[str, str | bytes]]:
        """Asks for a completion, as `create` does.

        Returns:
            The completion, and the call's trailing metadata, such as rate limits.
        """
        arguments = self._arguments(timeout, metadata)
        call = self._connected().CreateChatCompletion(create_request(request), **arguments)
        with translated():
            response = await call
            return completion_of(response), mapping(await call.trailing_metadata())

    def stream(
        self, request: Request, *, timeout: float | None = None, metadata: Metadata = ()
    ) -> AsyncChatCompletionStream:
        """Asks for a completion piece by piece.

        The arguments and errors are those of `create`, but a failure of the call is raised when
        the chunks are read.

        Returns:
            The chunks as they arrive. ``async with client.stream(...) as stream`` cancels the call
            if the block ends before the stream does.
        """
        arguments = self._arguments(timeout, metadata)
        call = self._connected().StreamChatCompletion(stream_request(request), **arguments)
        return AsyncChatCompletionStream(call)

    async def wait_until_ready(
        self, timeout: float | None = None, *, metadata: Metadata = ()
    ) -> None:
        """Waits until the server accepts calls.

        That is when its health service reports SERVING for the server as a whole. A server without
        that service is ready when it can be reached.

        Args:
            timeout: How many seconds to wait at most; None: the client's timeout.
            metadata: Sent with the question, after the client's metadata.

        Raises:
            ChatCompletionError: The server is not ready in time (UNAVAILABLE), or refuses to say.
            ValueError: The metadata cannot be sent, or the timeout is NaN.
            TypeError: An argument has another type.
            RuntimeError: The client is closed, or belongs to another event loop or process.
        """
        arguments = self._arguments(timeout, metadata)
        waiting = Waiting(arguments.pop("timeout"))
        self._connected()
        assert self._channel is not None
        check: Any = self._channel.unary_unary(CHECK)
        with translated():
            while True:
                try:
                    asked = check(REQUEST, timeout=waiting.left, wait_for_ready=True, **arguments)
                    if waiting.is_over(await asked):
                        return
                except grpc.RpcError as error:
                    if waiting.failed(error):
                        return
                await asyncio.sleep(PAUSE)

    async def list_models(
        self, *, timeout: float | None = None, metadata: Metadata = ()
    ) -> ModelList:
        """Asks for all models.

        Args:
            timeout: The time limit of the call in seconds; None: the client's.
            metadata: Sent with the call, after the client's metadata.

        Raises:
            ChatCompletionError: The call failed: UNIMPLEMENTED if the server cannot list models.
            ValueError: The metadata cannot be sent, or the timeout is NaN.
            TypeError: An argument has another type.
            RuntimeError: The client is closed, or belongs to another event loop or process.
        """
        arguments = self._arguments(timeout, metadata)
        self._connected()
        with translated():
            return models_of(await self._models.ListModels(ListModelsRequest(), **arguments))

    async def get_model(
        self, model: str, *, timeout: float | None = None, metadata: Metadata = ()
    ) -> Model:
        """Asks for one model.

        Args:
            model: Its name.
            timeout: As for `list_models`.
            metadata: As for `list_models`.

        Raises:
            ChatCompletionError: The call failed: NOT_FOUND if there is no such model.
            ValueError: As for `list_models`.
            TypeError: As for `list_models`.
            RuntimeError: As for `list_models`.
        """
        arguments = self._arguments(timeout, metadata)
        self._connected()
        with translated():
            return model_of(await self._models.GetModel(GetModelRequest(model=model), **arguments))

    async def _stored(
        self, method: Any, request: Any, timeout: float | None, metadata: Metadata
    ) -> Any:
        arguments = self._arguments(timeout, metadata)
        self._connected()
        with translated():
            return await getattr(self._stored_stub, method.name)(request, **arguments)

    async def close(self) -> None:
        """Closes the connection. Running calls fail with CANCELLED."""
        if self._is_forked:
            return
        self._is_closed = True
        if self._channel is not None:
            await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _connected(self) -> ChatCompletionServiceAsyncStub:
        self._home.enter()
        if self._channel is None:
            self._owner = Owner()
            self._channel = self._server.open(grpc.aio.insecure_channel, grpc.aio.secure_channel)
            self._stub: ChatCompletionServiceAsyncStub = ChatCompletionServiceStub(self._channel)
            self._models: ModelServiceAsyncStub = ModelServiceStub(self._channel)
            self._stored_stub: Any = StoredChatCompletionServiceStub(self._channel)
        return self._stub


class AsyncChatCompletionStream(BaseStream):
    """The chunks of a completion, as they arrive.

    An async iterator of `ChatCompletionChunk`, and an async context manager that cancels the call
    at its end. A failure is raised as `ChatCompletionError`, after the chunks before it.
    """

    def __init__(self, call: grpc.aio.UnaryStreamCall[Any, StreamChatCompletionResponse]) -> None:
        super().__init__(call)
        self._responses = aiter(call)
        self._home = Home("the stream")
        self._home.enter()

    async def fold(self, *, ignore_unknown_fields: bool = False) -> ChatCompletion:
        """Reads the rest of the stream.

        Args:
            ignore_unknown_fields: As for `chatpb.to_json`.

        Returns:
            The completion made of all chunks, including those read before (see `chatpb.fold`).

        Raises:
            ChatCompletionError: The call failed, or was left before its end.
            ConversionError: There was no chunk, or a chunk cannot be read.
        """
        async for _ in self:
            pass
        return self._fold(ignore_unknown_fields)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ChatCompletionChunk:
        self._home.enter()
        while (chunk := self._next()) is None:
            if self._is_complete:
                raise StopAsyncIteration
            with self._reading():
                part = await anext(self._responses, END)
                if part is END:
                    self._end(await self._call.trailing_metadata())
                else:
                    self._add(part)
        return chunk

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._leave()
