"""A request of a path that is not the relay's own: it is passed to the fallback, as it is."""

from __future__ import annotations

from typing import Final

from aiohttp import hdrs, web
from multidict import CIMultiDict

from chatpb_server.core.call import Call
from chatpb_server.core.explain import STOPPING, RefusalError
from chatpb_server.core.guard import CallError
from chatpb_server.core.pace import Pace
from chatpb_server.core.passing import PassedAnswer, Passing, path_class
from chatpb_server.core.upstream import UpstreamError
from chatpb_server.edges.http.answering import GONE, Answering
from chatpb_server.edges.http.connection import OURS
from chatpb_server.edges.http.passed_body import CallerBody
from chatpb_server.edges.http.passed_headers import passed_back, passed_on
from chatpb_server.edges.http.target import check_target

#: How many bytes are on their way at most, in both directions.
_HELD: Final = 256 * 1024
#: The one shows the relay's key to the caller; the other asks for a connection.
_REFUSED_METHODS: Final = ("TRACE", "CONNECT")


class Passage(Answering):
    """One request, that may have to be passed on."""

    async def passed(self, passing: Passing, pace: Pace) -> web.StreamResponse:
        """Passes the request on, and the answer back, each piece as it comes.

        Args:
            passing: Passes it on.
            pace: How fast the body has to come.
        """
        request = self._request
        target = request.raw_path
        try:
            self._check()
            headers = passed_on(request.headers.items())
        except RefusalError as refusal:
            return await self.refuse(refusal)
        body = CallerBody(request, pace) if request.body_exists else None
        call = self._new_call(f"/openai.v1/{path_class(target.partition('?')[0])}")
        call.passed = request.method
        is_complete = False

        async def respond() -> None:
            nonlocal is_complete
            share.take(min(_HELD, self._budget.most))
            async with passing.answer(call, request.method, target, headers, body) as answer:
                await self._pass_back(call, passing, answer)
            is_complete = True
            if answer.status >= 400:  # so that logs and metrics know
                raise UpstreamError(answer.status, b"", call.headers)

        with self._budget.share(self._connection) as share:
            try:
                await self._guard.serve(call, self._peer(call), respond)
            except CallError as error:
                if not is_complete:
                    return await self._failed(call, error)
        assert self._response is not None
        return self._response

    def _check(self) -> None:
        """Checks that the request can be passed on.

        Raises:
            RefusalError: It cannot.
        """
        request = self._request
        if self._is_draining():
            raise RefusalError(503, STOPPING)
        if request.method in _REFUSED_METHODS:
            raise self._wrong_method("another method")
        if "websocket" in request.headers.get("upgrade", "").lower():
            text = (
                "The relay does not pass WebSocket connections on. Connect to the server itself,"
                " or use the same API over HTTP."
            )
            raise RefusalError(400, text, "websocket_not_supported")
        if request.headers.get("transfer-encoding", "chunked").strip().lower() != "chunked":
            raise RefusalError(501, "The relay knows no transfer encoding other than chunked.")
        check_target(request.method, request.raw_path)

    async def _pass_back(self, call: Call, passing: Passing, answer: PassedAnswer) -> None:
        headers = CIMultiDict([*OURS.items(), *passed_back(answer.headers)])
        headers.setdefault("x-request-id", call.id)
        if headers.get("content-type", "").lower().startswith("text/event-stream"):
            headers["x-accel-buffering"] = "no"  # a proxy in front of the relay is not to collect
        reason = answer.reason if answer.reason.isascii() and answer.reason.isprintable() else None
        response = _AsItIs(status=answer.status, reason=reason, headers=headers)
        self._begin(response)
        with GONE:
            await response.prepare(self._request)
        is_first = answer.status < 400
        async for piece in answer.body:
            with GONE:
                await self._connection.write(self._request, piece)
            if is_first:
                is_first = False
                passing.began(call)
        with GONE:
            await self._connection.end_stream(response)


class _AsItIs(web.StreamResponse):
    """An answer that gets no content type of aiohttp's, if it has none."""

    async def _prepare_headers(self) -> None:
        has_type = hdrs.CONTENT_TYPE in self.headers
        await super()._prepare_headers()
        if not has_type:
            self.headers.pop(hdrs.CONTENT_TYPE, None)
