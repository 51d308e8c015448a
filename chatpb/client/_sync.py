"""The client without asyncio."""

from __future__ import annotations

import queue
import time
from collections.abc import Mapping
from typing import Any, Self

import grpc

from chatpb._forks import Owner
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
from chatpb.client._stored import StoredCalls
from chatpb.v1.chat_completion_chunk_pb2 import ChatCompletionChunk
from chatpb.v1.chat_completion_pb2 import ChatCompletion
from chatpb.v1.chat_completion_service_pb2_grpc import ChatCompletionServiceStub
from chatpb.v1.model_pb2 import Model, ModelList
from chatpb.v1.model_service_pb2 import GetModelRequest, ListModelsRequest
from chatpb.v1.model_service_pb2_grpc import ModelServiceStub
from chatpb.v1.stored_chat_completion_service_pb2_grpc import StoredChatCompletionServiceStub


class Client(BaseClient, StoredCalls):
    """A client without asyncio: one server, any number of threads.

    It is a context manager that closes itself. The arguments and errors are those of `AsyncClient`.
    It belongs to the process that made it.
    """

    def _start(self) -> None:
        self._owner = Owner()
        self._channel = self._server.open(grpc.insecure_channel, grpc.secure_channel)
        self._stub = ChatCompletionServiceStub(self._channel)
        self._models = ModelServiceStub(self._channel)
        self._stored_stub: Any = StoredChatCompletionServiceStub(self._channel)

    def create(
        self, request: Request, *, timeout: float | None = None, metadata: Metadata = ()
    ) -> ChatCompletion:
        """Asks for a completion, as `AsyncClient.create` does."""
        return self.create_with_metadata(request, timeout=timeout, metadata=metadata)[0]

    def create_with_metadata(
        self, request: Request, *, timeout: float | None = None, metadata: Metadata = ()
    ) -> tuple[ChatCompletion, Mapping[str, str | bytes]]:
        """Asks for a completion, as `AsyncClient.create_with_metadata` does."""
        arguments = self._arguments(timeout, metadata)
        with translated():
            response, call = self._stub.CreateChatCompletion.with_call(
                create_request(request), **arguments
            )
            return completion_of(response), mapping(call.trailing_metadata())

    def stream(
        self, request: Request, *, timeout: float | None = None, metadata: Metadata = ()
    ) -> ChatCompletionStream:
        """Asks for a completion piece by piece, as `AsyncClient.stream` does."""
        arguments = self._arguments(timeout, metadata)
        return ChatCompletionStream(
            self._stub.StreamChatCompletion(stream_request(request), **arguments)
        )

    def wait_until_ready(self, timeout: float | None = None, *, metadata: Metadata = ()) -> None:
        """Waits until the server accepts calls, as `AsyncClient.wait_until_ready` does."""
        arguments = self._arguments(timeout, metadata)
        waiting = Waiting(arguments.pop("timeout"))
        check: Any = self._channel.unary_unary(CHECK)
        with translated():
            while True:
                try:
                    asked = check(REQUEST, timeout=waiting.left, wait_for_ready=True, **arguments)
                    if waiting.is_over(asked):
                        return
                except grpc.RpcError as error:
                    if waiting.failed(error):
                        return
                time.sleep(PAUSE)

    def _connect(self, timeout: float | None = None) -> bool:
        """Connects before the first call, for those who measure how long that takes.

        Returns:
            Whether there is a connection; if not, the next call fails and has the reason.
        """
        states: queue.SimpleQueue[grpc.ChannelConnectivity] = queue.SimpleQueue()
        self._channel.subscribe(states.put, try_to_connect=True)
        waiting = Waiting(timeout)
        try:
            while True:
                state = states.get(timeout=waiting.left)
                if state == grpc.ChannelConnectivity.READY:
                    return True
                if state == grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                    return False
        except queue.Empty:
            return False
        finally:
            self._channel.unsubscribe(states.put)

    def list_models(self, *, timeout: float | None = None, metadata: Metadata = ()) -> ModelList:
        """Asks for all models, as `AsyncClient.list_models` does."""
        arguments = self._arguments(timeout, metadata)
        with translated():
            return models_of(self._models.ListModels(ListModelsRequest(), **arguments))

    def get_model(
        self, model: str, *, timeout: float | None = None, metadata: Metadata = ()
    ) -> Model:
        """Asks for one model, as `AsyncClient.get_model` does."""
        arguments = self._arguments(timeout, metadata)
        with translated():
            return model_of(self._models.GetModel(GetModelRequest(model=model), **arguments))

    def _stored(self, method: Any, request: Any, timeout: float | None, metadata: Metadata) -> Any:
        arguments = self._arguments(timeout, metadata)
        with translated():
            return getattr(self._stored_stub, method.name)(request, **arguments)

    def close(self) -> None:
        """Closes the connection. Running calls fail with CANCELLED."""
        if self._is_forked:
            return
        self._is_closed = True
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ChatCompletionStream(BaseStream):
    """The chunks of a completion, as they arrive.

    An iterator of `ChatCompletionChunk`, and a context manager that cancels the call at its end. A
    failure is raised as `ChatCompletionError`, after the chunks before it.
    """

    def fold(self, *, ignore_unknown_fields: bool = False) -> ChatCompletion:
        """Reads the rest of the stream, as `AsyncChatCompletionStream.fold` does."""
        for _ in self:
            pass
        return self._fold(ignore_unknown_fields)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> ChatCompletionChunk:
        while (chunk := self._next()) is None:
            if self._is_complete:
                raise StopIteration
            with self._reading():
                part = next(self._call, END)
                if part is END:
                    self._end(self._call.trailing_metadata())
                else:
                    self._add(part)
        return chunk

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()
