"""The one place where errors become statuses."""

from __future__ import annotations

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

_Handler = Any  # grpc.RpcMethodHandler, whose type knows nothing of asyncio


class ErrorInterceptor(aio.ServerInterceptor):
    """Turns what handlers raise into statuses, and lets no text of an unknown error out.

    Cancellation passes through, and so does the abort of a handler that is not ours, such as the
    one for health.
    """

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler:
        """Wraps the handlers of calls with one request."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        if inspect.iscoroutinefunction(handler.unary_unary):
            return handler._replace(unary_unary=_guard(handler.unary_unary, method))
        # A handler that writes its responses by itself, such as the one for watching health, is
        # no generator.
        if inspect.isasyncgenfunction(handler.unary_stream):
            return handler._replace(unary_stream=_guard(_write_all(handler.unary_stream), method))
        return handler


def _write_all(respond: Callable[..., Any]) -> Callable[..., Awaitable[None]]:
    """The generator as a coroutine: a cancelled call then closes it before the call ends.

    The runtime would leave a generator that it does not exhaust to the garbage collector.
    """

    async def write(request: Any, context: Any) -> None:
        async with aclosing(respond(request, context)) as responses:
            async for response in responses:
                await context.write(response)

    return write


def _guard(respond: Callable[..., Awaitable[Any]], method: str) -> Callable[..., Awaitable[Any]]:
    async def guarded(request: Any, context: Any) -> Any:
        try:
            return await respond(request, context)
        except aio.AbortError:
            raise
        except Exception as error:
            status = _status(error, method)
        await context.abort_with_status(status)

    return guarded


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
