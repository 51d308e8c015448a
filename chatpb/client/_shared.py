"""What both clients share: everything except the waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import grpc

from chatpb._errors import ChatpbError, StateError
from chatpb._forks import Owner
from chatpb._mapping.convert import from_dict
from chatpb._rpc.failure import FailedCall
from chatpb._rpc.metadata import NO_METADATA, Metadata, checked, mapping
from chatpb._rpc.server import Server, timeout_of
from chatpb._stream.compact import Restorer
from chatpb._stream.fold import fold
from chatpb.v1.chat_completion_chunk_pb2 import ChatCompletionChunk
from chatpb.v1.chat_completion_pb2 import ChatCompletion
from chatpb.v1.chat_completion_request_pb2 import ChatCompletionRequest
from chatpb.v1.chat_completion_service_pb2 import (
    CreateChatCompletionRequest,
    CreateChatCompletionResponse,
    StreamChatCompletionRequest,
    StreamChatCompletionResponse,
)
from chatpb.v1.error_pb2 import Error
from chatpb.v1.model_pb2 import Model, ModelList
from chatpb.v1.model_service_pb2 import GetModelResponse, ListModelsResponse

Request = ChatCompletionRequest | Mapping[str, Any]
END: Final = object()


class ChatCompletionError(ChatpbError):
    """A call that failed.

    Attributes:
        code: The gRPC status code.
        message: What went wrong: OpenAI's message, or the status message if there is none.
        error: OpenAI's error object, or None if the server sent none.
        retry_after: The number of seconds to wait before the next try, if the server sent it.
        request_id: The server's name for the call, for questions to its operators, if it sent one.
        metadata: The call's trailing metadata, such as rate limits. If a key is repeated, the last
            one wins.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        error: Error | None = None,
        retry_after: float | None = None,
        request_id: str | None = None,
        metadata: Mapping[str, str | bytes] = NO_METADATA,
    ) -> None:
        self.code = code
        self.message = message
        self.error = error
        self.retry_after = retry_after
        self.request_id = request_id
        self.metadata = dict(metadata)

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"


class BaseClient:
    """What both clients share: everything except the waiting."""

    def __init__(
        self,
        target: str,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        token: str | None = None,
        allow_insecure_token: bool = False,
        timeout: float = 600,
        metadata: Metadata = (),
        options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        self._server = Server(
            target,
            credentials=credentials,
            token=token,
            allow_insecure_token=allow_insecure_token,
            metadata=metadata,
            options=options,
            retries=True,
        )
        self._target = target
        self._timeout = timeout_of(timeout)
        self._is_closed = False
        self._owner: Owner | None = None  # of the channel, once there is one
        self._start()

    def _start(self) -> None:
        """Prepares for calls."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._target!r})"

    @property
    def _is_forked(self) -> bool:
        """Whether this process was forked from the one that the channel belongs to."""
        return self._owner is not None and not self._owner.is_here

    def _arguments(self, timeout: float | None, metadata: Metadata) -> dict[str, Any]:
        """The arguments of a call, in addition to the request."""
        if self._owner is not None:
            self._owner.check("the client")
        if self._is_closed:
            raise StateError("the client is closed")
        return {
            "timeout": self._timeout if timeout is None else timeout_of(timeout),
            "metadata": (*self._server.metadata, *checked(metadata)),
        }


class BaseStream:
    """What both streams share: everything except the waiting."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._owner = Owner()
        self._parts: list[StreamChatCompletionResponse] = []
        self._restorer = Restorer()
        self._waiting: Iterator[ChatCompletionChunk] = iter(())
        self._failure: ChatCompletionError | None = None
        self._metadata = NO_METADATA
        self._is_complete = False

    @property
    def metadata(self) -> Mapping[str, str | bytes]:
        """The answer's trailing metadata, such as rate limits; empty until the stream has ended."""
        return self._failure.metadata if self._failure is not None else self._metadata

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Surrounds a read from the call; a failure is raised now and again by each later read."""
        self._owner.check("the stream")
        if self._failure is not None:
            raise self._failure
        try:
            with translated():
                yield
        except ChatCompletionError as error:
            self._failure = error
            raise
        except BaseException:
            self._failure = cancelled("the stream was interrupted")
            raise

    def _add(self, part: object) -> None:
        if not isinstance(part, StreamChatCompletionResponse):
            raise unreadable()
        self._parts.append(part)
        self._waiting = self._restorer.add(part)

    def _next(self) -> ChatCompletionChunk | None:
        """The next of the chunks that have arrived, or None if there is none."""
        try:
            return next(self._waiting, None)
        except ValueError as error:
            self._call.cancel()
            self._failure = unreadable()
            raise self._failure from error

    def _end(self, metadata: Iterable[tuple[str, str | bytes]]) -> None:
        self._metadata = mapping(metadata)
        self._is_complete = True

    def _leave(self) -> None:
        if not self._owner.is_here:
            return
        self._call.cancel()
        if not self._is_complete:
            self._waiting = iter(())
            self._failure = self._failure or cancelled("the stream was left before its end")

    def _fold(self, ignore_unknown_fields: bool) -> ChatCompletion:
        self._waiting = iter(())
        restorer = Restorer()
        chunks = (chunk for part in self._parts for chunk in restorer.add(part))
        return fold(chunks, ignore_unknown_fields=ignore_unknown_fields)


def create_request(request: Request) -> CreateChatCompletionRequest:
    """The message that asks for a whole completion."""
    return CreateChatCompletionRequest(request=_message(request))


def stream_request(request: Request) -> StreamChatCompletionRequest:
    """The message that asks for a stream."""
    return StreamChatCompletionRequest(request=_message(request), compact=True)


def _message(request: Request) -> ChatCompletionRequest:
    if isinstance(request, ChatCompletionRequest):
        return request
    return from_dict(request, ChatCompletionRequest)


def completion_of(response: object) -> ChatCompletion:
    """The completion in a response, which gRPC gives as None if it cannot be parsed."""
    if not isinstance(response, CreateChatCompletionResponse):
        raise unreadable()
    return response.completion


def models_of(response: object) -> ModelList:
    """The models in a response, as `completion_of` does."""
    if not isinstance(response, ListModelsResponse):
        raise unreadable()
    return response.models


def model_of(response: object) -> Model:
    """The model in a response, as `completion_of` does."""
    if not isinstance(response, GetModelResponse):
        raise unreadable()
    return response.model


@contextmanager
def translated() -> Iterator[None]:
    """Turns the errors of a call into `ChatCompletionError`."""
    try:
        yield
    except grpc.RpcError as error:
        raise _error(error) from error
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # The call was cancelled, not the task that waits for it.
        raise cancelled("the call was cancelled") from None


def _error(error: grpc.RpcError) -> ChatCompletionError:
    failure = FailedCall.of(error)
    response = failure.response
    known = response.error if response is not None and response.HasField("error") else None
    return ChatCompletionError(
        failure.code,
        (known.message if known is not None else "") or failure.text or "no details",
        known,
        failure.retry_after,
        failure.request_id,
        failure.metadata,
    )


def cancelled(message: str) -> ChatCompletionError:
    """The error of a call that was ended on this side."""
    return ChatCompletionError(grpc.StatusCode.CANCELLED, message)


def unreadable() -> ChatCompletionError:
    """The error of an answer that is not the expected message."""
    return ChatCompletionError(grpc.StatusCode.INTERNAL, "the answer cannot be read")
