"""The transport without asyncio."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any, Final

import grpc
import httpx2
from grpc import ChannelConnectivity

from chatpb._errors import ConversionError
from chatpb._forks import Owner
from chatpb._mapping.convert import json_to_binary
from chatpb._rpc.stored import ParameterError
from chatpb.sse import DONE, event
from chatpb.transport._answer import (
    answer_json,
    broken,
    completed,
    events_of,
    failed,
    headers_of,
    is_unknown,
    streaming,
    unknown_endpoint,
    unreadable_request,
)
from chatpb.transport._request import (
    SETTLED,
    STREAM,
    UNARIES,
    BaseTransport,
    Call,
    is_for_completion,
    limit_of,
    models_asked,
    stored_asked,
)
from chatpb.transport._watch import WATCH
from chatpb.v1.chat_completion_request_pb2 import ChatCompletionRequest

_END: Final = object()


class GrpcTransport(BaseTransport[httpx2.BaseTransport], httpx2.BaseTransport):
    """Sends the chat completions of an `httpx2.Client`, such as the one of `OpenAI`, over gRPC.

    Any number of threads may use it. It belongs to the process that made it.

    Args:
        target: The address of the server: ``HOST:PORT``, or another name that gRPC resolves. No
            proxy is used for loopback addresses.
        credentials: How the connection is encrypted, such as `grpc.ssl_channel_credentials()`.
            None: no encryption.
        token: Sent with each call, as ``authorization: Bearer TOKEN``, in place of the SDK's key.
        allow_insecure_token: Whether secrets may leave this machine unencrypted: the token, and the
            key that the SDK sends.
        metadata: Sent with each call, in place of headers with the same names.
        options: Channel options; they override the ones that the transport sets.
        fallback: Where requests to other endpoints go: a transport, which gets them unchanged, or
            the base URL of a server, such as ``https://api.openai.com/v1``, which replaces
            everything up to ``/v1``. None: they are answered with 404.

    Raises:
        ValueError: The token would leave this machine unencrypted, or metadata cannot be sent. A
            request raises the same error for its own headers.
    """

    _kind = httpx2.BaseTransport

    def _http(self) -> httpx2.BaseTransport:
        return httpx2.HTTPTransport()

    def _start(self) -> None:
        self._belong()
        self._channel = self._server.open(grpc.insecure_channel, grpc.secure_channel)
        # Without a serializer messages are bytes.
        self._unaries: dict[str, Any] = {
            method: self._channel.unary_unary(method) for method in UNARIES
        }
        self._stream: Any = self._channel.unary_stream(STREAM)
        self._connecting = threading.Lock()
        self._is_connected = False
        self._is_new = True

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answers a request (see `httpx2.BaseTransport.handle_request`).

        Raises:
            TransportError: There is no answer.
            ValueError: The headers cannot be sent, or a timeout is NaN.
            TypeError: A timeout is not a number.
            RuntimeError: The transport is closed, or belongs to another process.
        """
        self._belong()
        self._refuse_if_closed()
        models = models_asked(request)
        stored = stored_asked(request)
        if models is None and stored is None and not is_for_completion(request):
            return self._fall_back(request)
        try:
            if models is not None:
                call = self._models_call(request, models)
            elif stored is not None:
                call = self._stored_call(request, stored, request.read())
            else:
                call = self._call(request, json_to_binary(request.read(), ChatCompletionRequest))
        except (ConversionError, ParameterError) as error:
            return unreadable_request(error)
        self._connect(limit_of(request, "connect"))
        began = time.monotonic()
        try:
            return self._streamed(call) if call.is_stream else self._answered(call)
        except grpc.RpcError as error:
            if not is_for_completion(request) and is_unknown(error, self._fallback is not None):
                return self._fall_back(request)
            try:
                return failed(error, call.is_late(began))
            except httpx2.ConnectError:
                self._is_connected = False
                raise

    def _fall_back(self, request: httpx2.Request) -> httpx2.Response:
        """The answer to a request that does not go over gRPC."""
        if self._fallback is None:
            return unknown_endpoint(request)
        return self._fallback.handle_request(self._elsewhere(request))

    def close(self) -> None:
        """Closes the connection and the fallback, and ends the running calls."""
        if self._is_forked:
            return
        self._is_closed = True
        self._channel.close()
        if self._fallback is not None:
            self._fallback.close()

    def _connect(self, seconds: float | None) -> None:
        """Waits until the connection is made, or has failed."""
        if self._is_connected:  # if it breaks, gRPC reconnects
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
        """Whether connecting succeeds or fails within that many seconds."""
        settled = threading.Event()

        def see(state: ChannelConnectivity) -> None:
            self._is_connected = state is ChannelConnectivity.READY
            # Once asked to connect, gRPC continues by itself, or with the next call.
            if state in SETTLED or (state is ChannelConnectivity.IDLE and not is_first):
                settled.set()

        is_first, self._is_new = self._is_new, False
        self._channel.subscribe(see, try_to_connect=is_first)
        try:
            return settled.wait(seconds)
        finally:
            self._channel.unsubscribe(see)

    def _answered(self, call: Call) -> httpx2.Response:
        data, answered = self._unaries[call.method].with_call(
            call.message, timeout=call.patience, metadata=call.metadata
        )
        headers = headers_of(answered.initial_metadata(), answered.trailing_metadata())
        return completed(answer_json(call.method, data), headers)

    def _streamed(self, call: Call) -> httpx2.Response:
        responses = self._stream(call.message, metadata=call.metadata)
        stream = _Stream(responses, call.patience)
        try:
            stream.first = stream.next()
            return streaming(stream, responses.initial_metadata())
        except BaseException:
            responses.cancel()
            raise


class _Stream(httpx2.SyncByteStream):
    """The event stream of a call.

    Attributes:
        first: The first response; it is read before the HTTP status is known.
    """

    def __init__(self, responses: Any, patience: float | None) -> None:
        self.first: object = _END
        self._responses = responses
        self._patience = patience
        self._owner = Owner()

    def next(self) -> object:
        """The next response, or `_END`."""
        self._owner.check("the stream")
        with WATCH.bounding(self._responses, self._patience):
            return next(self._responses, _END)

    def __iter__(self) -> Iterator[bytes]:
        part = self.first
        while part is not _END:
            yield events_of(part)
            try:
                part = self.next()
            except grpc.RpcError as error:
                yield broken(error)
                return
        yield event(DONE)

    def close(self) -> None:
        if self._owner.is_here:
            self._responses.cancel()
