"""The transport for asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc.aio
import httpx2

from chatpb._errors import ConversionError
from chatpb._mapping.convert import json_to_binary
from chatpb._rpc.loops import Home
from chatpb._rpc.offload import convert
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
    silence,
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
from chatpb.v1.chat_completion_request_pb2 import ChatCompletionRequest

_END: Final = object()


class AsyncGrpcTransport(BaseTransport[httpx2.AsyncBaseTransport], httpx2.AsyncBaseTransport):
    """Sends the chat completions of an `httpx2.AsyncClient`, such as the one of `AsyncOpenAI`.

    It belongs to the event loop and the process of its first request; requests in another one raise
    `RuntimeError`. The arguments and other errors are those of `GrpcTransport`; the fallback is an
    `httpx2.AsyncBaseTransport` or a URL.
    """

    _kind = httpx2.AsyncBaseTransport
    _channel: grpc.aio.Channel | None = None  # made when there is an event loop

    def _start(self) -> None:
        self._home = Home("the transport")

    def _http(self) -> httpx2.AsyncBaseTransport:
        return httpx2.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answers a request, as `GrpcTransport.handle_request` does."""
        self._belong()
        self._refuse_if_closed()
        models = models_asked(request)
        stored = stored_asked(request)
        if models is None and stored is None and not is_for_completion(request):
            return await self._fall_back(request)
        try:
            if models is not None:
                call = self._models_call(request, models)
            elif stored is not None:
                body = await request.aread()
                call = self._stored_call(request, stored, body)
            else:
                body = await request.aread()
                data = await convert(len(body), json_to_binary, body, ChatCompletionRequest)
                call = self._call(request, data)
        except (ConversionError, ParameterError) as error:
            return unreadable_request(error)
        await self._connect(limit_of(request, "connect"))
        began = time.monotonic()
        try:
            return await (self._streamed(call) if call.is_stream else self._answered(call))
        except grpc.RpcError as error:
            if not is_for_completion(request) and is_unknown(error, self._fallback is not None):
                return await self._fall_back(request)
            return failed(error, call.is_late(began))
        except asyncio.CancelledError:
            _raise_if_cancelled()
            raise

    async def _fall_back(self, request: httpx2.Request) -> httpx2.Response:
        """The answer to a request that does not go over gRPC."""
        if self._fallback is None:
            return unknown_endpoint(request)
        return await self._fallback.handle_async_request(self._elsewhere(request))

    async def aclose(self) -> None:
        """Closes the connection and the fallback, and ends the running calls."""
        if self._is_forked:
            return
        self._is_closed = True
        if self._channel is not None:
            await self._channel.close()
        if self._fallback is not None:
            await self._fallback.aclose()

    async def _connect(self, seconds: float | None) -> None:
        """Waits until the connection is made, or has failed."""
        self._home.enter()
        channel = self._channel
        if channel is None:
            channel = self._server.open(grpc.aio.insecure_channel, grpc.aio.secure_channel)
            self._channel = channel
            self._unaries: dict[str, Any] = {
                method: channel.unary_unary(method) for method in UNARIES
            }
            self._stream: Any = channel.unary_stream(STREAM)
        try:
            async with asyncio.timeout(seconds):
                while (state := channel.get_state(try_to_connect=True)) not in SETTLED:
                    await channel.wait_for_state_change(state)
        except TimeoutError:
            raise self._connect_error(seconds) from None

    async def _answered(self, call: Call) -> httpx2.Response:
        answered = self._unaries[call.method](
            call.message, timeout=call.patience, metadata=call.metadata
        )
        data = await answered
        headers = headers_of(await answered.initial_metadata(), await answered.trailing_metadata())
        return completed(await convert(len(data), answer_json, call.method, data), headers)

    async def _streamed(self, call: Call) -> httpx2.Response:
        responses = self._stream(call.message, metadata=call.metadata)
        stream = _AsyncStream(responses, call.patience)
        try:
            stream.first = await stream.next()
            return streaming(stream, await responses.initial_metadata())
        except BaseException:
            responses.cancel()
            raise


class _AsyncStream(httpx2.AsyncByteStream):
    """The event stream of a call, as `chatpb.transport._sync._Stream`."""

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
            raise silence(self._patience) from None
        return _END if part is grpc.aio.EOF else part

    async def __aiter__(self) -> AsyncIterator[bytes]:
        part = self.first
        while part is not _END:
            yield events_of(part)
            try:
                part = await self.next()
            except grpc.RpcError as error:
                yield broken(error)
                return
            except asyncio.CancelledError:
                _raise_if_cancelled()
                raise
        yield event(DONE)

    async def aclose(self) -> None:
        self._responses.cancel()


def _raise_if_cancelled() -> None:
    """After a CancelledError: raises if the call was cancelled, and not the task."""
    task = asyncio.current_task()
    if task is not None and not task.cancelling():
        raise httpx2.ReadError("the call was cancelled") from None
