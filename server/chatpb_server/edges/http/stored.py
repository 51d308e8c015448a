"""A request for stored completions."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from chatpb._rpc.stored import UPDATE, StoredPlace
from chatpb_server.edges.http.answering import Answering
from chatpb_server.edges.stored import asked_for, stored_json

#: The name of its calls, as rpcs have them.
STORED: Final = "/openai.v1/chat.completions.stored"


class StoredAnswering(Answering):
    """One request, which can be for stored completions. See `Answering`."""

    async def stored(self, place: StoredPlace) -> web.StreamResponse:
        """GET, POST or DELETE of a path below /v1/chat/completions, and GET of that one.

        Args:
            place: What the path names.
        """
        method = place.methods.get(self._request.method)
        if method is None:
            return await self.refuse(self._wrong_method(" or ".join(place.methods)))
        call = self._new_call(STORED)
        data = b""

        async def read() -> None:
            nonlocal data
            body = b""
            if method is UPDATE:
                body = await self._bodies.read(self._request, share)
            data = await asked_for(method, place, call.query, body)

        async def respond() -> None:
            text = await stored_json(self._services.stored, call, method, data)
            share.give_back()
            share.hold(len(text))
            await self._send_json(call, text)

        with self._budget.share(self._connection) as share:
            return await self._serve(call, respond, read)
