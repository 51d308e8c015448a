"""One request of the HTTP API, from its body to the last byte of its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Final

from aiohttp import HttpVersion11, web

from chatpb.sse import DONE, event
from chatpb_server.core.budget import Budget
from chatpb_server.core.call import Call
from chatpb_server.core.explain import RefusalError
from chatpb_server.core.guard import CallerGoneError, CallError, Guard, Peer
from chatpb_server.core.headers import one_of_each
from chatpb_server.core.model_service import ModelService
from chatpb_server.core.service import Metadata
from chatpb_server.core.upstream import (
    RequestBody,
    UpstreamDataError,
    UpstreamError,
)
from chatpb_server.edges.http.azure import with_model, without_version
from chatpb_server.edges.http.body import BodyReader
from chatpb_server.edges.http.chat_json import error_event, events_of, text_of
from chatpb_server.edges.http.connection import OURS, Connection
from chatpb_server.edges.http.request import HttpPeer, asked_in
from chatpb_server.edges.http.unstored import BLANK_LINES, COMMENT, EventText
from chatpb_server.edges.models import list_json, model_json
from chatpb_server.edges.services import Services

#: The names of its calls, as rpcs have them.
CHAT: Final = "/openai.v1/chat.completions"
MODELS: Final = "/openai.v1/models"

_JSON: Final = "application/json"
#: How many seconds the end of an answer that breaks off may take to be written.
LAST: Final = 1.0


class Answering:
    """One request.

    Args:
        request: The request.
        connection: Its connection.
        guard: As in `HttpEdge`.
        services: As in `HttpEdge`.
        bodies: Reads its body.
        budget: As in `HttpEdge`.
        is_draining: Says whether the relay is stopping.
    """

    def __init__(
        self,
        request: web.BaseRequest,
        connection: Connection,
        guard: Guard,
        services: Services,
        *,
        bodies: BodyReader,
        budget: Budget,
        is_draining: Callable[[], bool],
    ) -> None:
        self._request = request
        self._connection = connection
        self._guard = guard
        self._services = services
        self._bodies = bodies
        self._budget = budget
        self._is_draining = is_draining
        self._metadata = one_of_each(request.headers.items())
        self._response: web.StreamResponse | None = None
        self._body = b""
        self._is_stream = False
        self._is_between_events = False
        self._store: bool | None = None

    async def chat(self, deployment: str = "") -> web.StreamResponse:
        """POST /v1/chat/completions.

        Args:
            deployment: The model that the path names. Empty: the body names it.
        """
        if self._request.method != "POST":
            return await self.refuse(self._wrong_method("POST"))
        if self._is_draining():
            return await self.refuse(RefusalError(503, "The relay is stopping; call again."))
        call = self._new_call(CHAT)
        if deployment:
            call.query = without_version(call.query)

        async def read() -> None:
            self._body = await self._bodies.read(self._request, share)
            call.model, self._is_stream, self._store = await asked_in(self._body)
            if deployment and deployment != call.model:
                self._body = await with_model(self._body, deployment)
                call.model = deployment
            if call.recording is not None:
                call.recording.asked(self._body, is_json=True)

        async def respond() -> None:
            if self._is_stream:
                await self._stream(call)
                return
            text = await text_of(await self._services.chat.create(call, self._asked()))
            self._body = b""
            share.give_back()
            share.hold(len(text))
            await self._send_json(call, text)

        with self._budget.share(self._connection) as share:
            return await self._serve(call, respond, read)

    async def models(self, name: str, service: ModelService) -> web.StreamResponse:
        """GET /v1/models, and one of them if there is a name."""
        if self._request.method not in ("GET", "HEAD"):
            return await self.refuse(self._wrong_method("GET"))
        call = self._new_call(MODELS)

        async def respond() -> None:
            text = await (model_json(service, call, name) if name else list_json(service, call))
            share.hold(len(text))
            await self._send_json(call, text)

        with self._budget.share(self._connection) as share:
            return await self._serve(call, respond)

    async def refuse(self, refusal: RefusalError) -> web.StreamResponse:
        """The answer to a request for which no upstream is asked."""

        async def respond() -> None:
            raise refusal

        return await self._serve(self._new_call("/openai.v1/refused"), respond)

    async def outside(
        self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> web.StreamResponse:
        """An answer outside of calls: for anyone, even if calls require a token.

        Args:
            status: Its HTTP status.
            body: JSON text.
            headers: More headers.
        """
        kind = {"content-type": _JSON} if body else {}
        headers = {**OURS, **kind, **(headers or {})}
        return await self._send(web.Response(status=status, body=body or None, headers=headers))

    def _new_call(self, name: str) -> Call:
        return Call(name, self._metadata, query=self._request.rel_url.raw_query_string)

    async def _serve(
        self,
        call: Call,
        respond: Callable[[], Awaitable[None]],
        read: Callable[[], Awaitable[None]] | None = None,
    ) -> web.StreamResponse:
        try:
            await self._guard.serve(call, self._peer(call), respond, read)
        except CallError as error:
            return await self._failed(call, error)
        assert self._response is not None
        return self._response

    def _peer(self, call: Call) -> Peer:
        return HttpPeer(self._request, call)

    async def _send_json(self, call: Call, body: bytes) -> None:
        """Sends an answer, in the turn of its call: it has ended when the last byte has left."""
        headers = self._headers(call, {"content-type": _JSON})
        await self._send(web.Response(body=body, headers=headers))

    async def _send(self, response: web.Response) -> web.StreamResponse:
        self._begin(response)
        with GONE:
            await self._connection.send(self._request, response)
        return response

    def _begin(self, response: web.StreamResponse) -> None:
        # What is left of a request that is refused is not read, so nothing can come after it.
        is_read = self._request.content.at_eof()
        if self._is_draining() or not is_read or self._connection.has_doubtful_end(self._request):
            response.force_close()
        self._response = response

    def _asked(self) -> RequestBody:
        return RequestBody(text=self._body, store=self._store)

    async def _stream(self, call: Call) -> None:
        """Sends the event stream, as it comes."""
        connection = self._connection

        async def begin(headers: Metadata) -> None:
            kind = {
                "content-type": "text/event-stream; charset=utf-8",
                "cache-control": "no-cache",
                "x-accel-buffering": "no",
            }
            response = _EventStream(headers=self._headers(call, kind, headers))
            self._begin(response)
            self._is_between_events = True
            with GONE:
                await response.prepare(self._request)

        async def write(data: bytes) -> None:
            self._is_between_events = data.endswith(BLANK_LINES)
            with GONE:
                await connection.write(self._request, data)

        is_event_stream = False
        text = EventText()
        is_said = False
        async with aclosing(self._services.chat.stream(call, self._asked(), begin)) as arrived:
            async for chunks in arrived:
                is_event_stream = chunks.text is not None
                data = await events_of(chunks)
                if is_event_stream and call.is_kept:
                    is_said |= chunks.is_end
                    data = text.piece(data, is_end=chunks.is_end, is_unstored=call.is_unstored)
                if data:
                    await write(data)
        last = text.rest()
        if call.is_unstored and not is_said:
            last += COMMENT + b"\n"
        if not is_event_stream:  # nothing that came marks the end
            last += event(DONE)
        if last:
            await write(last)
        self._is_between_events = False  # nothing can follow, even if this is not read in time
        assert self._response is not None
        with GONE:
            await connection.end_stream(self._response)

    async def _failed(self, call: Call, error: CallError) -> web.StreamResponse:
        failure = error.failure
        response = self._response
        if response is None or not response.prepared:
            headers = self._headers(call, {"content-type": failure.http_content_type})
            if not headers.keys() & {"retry-after", "retry-after-ms"}:
                headers |= failure.http_headers
            status, body = failure.http_status, failure.http_body
            return await self._send(web.Response(status=status, body=body, headers=headers))
        connection = self._connection
        cause = error.__cause__
        is_said = isinstance(cause, UpstreamError) and cause.http_status < 300  # by an event
        if is_said or isinstance(cause, UpstreamDataError):
            self._is_between_events = False
        try:
            async with asyncio.timeout(LAST):  # the caller may read no more
                if self._is_between_events:
                    await connection.write(self._request, error_event(failure))
                await connection.flush()
                if isinstance(cause, UpstreamError):
                    await connection.end_stream(response)
                elif self._request.version < HttpVersion11:  # the end would be the last byte
                    connection.reset()
                else:  # without its last chunk, what breaks off does not look complete
                    connection.close_now()
        except (ConnectionError, CallerGoneError, TimeoutError):
            connection.abort()
        return response

    def _headers(
        self, call: Call, headers: Mapping[str, str], passed: Metadata | None = None
    ) -> dict[str, str]:
        """The headers of an answer, with those of the upstream that are passed back."""
        if passed is None:
            passed = self._guard.trailers(call)
        return {**OURS, "x-request-id": call.id, **headers, **dict(passed)}

    def _wrong_method(self, allowed: str) -> RefusalError:
        text = f"Not allowed to {self._request.method} on {self._request.path}: expected {allowed}"
        return RefusalError(405, text, "method_not_supported")


class _EventStream(web.StreamResponse):
    """An answer whose head is sent together with the first bytes of its body."""

    _send_headers_immediately = False


class _Gone:
    """Writing to a caller that may be gone: a context, which keeps nothing."""

    __slots__ = ()

    def __enter__(self) -> None:
        """Writes."""

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, ConnectionError):
            raise CallerGoneError from error


#: For all callers: one is entered for each piece of an answer.
GONE: Final = _Gone()
