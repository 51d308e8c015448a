"""Clients of `ChatCompletionService`, such as the relay: one for asyncio, and its twin without.

Needs the extra ``chatpb[client]``; nothing else of chatpb but the command ``call`` imports it.

A call that is UNAVAILABLE before its first answer, also because its connection broke, is tried up
to three times, with pauses; any other failure is the caller's to judge (see
`ChatCompletionError.retry_after`).

While a model thinks, the connection is pinged every 30 seconds, so that a broken one is noticed.
The relay permits that; for a server that says ``too_many_pings``, set the channel option
``grpc.keepalive_time_ms`` to what it permits, by default of gRPC 300,000.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Self

from chatpb._extras import raise_hint
from chatpb._mapping.convert import from_dict
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

try:
    import grpc.aio

    from chatpb._rpc.failure import FailedCall
    from chatpb._rpc.metadata import NO_METADATA, Metadata, checked, mapping
    from chatpb._rpc.server import Server, timeout_of
    from chatpb.v1.chat_completion_service_pb2_grpc import ChatCompletionServiceStub
except ModuleNotFoundError as missing:
    raise_hint("chatpb.client", missing)

if TYPE_CHECKING:
    from chatpb.v1.chat_completion_service_pb2_grpc import ChatCompletionServiceAsyncStub

__all__ = [
    "AsyncChatCompletionStream",
    "AsyncClient",
    "ChatCompletionError",
    "ChatCompletionStream",
    "Client",
]

_Request = ChatCompletionRequest | Mapping[str, Any]
_END: Final = object()


class ChatCompletionError(Exception):
    """A call that failed.

    Attributes:
        code: The status.
        message: What went wrong: OpenAI's message, or else the status's.
        error: OpenAI's error object, or None if the server sent none.
        retry_after: In how many seconds to try again, if the server said so.
        request_id: The server's name for the call, to ask its operators about; if it said so.
        metadata: The call's trailing metadata, such as rate limits; of equal keys the last.
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


class _Client:
    """What both clients share: all but the waiting."""

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
        self._timeout = timeout
        self._is_closed = False
        self._start()

    def _start(self) -> None:
        """Prepares for calls."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._target!r})"

    def _arguments(self, timeout: float | None, metadata: Metadata) -> dict[str, Any]:
        """The arguments of a call, beside the request."""
        if self._is_closed:
            raise RuntimeError("the client is closed")
        return {
            "timeout": timeout_of(self._timeout if timeout is None else timeout),
            "metadata": (*self._server.metadata, *checked(metadata)),
        }


class AsyncClient(_Client):
    """A client for asyncio, for one server and any number of calls at once.

    Belongs to the event loop of its first call. An async context manager that closes it.

    Args:
        target: Where the server is: ``HOST:PORT``, or another name that gRPC knows. Loopback
            addresses are never reached through a proxy.
        credentials: How the connection is encrypted, such as `grpc.ssl_channel_credentials()`.
            None: it is not.
        token: Sent with each call, as ``authorization: Bearer TOKEN``.
        allow_insecure_token: Whether the token may leave this machine unencrypted.
        timeout: In how many seconds a call must be over, its stream included; `math.inf`: no limit.
        metadata: Sent with each call.
        options: Channel options, instead of or beside those that are set here.

    Raises:
        ValueError: The token would leave this machine unencrypted, or metadata cannot be sent.
    """

    _channel: grpc.aio.Channel | None = None  # not before there is a loop
    _stub: ChatCompletionServiceAsyncStub

    async def create(
        self, request: _Request, *, timeout: float | None = None, metadata: Metadata = ()
    ) -> ChatCompletion:
        """Asks for a completion.

        Args:
            request: The parameters, as a message or as OpenAI's members.
            timeout: In how many seconds the call must be over; None: as the client says.
            metadata: Sent with the call, after the client's.

        Raises:
            ChatCompletionError: The call failed.
            ConversionError: The members are no JSON object (see `chatpb.from_dict`).
            ValueError: The metadata cannot be sent.
            RuntimeError: The client is closed.
        """
        return (await self.create_with_metadata(request, timeout=timeout, metadata=metadata))[0]

    async def create_with_metadata(
        self, request: _Request, *, timeout: float | None = None, metadata: Metadata = ()
    ) -> tuple[ChatCompletion, Mapping[str, str | bytes]]:
        """Asks for a completion, as `create` does.

        Returns:
            The completion, and the answer's trailing metadata, such as rate limits.
        """
        arguments = self._arguments(timeout, metadata)
        call = self._connected().CreateChatCompletion(_create_request(request), **arguments)
        with _translated():
            response = await call
            return _completion(response), mapping(await call.trailing_metadata())

    def stream(
        self, request: _Request, *, timeout: float | None = None, metadata: Metadata = ()
    ) -> AsyncChatCompletionStream:
        """Asks for a completion piece by piece.

        The arguments and errors are those of `create`, but a call that fails does so when its
        chunks are read.

        Returns:
            The chunks as they come. ``async with client.stream(...) as stream`` cancels the call
            where it is left early.
        """
        arguments = self._arguments(timeout, metadata)
        call = self._connected().StreamChatCompletion(_stream_request(request), **arguments)
        return AsyncChatCompletionStream(call)

    async def close(self) -> None:
        """Ends the connection, and the calls that run as CANCELLED."""
        self._is_closed = True
        if self._channel is not None:
            await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _connected(self) -> ChatCompletionServiceAsyncStub:
        if self._channel is None:
            self._channel = self._server.open(grpc.aio.insecure_channel, grpc.aio.secure_channel)
            self._stub = ChatCompletionServiceStub(self._channel)
        return self._stub


class Client(_Client):
    """A client without asyncio, for one server and any number of threads.

    A context manager that closes it. The arguments and errors are those of `AsyncClient`.
    """

    def _start(self) -> None:
        self._channel = self._server.open(grpc.insecure_channel, grpc.secure_channel)
        self._stub = ChatCompletionServiceStub(self._channel)

    def create(
        self, request: _Request, *, timeout: float | None = None, metadata: Metadata = ()
    ) -> ChatCompletion:
        """Asks for a completion, as `AsyncClient.create` does."""
        return self.create_with_metadata(request, timeout=timeout, metadata=metadata)[0]

    def create_with_metadata(
        self, request: _Request, *, timeout: float | None = None, metadata: Metadata = ()
    ) -> tuple[ChatCompletion, Mapping[str, str | bytes]]:
        """Asks for a completion, as `AsyncClient.create_with_metadata` does."""
        arguments = self._arguments(timeout, metadata)
        with _translated():
            response, call = self._stub.CreateChatCompletion.with_call(
                _create_request(request), **arguments
            )
            return _completion(response), mapping(call.trailing_metadata())

    def stream(
        self, request: _Request, *, timeout: float | None = None, metadata: Metadata = ()
    ) -> ChatCompletionStream:
        """Asks for a completion piece by piece, as `AsyncClient.stream` does."""
        arguments = self._arguments(timeout, metadata)
        return ChatCompletionStream(
            self._stub.StreamChatCompletion(_stream_request(request), **arguments)
        )

    def close(self) -> None:
        """Ends the connection, and the calls that run as CANCELLED."""
        self._is_closed = True
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Stream:
    """What both streams share: all but the waiting."""

    def __init__(self, call: Any) -> None:
        self._call = call
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
        """Reading from the call; a failure is raised now and whenever one reads again."""
        if self._failure is not None:
            raise self._failure
        try:
            with _translated():
                yield
        except ChatCompletionError as error:
            self._failure = error
            raise
        except BaseException:
            self._failure = _cancelled("the stream was interrupted")
            raise

    def _add(self, part: object) -> None:
        if not isinstance(part, StreamChatCompletionResponse):
            raise _unreadable()
        self._parts.append(part)
        self._waiting = self._restorer.add(part)

    def _next(self) -> ChatCompletionChunk | None:
        """The next of the chunks that have come."""
        try:
            return next(self._waiting, None)
        except ValueError as error:
            self._call.cancel()
            self._failure = _unreadable()
            raise self._failure from error

    def _end(self, metadata: Iterable[tuple[str, str | bytes]]) -> None:
        self._metadata = mapping(metadata)
        self._is_complete = True

    def _leave(self) -> None:
        self._call.cancel()
        if not self._is_complete:
            self._waiting = iter(())
            self._failure = self._failure or _cancelled("the stream was left before its end")

    def _fold(self, ignore_unknown_fields: bool) -> ChatCompletion:
        self._waiting = iter(())
        restorer = Restorer()
        chunks = (chunk for part in self._parts for chunk in restorer.add(part))
        return fold(chunks, ignore_unknown_fields=ignore_unknown_fields)


class AsyncChatCompletionStream(_Stream):
    """The chunks of a completion, as they come.

    An async iterator of `ChatCompletionChunk`, and an async context manager that cancels the call
    when it is left. A failure is raised as `ChatCompletionError`, after the chunks before it.
    """

    def __init__(self, call: grpc.aio.UnaryStreamCall[Any, StreamChatCompletionResponse]) -> None:
        super().__init__(call)
        self._responses = aiter(call)

    async def fold(self, *, ignore_unknown_fields: bool = False) -> ChatCompletion:
        """Reads what is left of the stream.

        Args:
            ignore_unknown_fields: As for `chatpb.to_json`.

        Returns:
            The completion that all its chunks make, those read before included (see `chatpb.fold`).

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
        while (chunk := self._next()) is None:
            if self._is_complete:
                raise StopAsyncIteration
            with self._reading():
                part = await anext(self._responses, _END)
                if part is _END:
                    self._end(await self._call.trailing_metadata())
                else:
                    self._add(part)
        return chunk

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._leave()


class ChatCompletionStream(_Stream):
    """The chunks of a completion, as they come.

    An iterator of `ChatCompletionChunk`, and a context manager that cancels the call when it is
    left. A failure is raised as `ChatCompletionError`, after the chunks before it.
    """

    def fold(self, *, ignore_unknown_fields: bool = False) -> ChatCompletion:
        """Reads what is left of the stream, as `AsyncChatCompletionStream.fold` does."""
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
                part = next(self._call, _END)
                if part is _END:
                    self._end(self._call.trailing_metadata())
                else:
                    self._add(part)
        return chunk

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()


def _create_request(request: _Request) -> CreateChatCompletionRequest:
    return CreateChatCompletionRequest(request=_message(request))


def _stream_request(request: _Request) -> StreamChatCompletionRequest:
    return StreamChatCompletionRequest(request=_message(request), compact=True)


def _message(request: _Request) -> ChatCompletionRequest:
    if isinstance(request, ChatCompletionRequest):
        return request
    return from_dict(request, ChatCompletionRequest)


def _completion(response: object) -> ChatCompletion:
    if not isinstance(response, CreateChatCompletionResponse):
        raise _unreadable()
    return response.completion


@contextmanager
def _translated() -> Iterator[None]:
    """Raises the errors of a call as ours."""
    try:
        yield
    except grpc.RpcError as error:
        raise _error(error) from error
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # The call was cancelled, not the task that waits for it.
        raise _cancelled("the call was cancelled") from None


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


def _cancelled(message: str) -> ChatCompletionError:
    return ChatCompletionError(grpc.StatusCode.CANCELLED, message)


def _unreadable() -> ChatCompletionError:
    return ChatCompletionError(grpc.StatusCode.INTERNAL, "the answer cannot be read")
