"""What lies between a relay and its upstream, and keeps what each sent to the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from chatpb.sse import DONE, Decoder
from support.equality import exact


@dataclass
class Exchange:
    """A request and its answer.

    Attributes:
        request: The body of the request.
        status: The HTTP status of the answer, or 0 if there was none.
        body: The body of the answer, as far as it came.
        is_left: Whether the relay left before the end.
    """

    request: bytes
    status: int = 0
    body: bytearray = field(default_factory=bytearray)
    is_left: bool = False

    @property
    def documents(self) -> list[bytes]:
        """The JSON texts of the answer: that of the body, or those of its events."""
        body = bytes(self.body)
        if body.lstrip().startswith(b"{"):
            return [body]
        decoder = Decoder()
        events = (*decoder.feed(body), *decoder.close())
        return [event.data for event in events if event.data != DONE]

    @property
    def values(self) -> list[Any]:
        """The values of `documents`, in the form that `exact` returns."""
        return [exact(document) for document in self.documents]


class Tee:
    """Forwards each request to an upstream.

    Attributes:
        url: The base URL of the API.
        exchanges: What was asked and answered, in this order.
    """

    def __init__(self) -> None:
        self.url = ""
        self.exchanges: list[Exchange] = []

    @asynccontextmanager
    async def serving(self, upstream: str) -> AsyncIterator[Tee]:
        """Serves in front of an upstream, and yields itself."""
        # As it comes: what it really sent, compressed or not.
        how: Any = {"auto_decompress": False, "timeout": aiohttp.ClientTimeout(None)}
        async with aiohttp.ClientSession(upstream, **how) as session:

            async def forward(request: web.Request) -> web.StreamResponse:
                return await self._forward(request, session)

            app = web.Application(client_max_size=1 << 30)
            app.router.add_route("*", "/{path:.*}", forward)
            # A handler is cancelled when the relay leaves, and so leaves the upstream.
            runner = web.AppRunner(app, handler_cancellation=True)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
            try:
                yield self
            finally:
                await runner.cleanup()

    async def _forward(
        self, request: web.Request, session: aiohttp.ClientSession
    ) -> web.StreamResponse:
        exchange = Exchange(await request.read())
        self.exchanges.append(exchange)
        headers = {"content-type": request.headers["content-type"]}
        is_whole = False
        try:
            async with session.request(
                request.method, request.path_qs, data=exchange.request, headers=headers
            ) as answer:
                exchange.status = answer.status
                kept = {"content-type": answer.headers["content-type"]}
                response = web.StreamResponse(status=answer.status, headers=kept)
                await response.prepare(request)
                async for piece in answer.content.iter_any():
                    exchange.body += piece
                    await response.write(piece)
                await response.write_eof()
            is_whole = True
            return response
        finally:
            exchange.is_left = not is_whole
