"""The one place where errors become statuses."""

from __future__ import annotations

import asyncio
import inspect
import logging
import uuid
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import grpc
from grpc import StatusCode, aio

from chatpb import ConversionError
from chatpb_server.conversion import UpstreamDataError
from chatpb_server.status import fixed_status, request_status, upstream_status
from chatpb_server.upstream import UpstreamError

_logger = logging.getLogger(__name__)

_Respond = Callable[..., Awaitable[Any]]
_Handler = Any  # grpc.RpcMethodHandler, whose type knows nothing of asyncio

_KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


class ErrorInterceptor(aio.ServerInterceptor):
    """Turns what handlers raise into statuses, and lets no text of an unknown error out.

    Cancellation passes through, and so does the abort of a handler that is not ours, such as the
    one for health.
    """

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    async def finished(self) -> None:
        """Waits until no handler is running: a server that has stopped may still cancel some."""
        while self._running:
            await asyncio.wait(self._running)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler:
        """Wraps the handler of a call."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        [kind] = [kind for kind in _KINDS if getattr(handler, kind) is not None]
        respond = getattr(handler, kind)
        if inspect.isasyncgenfunction(respond):
            respond = _write_all(respond)
        return handler._replace(**{kind: self._guard(respond, handler_call_details.method)})

    def _guard(self, respond: _Respond, method: str) -> _Respond:
        async def guarded(request: Any, context: Any) -> Any:
            task = asyncio.current_task()
            assert task is not None
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            try:
                return await respond(request, context)
            except aio.AbortError:
                raise
            except Exception as error:
                status = _status(error, method)
            await context.abort_with_status(status)

        return guarded


def _write_all(respond: Callable[..., Any]) -> _Respond:
    """The generator as a coroutine: a cancelled call then closes it before the call ends.

    The runtime would leave a generator that it does not exhaust to the garbage collector.
    """

    async def write(request: Any, context: Any) -> None:
        async with aclosing(respond(request, context)) as responses:
            async for response in responses:
                await context.write(response)

    return write


def _status(error: Exception, method: str) -> grpc.Status:
    if isinstance(error, UpstreamError):
        return upstream_status(error)
    if isinstance(error, ConversionError):
        return request_status(error)
    incident = uuid.uuid4().hex[:12]
    _logger.error("error %s in %s", incident, method, exc_info=error)
    if isinstance(error, UpstreamDataError):
        text = (
            f"The upstream's answer could not be read; the log of the relay says more: {incident}"
        )
        return fixed_status(StatusCode.DATA_LOSS, text)
    text = f"The relay failed; its log says more: {incident}"
    return fixed_status(StatusCode.INTERNAL, text)
