"""The HTTP edge: OpenAI's HTTP API in front of the service, so that any OpenAI client can call it.

JSON passes as it is, both ways. What a call may do, and how it fails, is decided by the guard.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Mapping
from ssl import SSLContext
from typing import Any, Final
from urllib.parse import unquote

from aiohttp import web
from aiohttp.http_exceptions import ContentEncodingError, HttpProcessingError, LineTooLong
from aiohttp.web_protocol import RequestHandler

from chatpb_server.access.address import Address
from chatpb_server.core.call import Call
from chatpb_server.core.explain import RefusalError, failure_of
from chatpb_server.core.guard import Guard
from chatpb_server.core.service import ChatCompletionService
from chatpb_server.edges.answering import OURS, Answering
from chatpb_server.edges.http_request import UNSUPPORTED_ENCODING

#: How many seconds a connection without a request stays open.
_IDLE: Final = 75.0
_MAX_LINE: Final = 8190
_MAX_HEADERS: Final = 100
#: How many connections can wait to be accepted.
_BACKLOG: Final = 1024
#: How many are accepted at once. For asyncio both are one number, and without file descriptors it
#: fails that many times each second.
_ACCEPTED: Final = 32
#: How many seconds answers that are written already get at the end.
_LAST: Final = 1.0

#: What is wrong with a request that is not HTTP as we read it. aiohttp's own texts quote it.
_NOT_HTTP: Final = (
    (LineTooLong, "A line of the request's head is too long."),
    (ContentEncodingError, UNSUPPORTED_ENCODING),
    (HttpProcessingError, "The request is not valid HTTP."),
)

_logger = logging.getLogger(__name__)
# A request that is not HTTP is its caller's fault and gets an answer; an operator cannot act on it.
_logger.addFilter(
    lambda record: not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))
)


class _Connection(RequestHandler):
    """One connection, whose own answers are errors as OpenAI has them."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 (it quotes the request)
    ) -> web.StreamResponse:
        """The answer to what is not HTTP, or makes the edge itself fail."""
        call = Call("/openai.v1/refused", {})
        self.log_exception("cannot serve the request %s", call.id, exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun")
        text = next((text for kind, text in _NOT_HTTP if isinstance(exc, kind)), None)
        error = RuntimeError() if text is None else RefusalError(status, text)
        failure = failure_of(error, call.id)
        headers = {**OURS, "x-request-id": call.id, "content-type": "application/json"}
        response = web.Response(status=failure.http_status, body=failure.http_body, headers=headers)
        response.force_close()
        return response


class _Server(web.Server):
    """Makes the connections."""

    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class HttpEdge:
    """Serves ``/v1/chat/completions`` and ``/v1/models``, with or without ``/v1``.

    Args:
        service: What answers.
        guard: Admits and bounds every call.
        max_body_bytes: The most bytes of a request.
        models: The models that are listed, each with the name of who owns it.

    Attributes:
        models: The argument, which can be changed.
    """

    def __init__(
        self,
        service: ChatCompletionService,
        guard: Guard,
        *,
        max_body_bytes: int,
        models: Mapping[str, str],
    ) -> None:
        self._service = service
        self._guard = guard
        self._max_body_bytes = max_body_bytes
        self.models = models
        self._began = int(time.time())
        self._is_draining = False
        self._busy: set[RequestHandler] = set()
        self._server = _Server(
            self._answer,
            handler_cancellation=True,
            access_log=None,
            logger=_logger,
            keepalive_timeout=_IDLE,
            max_line_size=_MAX_LINE,
            max_field_size=_MAX_LINE,
            max_headers=_MAX_HEADERS,
        )
        self._runner = web.ServerRunner(self._server, shutdown_timeout=_LAST)

    async def start(
        self, address: Address, *, ssl_context: SSLContext | None, share_port: bool
    ) -> int:
        """Listens.

        Args:
            address: Where; port 0 asks for a free one.
            ssl_context: For TLS. None: none.
            share_port: Whether other processes may listen there too.

        Returns:
            The port.

        Raises:
            AddressError: The address cannot be listened on.
        """
        if not share_port:
            address.check_free()
        await self._runner.setup()
        site = web.TCPSite(
            self._runner,
            address.host,
            address.port,
            ssl_context=ssl_context,
            backlog=_ACCEPTED,
            reuse_port=share_port or None,
        )
        try:
            await site.start()
        except OSError as error:
            raise address.listen_error(error) from None
        for listener in site._server.sockets:  # type: ignore[union-attr]
            with socket.fromfd(listener.fileno(), listener.family, listener.type) as same:
                same.listen(_BACKLOG)
        port: int = self._runner.addresses[0][1]
        return port

    async def drain(self) -> None:
        """Accepts no more connections, and ends those without a running call."""
        self._is_draining = True
        for site in self._runner.sites:
            await site.stop()
        for connection in self._server.connections:
            if connection not in self._busy:
                connection.force_close()

    async def close(self) -> None:
        """Ends all connections. No call is running any more."""
        await self._runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to any request."""
        self._busy.add(request.protocol)
        try:
            answering = Answering(request, self._guard, self._service, self._max_body_bytes)
            response = await self._routed(answering, request)
            if self._is_draining:
                response.force_close()
            return response
        finally:
            self._busy.discard(request.protocol)

    async def _routed(self, answering: Answering, request: web.BaseRequest) -> web.StreamResponse:
        # As it was sent: a proxy in front of the relay may allow and refuse paths by their letters.
        path = request.rel_url.raw_path.rstrip("/").removeprefix("/v1")
        if path == "/chat/completions":
            return await answering.chat(self._is_draining)
        if path == "/models" or path.startswith("/models/"):
            name = unquote(path.removeprefix("/models").strip("/"))
            return await answering.models(name, self._listed(name))
        if path == "/healthz" and request.method in ("GET", "HEAD"):
            return web.Response(status=503 if self._is_draining else 200, headers=OURS)
        return await answering.refuse(
            RefusalError(404, f"Invalid URL ({request.method} {request.rel_url.raw_path})")
        )

    def _listed(self, name: str) -> Any:
        """All models, or one; None if there is no such model."""
        models = {
            model: {"id": model, "object": "model", "created": self._began, "owned_by": owner}
            for model, owner in self.models.items()
        }
        return models.get(name) if name else {"object": "list", "data": list(models.values())}
