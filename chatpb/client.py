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
import ipaddress
import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from google.protobuf.message import DecodeError

from chatpb._convert import from_dict
from chatpb._fold import fold
from chatpb.v1.chat_completion_chunk_pb2 import ChatCompletionChunk
from chatpb.v1.chat_completion_pb2 import ChatCompletion
from chatpb.v1.chat_completion_request_pb2 import ChatCompletionRequest
from chatpb.v1.chat_completion_service_pb2 import (
    CreateChatCompletionRequest,
    CreateChatCompletionResponse,
    StreamChatCompletionRequest,
    StreamChatCompletionResponse,
)
from chatpb.v1.error_pb2 import Error, ErrorResponse

try:
    import grpc.aio
    import grpc_status.rpc_status
    from google.rpc.error_details_pb2 import RequestInfo, RetryInfo

    from chatpb.v1.chat_completion_service_pb2_grpc import ChatCompletionServiceStub
except ModuleNotFoundError as missing:
    name = (missing.name or "").partition(".")[0]
    hint = f"chatpb.client needs {name}: pip install 'chatpb[client]'"
    raise ModuleNotFoundError(hint, name=name) from missing

if TYPE_CHECKING:
    from chatpb.v1.chat_completion_service_pb2_grpc import ChatCompletionServiceAsyncStub

__all__ = [
    "AsyncChatCompletionStream",
    "AsyncClient",
    "ChatCompletionError",
    "ChatCompletionStream",
    "Client",
]

_ChannelT = TypeVar("_ChannelT")
_Request = ChatCompletionRequest | Mapping[str, Any]
_Metadata = Iterable[tuple[str, str | bytes]]
_NO_METADATA: Final[Mapping[str, str | bytes]] = MappingProxyType({})

_SERVICE_CONFIG: Final = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{"service": "chatpb.v1.ChatCompletionService"}],
            # gRPC varies the pauses at random, and never tries a call again that was answered.
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.2s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                # A server that stops ends what just arrives with CANCELLED, unseen. A call that the
                # caller cancels ends here, and is not tried again.
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        }
    ],
    # Where most calls fail, trying them again only adds to the load.
    "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1},
}
_MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024  # as the relay's
_OPTIONS: Final = {
    "grpc.service_config": json.dumps(_SERVICE_CONFIG),
    "grpc.max_receive_message_length": _MAX_MESSAGE_BYTES,
    "grpc.max_send_message_length": _MAX_MESSAGE_BYTES,
    "grpc.keepalive_time_ms": 30_000,
    "grpc.keepalive_timeout_ms": 10_000,
    "grpc.http2.ping_timeout_ms": 10_000,  # by default a minute, whatever the line above says
    "grpc.keepalive_permit_without_calls": 1,
    "grpc.http2.max_pings_without_data": 0,  # by default, probing a silent call soon ends
}
_FOREVER: Final = 1e9  # seconds; gRPC takes much longer timeouts for ones that have passed
_KEY: Final = re.compile(r"[0-9a-z_.-]+")
_VALUE: Final = re.compile(r"[\x20-\x7e]*")
_HOST_PORT: Final = re.compile(r"(?:\[([^\]]*)\]|([^:]*))(?::\d+)?")
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
        metadata: Mapping[str, str | bytes] = _NO_METADATA,
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
        metadata: _Metadata = (),
        options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        local = _is_local(target)
        if token is not None and credentials is None and not (local or allow_insecure_token):
            raise ValueError(
                f"will not send the token to {target} in the clear: pass credentials, or"
                " allow_insecure_token=True"
            )
        authorization = [] if token is None else [("authorization", f"Bearer {token}")]
        self._target = target
        self._credentials = credentials
        self._timeout = timeout
        self._metadata = _checked([*authorization, *metadata])
        no_proxy = {"grpc.enable_http_proxy": 0} if local else {}
        self._options = list({**_OPTIONS, **no_proxy, **dict(options)}.items())
        self._is_closed = False
        self._start()

    def _start(self) -> None:
        """Prepares for calls."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._target!r})"

    def _open(
        self, insecure: Callable[..., _ChannelT], secure: Callable[..., _ChannelT]
    ) -> _ChannelT:
        if self._credentials is None:
            return insecure(self._target, options=self._options)
        return secure(self._target, self._credentials, options=self._options)

    def _arguments(self, timeout: float | None, metadata: _Metadata) -> dict[str, Any]:
        """The arguments of a call, beside the request."""
        if self._is_closed:
            raise RuntimeError("the client is closed")
        seconds = self._timeout if timeout is None else timeout
        return {
            "timeout": seconds if seconds < _FOREVER else None,
            "metadata": (*self._metadata, *_checked(metadata)),
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
        self, request: _Request, *, timeout: float | None = None, metadata: _Metadata = ()
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
        self, request: _Request, *, timeout: float | None = None, metadata: _Metadata = ()
    ) -> tuple[ChatCompletion, Mapping[str, str | bytes]]:
        """Asks for a completion, as `create` does.

        Returns:
            The completion, and the answer's trailing metadata, such as rate limits.
        """
        arguments = self._arguments(timeout, metadata)
        call = self._connected().CreateChatCompletion(_create_request(request), **arguments)
        with _translated():
            response = await call
            return _completion(response), _mapping(await call.trailing_metadata())

    def stream(
        self, request: _Request, *, timeout: float | None = None, metadata: _Metadata = ()
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
            self._channel = self._open(grpc.aio.insecure_channel, grpc.aio.secure_channel)
            self._stub = ChatCompletionServiceStub(self._channel)
        return self._stub


class Client(_Client):
    """A client without asyncio, for one server and any number of threads.

    A context manager that closes it. The arguments and errors are those of `AsyncClient`.
    """

    def _start(self) -> None:
        self._channel = self._open(grpc.insecure_channel, grpc.secure_channel)
        self._stub = ChatCompletionServiceStub(self._channel)

    def create(
        self, request: _Request, *, timeout: float | None = None, metadata: _Metadata = ()
    ) -> ChatCompletion:
        """Asks for a completion, as `AsyncClient.create` does."""
        return self.create_with_metadata(request, timeout=timeout, metadata=metadata)[0]

    def create_with_metadata(
        self, request: _Request, *, timeout: float | None = None, metadata: _Metadata = ()
    ) -> tuple[ChatCompletion, Mapping[str, str | bytes]]:
        """Asks for a completion, as `AsyncClient.create_with_metadata` does."""
        arguments = self._arguments(timeout, metadata)
        with _translated():
            response, call = self._stub.CreateChatCompletion.with_call(
                _create_request(request), **arguments
            )
            return _completion(response), _mapping(call.trailing_metadata())

    def stream(
        self, request: _Request, *, timeout: float | None = None, metadata: _Metadata = ()
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
        self._waiting: deque[ChatCompletionChunk] = deque()
        self._failure: ChatCompletionError | None = None
        self._metadata = _NO_METADATA
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
        self._waiting.extend(part.chunks)

    def _end(self, metadata: Iterable[tuple[str, str | bytes]]) -> None:
        self._metadata = _mapping(metadata)
        self._is_complete = True

    def _leave(self) -> None:
        self._call.cancel()
        if not self._is_complete:
            self._waiting.clear()
            self._failure = self._failure or _cancelled("the stream was left before its end")

    def _fold(self, ignore_unknown_fields: bool) -> ChatCompletion:
        self._waiting.clear()
        chunks = (chunk for part in self._parts for chunk in part.chunks)
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
        while not self._waiting:
            if self._is_complete:
                raise StopAsyncIteration
            with self._reading():
                part = await anext(self._responses, _END)
                if part is _END:
                    self._end(await self._call.trailing_metadata())
                else:
                    self._add(part)
        return self._waiting.popleft()

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
        while not self._waiting:
            if self._is_complete:
                raise StopIteration
            with self._reading():
                part = next(self._call, _END)
                if part is _END:
                    self._end(self._call.trailing_metadata())
                else:
                    self._add(part)
        return self._waiting.popleft()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()


def _create_request(request: _Request) -> CreateChatCompletionRequest:
    return CreateChatCompletionRequest(request=_message(request))


def _stream_request(request: _Request) -> StreamChatCompletionRequest:
    return StreamChatCompletionRequest(request=_message(request))


def _message(request: _Request) -> ChatCompletionRequest:
    if isinstance(request, ChatCompletionRequest):
        return request
    return from_dict(request, ChatCompletionRequest)


def _completion(response: object) -> ChatCompletion:
    if not isinstance(response, CreateChatCompletionResponse):
        raise _unreadable()
    return response.completion


def _checked(metadata: _Metadata) -> list[tuple[str, str | bytes]]:
    """The metadata with keys in lower case. gRPC's own errors name neither key nor value."""
    pairs = [(key.lower(), value) for key, value in metadata]
    for key, value in pairs:
        if not _KEY.fullmatch(key):
            raise ValueError(f"expected letters, digits, '_', '.' or '-' in a key, got {key!r}")
        if key.endswith("-bin"):
            if not isinstance(value, bytes):
                raise ValueError(f"expected bytes as the value of {key!r}")
        elif not _VALUE.fullmatch(value if isinstance(value, str) else value.decode("latin-1")):
            raise ValueError(f"expected printable ASCII as the value of {key!r}")
    return pairs


def _mapping(metadata: Iterable[tuple[str, str | bytes]] | None) -> dict[str, str | bytes]:
    return {key: value for key, value in metadata or ()}  # noqa: C416 (dict() takes the first)


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
    metadata = _mapping(error.trailing_metadata())  # type: ignore[arg-type]  # pairs
    response, retry, info = ErrorResponse(), RetryInfo(), RequestInfo()
    try:
        status = grpc_status.rpc_status.from_call(error)  # type: ignore[arg-type]  # it has what is needed
        for detail in status.details if status is not None else ():
            for message in (response, retry, info):
                if detail.Is(message.DESCRIPTOR):
                    detail.Unpack(message)
    except (ValueError, DecodeError):
        pass  # the details contradict the status, or cannot be read
    known = response.error if response.HasField("error") else None
    delay = retry.retry_delay if retry.HasField("retry_delay") else None
    named = info.request_id or metadata.get("x-request-id")
    return ChatCompletionError(
        error.code(),
        response.error.message or error.details() or "no details",
        known,
        delay.seconds + delay.nanos / 1e9 if delay is not None else None,
        named if isinstance(named, str) else None,
        metadata,
    )


def _cancelled(message: str) -> ChatCompletionError:
    return ChatCompletionError(grpc.StatusCode.CANCELLED, message)


def _unreadable() -> ChatCompletionError:
    return ChatCompletionError(grpc.StatusCode.INTERNAL, "the answer cannot be read")


def _is_local(target: str) -> bool:
    """Whether a target is certain to be on this machine."""
    scheme, _, rest = target.partition(":")
    if scheme in ("unix", "unix-abstract"):
        return True
    if scheme in ("ipv4", "ipv6"):
        return all(map(_is_loopback, rest.split(",")))
    if scheme == "dns":
        return _is_loopback(rest.removeprefix("///"))
    return _is_loopback(target)


def _is_loopback(address: str) -> bool:
    match = _HOST_PORT.fullmatch(address)
    host = match[1] or match[2] if match else address  # an IPv6 address needs no brackets
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
