"""The HTTP edge: OpenAI's HTTP API in front of the service, so that any OpenAI client can call it.

JSON passes as it is, both ways. What a call may do, and how it fails, is decided by the guard.
"""

from __future__ import annotations

import asyncio
from ssl import SSLContext
from typing import Any, Final
from urllib.parse import unquote

from aiohttp import web

from chatpb._rpc.stored import StoredPlace, stored_place
from chatpb_server.access.address import Address
from chatpb_server.core.budget import Budget
from chatpb_server.core.explain import RefusalError
from chatpb_server.core.guard import CallerGoneError, Guard
from chatpb_server.core.limits import Limits
from chatpb_server.core.model_service import ModelService
from chatpb_server.core.pace import Pace
from chatpb_server.core.passing import Passing
from chatpb_server.edges.http.azure import place_of
from chatpb_server.edges.http.body import BodyReader
from chatpb_server.edges.http.connect.answering import RPCS, RpcAnswering
from chatpb_server.edges.http.connection import (
    MAX_HEADER,
    MAX_LINE,
    Connection,
    refusal_of_connection,
)
from chatpb_server.edges.http.cors import FOREIGN, Cors, CorsRequest
from chatpb_server.edges.http.listener import Listener
from chatpb_server.edges.http.passage import Passage
from chatpb_server.edges.http.probes import probed
from chatpb_server.edges.http.stored import StoredAnswering
from chatpb_server.edges.services import Services

_CHAT: Final = "/chat/completions"
_MAX_HEADERS: Final = 100
#: From how many bytes that nobody has read the connection is not read on.
_READ_AHEAD: Final = 64 * 1024
#: How many seconds answers that are written already get at the end.
_LAST: Final = 1.0
_NO_FALLBACK: Final = ". The relay passes other paths on if it has a --fallback."
#: aiohttp has no word for no limit.
_YEAR: Final = 365 * 86_400.0


class _Answering(RpcAnswering, StoredAnswering, Passage):
    """One request, whatever its path is."""


class HttpEdge:
    """Serves ``/v1/chat/completions`` and ``/v1/models``, with or without ``/v1``, and probes.

    Stored completions are below ``/v1/chat/completions``.

    Args:
        services: What answers.
        guard: Admits and bounds every call.
        limits: What bounds calls and connections.
        budget: Holds the bytes of requests.
        cors: Which web pages may call.
        passing: Passes all other paths on. None: they are refused.

    Attributes:
        cors: The argument, which can be changed.
        passing: The same.
    """

    def __init__(
        self,
        services: Services,
        guard: Guard,
        *,
        limits: Limits,
        budget: Budget,
        cors: Cors,
        passing: Passing | None = None,
    ) -> None:
        self._services = services
        self._guard = guard
        self._limits = limits
        self._budget = budget
        self.cors = cors
        self.passing = passing
        self._is_draining = False
        self._idle: dict[Connection, None] = {}
        self._pace = Pace(limits.stall_timeout or None, limits.min_rate)
        self._bodies = BodyReader(limits.max_message_bytes, limits.body_timeout or None, self._pace)
        self._server = web.Server(
            self._answer, request_factory=self._request, handler_cancellation=True
        )
        self._listener = Listener(
            self._connection,
            most=limits.max_connections,
            make_room=self._make_room,
            refusal=refusal_of_connection,
            handshake_seconds=limits.head_timeout or None,
        )

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return self._listener.open

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
        return self._listener.start(address, ssl_context, share_port=share_port)

    async def drain(self) -> None:
        """Accepts no more connections, and ends those without a running call."""
        self._is_draining = True
        self._pace.hurry()
        await self._listener.stop()
        for connection in list(self._idle):
            connection.force_close()

    async def close(self) -> None:
        """Ends all connections. No call is running any more."""
        await self._listener.stop()
        await self._server.shutdown(_LAST)

    def _connection(self) -> Connection:
        limits = self._limits
        return Connection(
            self._server,
            idle=self._idle,
            pace=self._pace,
            head_seconds=limits.head_timeout or None,
            on_lost=self._listener.closed,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=limits.idle_timeout or _YEAR,
            read_bufsize=_READ_AHEAD,
            max_line_size=MAX_LINE,
            max_field_size=MAX_HEADER,
            max_headers=_MAX_HEADERS,
        )

    def _request(self, *parts: Any) -> web.BaseRequest:
        return CorsRequest(*parts, asyncio.get_running_loop(), cors=self.cors)

    def _make_room(self) -> bool:
        """Closes the connection that has been without a request for longest."""
        for connection in self._idle:
            connection.begin()
            connection.abort()
            return True
        return False

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answers any request."""
        connection = request.protocol
        assert isinstance(connection, Connection)
        connection.begin()
        try:
            answering = _Answering(
                request,
                connection,
                self._guard,
                self._services,
                bodies=self._bodies,
                budget=self._budget,
                is_draining=lambda: self._is_draining,
            )
            response = await self._routed(answering, request)
            if not request.content.is_eof():
                await connection.linger(self._limits.max_message_bytes)
            if self._is_draining:
                response.force_close()
            return response
        except CallerGoneError:
            raise ConnectionResetError from None
        finally:
            connection.end()

    async def _routed(self, answering: _Answering, request: web.BaseRequest) -> web.StreamResponse:
        if (allowed := self.cors.preflight(request)) is not None:
            return await answering.outside(204, headers=allowed)
        if self.cors.is_foreign(request):
            return await answering.refuse(RefusalError(403, FOREIGN))
        # As it was sent: a proxy in front of the relay may allow and refuse paths by their letters.
        if request.rel_url.raw_path.startswith(RPCS):
            return await answering.rpc(request.rel_url.raw_path)
        path, deployment = place_of(request.rel_url.raw_path)
        if path == _CHAT and (request.method == "POST" or (deployment and self.passing is None)):
            return await answering.chat(deployment)
        if (place := self._stored(path, deployment)) is not None:
            return await answering.stored(place)
        is_for_models = path == "/models" or path.startswith("/models/")
        # A fallback may delete models.
        if is_for_models and (self.passing is None or request.method in ("GET", "HEAD")):
            name = unquote(path.removeprefix("/models").strip("/"))
            return await answering.models(name, self._listed())
        if request.method in ("GET", "HEAD") and (body := probed(path)):
            return await answering.outside(200, body)
        if self.passing is not None:
            return await answering.passed(self.passing, self._pace)
        text = f"Invalid URL ({request.method} {request.rel_url.raw_path})"
        return await answering.refuse(RefusalError(404, f"{text}{_NO_FALLBACK}"))

    def _stored(self, path: str, deployment: str) -> StoredPlace | None:
        """What a path names of stored completions; None if nothing, or the fallback has them."""
        if deployment or not path.startswith(_CHAT):
            return None
        if self.passing is not None and not self._services.stored.is_answered:
            return None
        return stored_place(path.removeprefix(_CHAT))

    def _listed(self) -> ModelService:
        """What knows the models."""
        return self._services.models
