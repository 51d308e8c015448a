"""OpenAI's Python SDK over gRPC: a transport for the HTTP library that it is built on, ``httpx2``.

    client = OpenAI(http_client=httpx2.Client(transport=GrpcTransport("127.0.0.1:50051")))

Chat completions go to a `ChatCompletionService`, such as the relay. The SDK notices nothing: what
it gives, and what it raises, is what it would over HTTP. Needs the extra ``chatpb[transport]``;
nothing else of chatpb imports this module.

Requests. ``POST .../chat/completions`` is a call, a stream if the body says ``"stream": true``. The
rest of the URL does not count: the host is never connected to. Headers become metadata, but for
those that are about HTTP itself or the body, and ``x-stainless-*``. So ``authorization``, with the
SDK's ``api_key``, is there for the relay, which may take it as the caller's token or pass it on; a
`token` takes its place.

Answers. The server's metadata become headers: all of it beside a completion or an error; beside a
stream what comes before its first chunk. A stream is an event stream of the chunks as they come,
ending in ``[DONE]``. Closing the response cancels the call; who reads slowly is sent slowly.

Errors. What fails before the first chunk is an HTTP error: with the upstream's status where the
server tells it, as metadata ``chatpb-http-status``, else the one that stands for the gRPC status;
with OpenAI's error object, ``retry-after`` and ``x-request-id``. What fails later is an error
event, as OpenAI sends it. Where there is no answer, `httpx2.ConnectError` and its kin are raised;
for a stream that breaks off, `httpx2.RemoteProtocolError`.

Retries are the SDK's: a call is sent once, but where gRPC knows that no server has seen it.

Timeouts are those of the request. ``connect`` bounds the wait for a connection where there is none.
``read`` bounds silence, as it does over HTTP: of a completion, which comes whole, all the time from
sending to answering, and the server knows it as the deadline; of a stream the time to its first
chunk, and from each to the next. ``write`` and ``pool`` do not count: calls share a connection.
"""

from __future__ import annotations

import asyncio
import json
import math
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from chatpb._errors import ConversionError, param_of
from chatpb._extras import raise_hint
from chatpb._mapping.convert import binary_to_json, json_to_binary, to_json
from chatpb._wire import WireError, embedded, joined, spans
from chatpb.sse import DONE
from chatpb.v1.chat_completion_chunk_pb2 import ChatCompletionChunk
from chatpb.v1.chat_completion_pb2 import ChatCompletion
from chatpb.v1.chat_completion_request_pb2 import ChatCompletionRequest
from chatpb.v1.chat_completion_service_pb2 import (
    DESCRIPTOR,
    CreateChatCompletionRequest,
    CreateChatCompletionResponse,
    StreamChatCompletionRequest,
    StreamChatCompletionResponse,
)

try:
    import grpc.aio
    import httpx2
    from grpc import ChannelConnectivity, StatusCode

    from chatpb._rpc.failure import FailedCall
    from chatpb._rpc.metadata import Metadata, checked
    from chatpb._rpc.server import Server, timeout_of
    from chatpb._rpc.status import HTTP_STATUS_KEY, HTTP_STATUSES
except ModuleNotFoundError as missing:
    raise_hint("chatpb.transport", missing)

__all__ = ["AsyncGrpcTransport", "GrpcTransport"]

_TransportT = TypeVar("_TransportT", httpx2.BaseTransport, httpx2.AsyncBaseTransport)
_T = TypeVar("_T")

_PATH: Final = "/chat/completions"
_SERVICE: Final = DESCRIPTOR.services_by_name["ChatCompletionService"]
_CREATE: Final = f"/{_SERVICE.full_name}/CreateChatCompletion"
_STREAM: Final = f"/{_SERVICE.full_name}/StreamChatCompletion"
#: After a failure gRPC pauses before it connects again, by default for up to two minutes; over HTTP
#: each request would try.
_RECONNECTING: Final = {
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1000,
}
#: Above so many bytes a conversion takes milliseconds, and leaves the event loop.
_LARGE: Final = 256 * 1024
#: Headers that are about HTTP, the connection or the body.
_HTTPS_OWN: Final = frozenset(
    {
        "accept",
        "accept-encoding",
        "connection",
        "expect",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    }
)
_SECRETS: Final = frozenset({"authorization", "api-key", "x-api-key", "cookie"})
_SETTLED: Final = (
    ChannelConnectivity.READY,
    ChannelConnectivity.TRANSIENT_FAILURE,
    ChannelConnectivity.SHUTDOWN,
)
_END: Final = object()


@dataclass(frozen=True, slots=True)
class _Call:
    """A request, as gRPC takes it.

    Attributes:
        is_stream: Whether a stream is asked for.
        message: The message of the rpc.
        metadata: What is sent with it.
        patience: How many seconds the server may be silent.
    """

    is_stream: bool
    message: bytes
    metadata: Sequence[tuple[str, str | bytes]]
    patience: float | None

    def is_late(self, began: float) -> bool:
        """Whether the deadline of a call that began then has passed, or all but that."""
        return self.patience is not None and time.monotonic() - began > self.patience * 0.99


class _Transport(Generic[_TransportT]):
    """What both transports share: all but the waiting."""

    def __init__(
        self,
        target: str,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        token: str | None = None,
        allow_insecure_token: bool = False,
        metadata: Metadata = (),
        options: Sequence[tuple[str, Any]] = (),
        fallback: _TransportT | str | None = None,
    ) -> None:
        self._server = Server(
            target,
            credentials=credentials,
            token=token,
            allow_insecure_token=allow_insecure_token,
            metadata=metadata,
            options=[*_RECONNECTING.items(), *options],
            retries=False,
        )
        self._target = target
        self._names = {key for key, _ in self._server.metadata}
        self._base = httpx2.URL(fallback) if isinstance(fallback, str) else None
        self._fallback: _TransportT | None = self._http() if isinstance(fallback, str) else fallback
        self._start()

    def _http(self) -> _TransportT:
        """The transport to a fallback that is a URL."""
        raise NotImplementedError

    def _start(self) -> None:
        """Prepares for calls."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._target!r})"

    def _connect_error(self, seconds: float | None) -> httpx2.ConnectTimeout:
        return httpx2.ConnectTimeout(f"no connection to {self._target} within {seconds} seconds")

    def _elsewhere(self, request: httpx2.Request) -> httpx2.Request:
        """A request that is none for a completion, as the fallback takes it."""
        if self._base is None:
            return request
        path, mark, query = request.url.raw_path.partition(b"?")
        _, version, rest = path.partition(b"/v1/")
        path = self._base.raw_path.rstrip(b"/") + (b"/" + rest if version else path)
        url = self._base.copy_with(raw_path=path + mark + query)
        headers = request.headers.copy()
        headers["host"] = url.netloc.decode()
        extensions = request.extensions
        return httpx2.Request(
            request.method, url, headers=headers, stream=request.stream, extensions=extensions
        )

    def _metadata(self, headers: httpx2.Headers) -> list[tuple[str, str | bytes]]:
        """The headers that are sent on, as metadata.

        Raises:
            ValueError: A secret would leave this machine unencrypted, or a value cannot be sent.
        """
        passed: list[tuple[str, str | bytes]] = []
        for key, value in headers.multi_items():
            if key in _HTTPS_OWN or key in self._names or key.endswith("-bin"):
                continue
            if key.startswith(("content-", "x-stainless-", "grpc-")):
                continue
            if key in _SECRETS and not self._server.may_send_secrets:
                raise self._server.refusal(f"header {key!r}")
            passed.append((key, value))
        return [*self._server.metadata, *checked(passed)]

    def _call(self, request: httpx2.Request, data: bytes) -> _Call:
        """The call for a request, from the binary form of its body."""
        is_stream = any(
            span.number == ChatCompletionRequest.STREAM_FIELD_NUMBER
            and data[span.value : span.end] == b"\1"
            for span in spans(data)
        )
        kind = StreamChatCompletionRequest if is_stream else CreateChatCompletionRequest
        return _Call(
            is_stream,
            embedded(kind.REQUEST_FIELD_NUMBER, [data]),
            self._metadata(request.headers),
            timeout_of(_limit(request, "read")),
        )


class GrpcTransport(_Transport[httpx2.BaseTransport], httpx2.BaseTransport):
    """Sends the chat completions of an `httpx2.Client`, such as that of an ``OpenAI``, over gRPC.

    Any number of threads may use it.

    Args:
        target: Where the server is: ``HOST:PORT``, or another name that gRPC knows. Loopback
            addresses are never reached through a proxy.
        credentials: How the connection is encrypted, such as `grpc.ssl_channel_credentials()`.
            None: it is not.
        token: Sent with each call, as ``authorization: Bearer TOKEN``, in place of the SDK's key.
        allow_insecure_token: Whether secrets may leave this machine unencrypted: the token, and the
            key that the SDK sends.
        metadata: Sent with each call, in place of headers of these names.
        options: Channel options, instead of or beside those that are set here.
        fallback: What takes the requests that are no chat completions: a transport, which gets them
            as they are, or the base URL of a server, such as ``https://api.openai.com/v1``, which
            stands for all of a path up to ``/v1``. None: they are answered with 404.

    Raises:
        ValueError: The token would leave this machine unencrypted, or metadata cannot be sent. A
            request raises it for its own headers.
    """

    def _http(self) -> httpx2.BaseTransport:
        return httpx2.HTTPTransport()

    def _start(self) -> None:
        self._channel = self._server.open(grpc.insecure_channel, grpc.secure_channel)
        # Without a serializer messages are bytes.
        self._create: Any = self._channel.unary_unary(_CREATE)
        self._stream: Any = self._channel.unary_stream(_STREAM)
        self._connecting = threading.Lock()
        self._is_connected = False
        self._is_new = True

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answers a request, as `httpx2.BaseTransport.handle_request` says.

        Raises:
            TransportError: There is no answer.
            ValueError: The headers cannot be sent.
        """
        if not _is_for_completion(request):
            if self._fallback is None:
                return _unknown(request)
            return self._fallback.handle_request(self._elsewhere(request))
        try:
            call = self._call(request, json_to_binary(request.read(), ChatCompletionRequest))
        except ConversionError as error:
            return _unreadable_request(error)
        self._connect(_limit(request, "connect"))
        began = time.monotonic()
        try:
            return self._streamed(call) if call.is_stream else self._created(call)
        except grpc.RpcError as error:
            try:
                return _failed(error, call.is_late(began))
            except httpx2.ConnectError:
                self._is_connected = False
                raise

    def close(self) -> None:
        """Ends the connection and the calls, and closes the fallback."""
        self._channel.close()
        if self._fallback is not None:
            self._fallback.close()

    def _connect(self, seconds: float | None) -> None:
        """Waits until there is a connection, or none can be made."""
        if self._is_connected:  # if it breaks, gRPC mends it
            return
        began = time.monotonic()
        if not self._connecting.acquire(timeout=-1 if seconds is None else seconds):
            raise self._connect_error(seconds)
        try:
            if not self._is_connected:
                left = None if seconds is None else seconds - (time.monotonic() - began)
                if not self._is_settled_within(left):
                    raise self._connect_error(seconds)
        finally:
            self._connecting.release()

    def _is_settled_within(self, seconds: float | None) -> bool:
        """Whether connecting succeeds or fails in so many seconds."""
        settled = threading.Event()

        def see(state: ChannelConnectivity) -> None:
            self._is_connected = state is ChannelConnectivity.READY
            # Once asked to connect, gRPC goes on by itself, or with the next call.
            if state in _SETTLED or (state is ChannelConnectivity.IDLE and not is_first):
                settled.set()

        is_first, self._is_new = self._is_new, False
        self._channel.subscribe(see, try_to_connect=is_first)
        try:
            return settled.wait(seconds)
        finally:
            self._channel.unsubscribe(see)

    def _created(self, call: _Call) -> httpx2.Response:
        data, answered = self._create.with_call(
            call.message, timeout=call.patience, metadata=call.metadata
        )
        headers = _headers(answered.initial_metadata(), answered.trailing_metadata())
        return _completed(_completion(data), headers)

    def _streamed(self, call: _Call) -> httpx2.Response:
        responses = self._stream(call.message, metadata=call.metadata)
        stream = _Stream(responses, call.patience)
        try:
            stream.first = stream.next()
            return _streaming(stream, responses.initial_metadata())
        except BaseException:
            responses.cancel()
            raise


class AsyncGrpcTransport(_Transport[httpx2.AsyncBaseTransport], httpx2.AsyncBaseTransport):
    """Sends the chat completions of an `httpx2.AsyncClient`, as of ``AsyncOpenAI``, over gRPC.

    Belongs to the asyncio event loop of its first request. The arguments and errors are those of
    `GrpcTransport`; a fallback is an `httpx2.AsyncBaseTransport` or a URL.
    """

    _channel: grpc.aio.Channel | None = None  # not before there is a loop

    def _http(self) -> httpx2.AsyncBaseTransport:
        return httpx2.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answers a request, as `GrpcTransport.handle_request` does."""
        if not _is_for_completion(request):
            if self._fallback is None:
                return _unknown(request)
            return await self._fallback.handle_async_request(self._elsewhere(request))
        try:
            body = await request.aread()
            data = await _aside(len(body), json_to_binary, body, ChatCompletionRequest)
            call = self._call(request, data)
        except ConversionError as error:
            return _unreadable_request(error)
        await self._connect(_limit(request, "connect"))
        began = time.monotonic()
        try:
            return await (self._streamed(call) if call.is_stream else self._created(call))
        except grpc.RpcError as error:
            return _failed(error, call.is_late(began))
        except asyncio.CancelledError:
            _raise_if_cancelled()
            raise

    async def aclose(self) -> None:
        """Ends the connection and the calls, and closes the fallback."""
        if self._channel is not None:
            await self._channel.close()
        if self._fallback is not None:
            await self._fallback.aclose()

    async def _connect(self, seconds: float | None) -> None:
        """Waits until there is a connection, or none can be made."""
        channel = self._channel
        if channel is None:
            channel = self._server.open(grpc.aio.insecure_channel, grpc.aio.secure_channel)
            self._channel = channel
            self._create: Any = channel.unary_unary(_CREATE)
            self._stream: Any = channel.unary_stream(_STREAM)
        try:
            async with asyncio.timeout(seconds):
                while (state := channel.get_state(try_to_connect=True)) not in _SETTLED:
                    await channel.wait_for_state_change(state)
        except TimeoutError:
            raise self._connect_error(seconds) from None

    async def _created(self, call: _Call) -> httpx2.Response:
        answered = self._create(call.message, timeout=call.patience, metadata=call.metadata)
        data = await answered
        headers = _headers(await answered.initial_metadata(), await answered.trailing_metadata())
        return _completed(await _aside(len(data), _completion, data), headers)

    async def _streamed(self, call: _Call) -> httpx2.Response:
        responses = self._stream(call.message, metadata=call.metadata)
        stream = _AsyncStream(responses, call.patience)
        try:
            stream.first = await stream.next()
            return _streaming(stream, await responses.initial_metadata())
        except BaseException:
            responses.cancel()
            raise


class _Stream(httpx2.SyncByteStream):
    """The event stream of a call.

    Attributes:
        first: The first response, which is read before there is an HTTP status.
    """

    def __init__(self, responses: Any, patience: float | None) -> None:
        self.first: object = _END
        self._responses = responses
        self._patience = patience

    def next(self) -> object:
        """The next response, or `_END`."""
        with _WATCH.bounding(self._responses, self._patience):
            return next(self._responses, _END)

    def __iter__(self) -> Iterator[bytes]:
        part = self.first
        while part is not _END:
            yield _events(part)
            try:
                part = self.next()
            except grpc.RpcError as error:
                yield _broken(error)
                return
        yield _event(DONE)

    def close(self) -> None:
        self._responses.cancel()


class _AsyncStream(httpx2.AsyncByteStream):
    """The event stream of a call, as a `_Stream`."""

    def __init__(self, responses: Any, patience: float | None) -> None:
        self.first: object = _END
        self._responses = responses
        self._patience = patience

    async def next(self) -> object:
        """The next response, or `_END`."""
        try:
            async with asyncio.timeout(self._patience):
                part = await self._responses.read()
        except TimeoutError:
            raise _silence(self._patience) from None
        return _END if part is grpc.aio.EOF else part

    async def __aiter__(self) -> AsyncIterator[bytes]:
        part = self.first
        while part is not _END:
            yield _events(part)
            try:
                part = await self.next()
            except grpc.RpcError as error:
                yield _broken(error)
                return
            except asyncio.CancelledError:
                _raise_if_cancelled()
                raise
        yield _event(DONE)

    async def aclose(self) -> None:
        self._responses.cancel()


class _Watch:
    """Cancels the calls that are silent for too long: gRPC reads a stream without a time limit.

    One thread watches all calls of the process, and ends some time after the last one.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._ends: dict[Any, float] = {}
        self._wakes = math.inf  # when the thread looks again
        self._thread: threading.Thread | None = None

    @contextmanager
    def bounding(self, call: Any, seconds: float | None) -> Iterator[None]:
        """Bounds a wait for a call.

        Raises:
            ReadTimeout: It took longer. The call is cancelled.
        """
        if seconds is None:
            yield
            return
        end = time.monotonic() + seconds
        with self._changed:
            self._ends[call] = end
            if self._thread is None or not self._thread.is_alive():  # as after a fork
                self._wakes = end
                self._thread = threading.Thread(target=self._run, name="chatpb", daemon=True)
                self._thread.start()
            elif end < self._wakes:
                self._changed.notify()
        try:
            yield
        except grpc.RpcError:
            if not self._forget(call):
                raise _silence(seconds) from None
            raise
        finally:
            self._forget(call)

    def _forget(self, call: Any) -> bool:
        """Watches a call no longer; whether it was watched still."""
        with self._changed:
            return self._ends.pop(call, None) is not None

    def _run(self) -> None:
        while True:
            with self._changed:
                now = time.monotonic()
                late = [call for call, end in self._ends.items() if end <= now]
                for call in late:
                    del self._ends[call]
                if not late:
                    if not self._ends:
                        self._thread = None
                        return
                    self._wakes = min(self._ends.values())
                    self._changed.wait(self._wakes - now)
            for call in late:
                call.cancel()


_WATCH: Final = _Watch()


def _is_for_completion(request: httpx2.Request) -> bool:
    return request.method == "POST" and request.url.path.endswith(_PATH)


def _limit(request: httpx2.Request, name: str) -> float | None:
    """A timeout of a request, in seconds."""
    limits: dict[str, float | None] = request.extensions.get("timeout", {})
    return limits.get(name)


async def _aside(size: int, convert: Callable[..., _T], *arguments: Any) -> _T:
    """What a conversion gives; a long one leaves the event loop to others."""
    if size > _LARGE:
        return await asyncio.to_thread(convert, *arguments)
    return convert(*arguments)


def _completion(data: bytes) -> bytes:
    """The JSON of the completion in a response."""
    try:
        completion = joined(data, CreateChatCompletionResponse.COMPLETION_FIELD_NUMBER)
        return binary_to_json(completion, ChatCompletion, allow_nan=True)
    except (WireError, ConversionError) as error:
        raise _undecodable(error) from error


def _events(data: Any) -> bytes:
    """The events for the chunks in a response."""
    try:
        return b"".join(
            _event(binary_to_json(data[span.value : span.end], ChatCompletionChunk, allow_nan=True))
            for span in spans(data)
            if span.number == StreamChatCompletionResponse.CHUNKS_FIELD_NUMBER
        )
    except (WireError, ConversionError) as error:
        raise _undecodable(error) from error


def _event(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


def _completed(body: bytes, headers: list[tuple[str, str]]) -> httpx2.Response:
    return _response(200, [*headers, ("content-type", "application/json")], content=body)


def _streaming(stream: _Stream | _AsyncStream, metadata: Any) -> httpx2.Response:
    kind = ("content-type", "text/event-stream; charset=utf-8")
    return _response(200, [*_headers(metadata), kind], stream=stream)


def _response(status: int, headers: list[tuple[str, str]], **body: Any) -> httpx2.Response:
    # Over HTTP/1.1 the SDK would wait for what follows the end, to use the connection again.
    extensions = {"http_version": b"HTTP/2"}
    return httpx2.Response(status, headers=headers, extensions=extensions, **body)


def _headers(*metadata: Iterable[tuple[str, str | bytes]] | None) -> list[tuple[str, str]]:
    """The headers of an answer, from its metadata; what comes first counts."""
    headers: dict[str, str] = {}
    for pairs in metadata:
        for key, value in pairs or ():
            is_own = key.startswith(("grpc-", "content-")) or key.endswith("-bin")
            if isinstance(value, str) and not is_own and key not in (*_HTTPS_OWN, HTTP_STATUS_KEY):
                headers.setdefault(key, value)
    return list(headers.items())


def _error(status: int, body: bytes, headers: list[tuple[str, str]]) -> httpx2.Response:
    return _response(status, [*headers, ("content-type", "application/json")], content=body)


def _own_error(
    status: int, message: str, headers: list[tuple[str, str]], param: str | None = None
) -> httpx2.Response:
    """An error that no server sent, in OpenAI's form."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    error = {"message": message, "type": kind, "param": param, "code": None}
    return _error(status, json.dumps({"error": error}).encode(), headers)


def _unknown(request: httpx2.Request) -> httpx2.Response:
    text = (
        f"chatpb's transport carries POST {_PATH} only, not {request.method} {request.url.path}:"
        " give it a fallback for the rest"
    )
    return _own_error(404, text, [])


def _unreadable_request(error: ConversionError) -> httpx2.Response:
    param = param_of(error.path)
    return _own_error(400, f"The request cannot be read as JSON: {error}", [], param)


def _failed(error: Any, is_late: bool) -> httpx2.Response:
    """The answer to a call that failed before its first response.

    Args:
        error: The error.
        is_late: Whether our own deadline has passed.

    Raises:
        TransportError: There is no answer.
    """
    failure = FailedCall.of(error)
    status = failure.upstream_http_status
    if failure.code is StatusCode.DEADLINE_EXCEEDED and status is None:
        if is_late or failure.response is None:
            raise httpx2.ReadTimeout(failure.text)
    elif failure.response is None:
        if failure.code is StatusCode.UNAVAILABLE:
            raise httpx2.ConnectError(failure.text)
        if failure.code is StatusCode.CANCELLED:  # a server that stops, or our own closing
            raise httpx2.RemoteProtocolError(failure.text)
    headers = _headers(error.initial_metadata(), error.trailing_metadata())
    names = {key for key, _ in headers}
    if failure.request_id is not None and "x-request-id" not in names:
        headers.append(("x-request-id", failure.request_id))
    if failure.retry_after is not None and not names & {"retry-after", "retry-after-ms"}:
        headers.append(("retry-after", str(math.ceil(failure.retry_after))))
        if failure.retry_after % 1:
            headers.append(("retry-after-ms", str(round(failure.retry_after * 1000))))
    if failure.response is not None:
        return _error(status or HTTP_STATUSES[failure.code], _error_json(failure), headers)
    # Either side's bound; 429 would have the SDK try again.
    is_too_large = "message larger than max" in failure.text
    status = 413 if is_too_large else HTTP_STATUSES[failure.code]
    return _own_error(status, failure.text or failure.code.name, headers)


def _broken(failed: Any) -> bytes:
    """The event for a call that failed after its first response.

    Raises:
        TransportError: The stream breaks off.
    """
    failure = FailedCall.of(failed)
    if failure.response is None and failure.code is StatusCode.DEADLINE_EXCEEDED:
        raise httpx2.ReadTimeout(failure.text)
    # DATA_LOSS: the upstream's stream broke off. Over HTTP it would break off here.
    if failure.response is None or failure.code is StatusCode.DATA_LOSS:
        raise httpx2.RemoteProtocolError(failure.text or failure.code.name)
    error = _error_json(failure)
    # The SDK knows an error by this member.
    return _event(error if json.loads(error).get("error") else b'{"error":' + error + b"}")


def _error_json(failure: FailedCall) -> bytes:
    """OpenAI's error object, with what stands around it."""
    assert failure.response is not None
    return to_json(failure.response, allow_nan=True, ignore_unknown_fields=True)


def _silence(seconds: float | None) -> httpx2.ReadTimeout:
    return httpx2.ReadTimeout(f"the server was silent for {seconds} seconds")


def _undecodable(error: Exception) -> httpx2.DecodingError:
    return httpx2.DecodingError(f"the answer cannot be read: {error}")


def _raise_if_cancelled() -> None:
    """After a CancelledError: raises if it was the call that was cancelled, and not the task."""
    task = asyncio.current_task()
    if task is not None and not task.cancelling():
        raise httpx2.ReadError("the call was cancelled") from None
