"""The body of a request that is passed on while it comes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web

from chatpb_server.core.explain import RefusalError
from chatpb_server.core.guard import CallerGoneError
from chatpb_server.core.pace import Meter, Pace, TooSlowError

#: Up to how many bytes a body is kept, so that it can be sent again.
_KEPT: Final = 64 * 1024


class CallerBody:
    """A `PassedBody` from a request.

    No more of it is read than the other end takes. It need not come in `body_timeout`, since it is
    never held as a whole; but at the pace of all bodies, while it is waited for.

    Args:
        request: The request.
        pace: How fast it has to come.

    Attributes:
        fault: As in a `PassedBody`.
    """

    def __init__(self, request: web.BaseRequest, pace: Pace) -> None:
        self._request = request
        self._pace = pace
        self._kept: list[bytes] = []
        self._size = 0
        self._is_begun = False
        self._is_over = False
        self.fault: Exception | None = None

    @property
    def is_whole(self) -> bool:
        """As in a `PassedBody`."""
        return not self._is_begun or (self._is_over and self._size <= _KEPT)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Its bytes, again from the beginning, if all of it is in memory."""
        if not self.is_whole:
            raise ConnectionError("the body cannot be sent a second time")
        for piece in self._kept:
            yield piece
        if self._is_over:
            return
        self._is_begun = True
        try:
            async for piece in self._coming():
                self._size += len(piece)
                if self._size <= _KEPT:
                    self._kept.append(piece)
                else:
                    self._kept.clear()
                yield piece
        except TooSlowError:
            self.fault = RefusalError(408, "The request did not come in time.")
            raise
        except ConnectionError as error:
            self.fault = CallerGoneError()
            raise self.fault from error
        except web.RequestPayloadError:
            self.fault = RefusalError(400, "The body of the request cannot be read.")
            raise
        self._is_over = True

    async def _coming(self) -> AsyncIterator[bytes]:
        request = self._request
        if request.headers.get("expect", "").lower() == "100-continue":
            # Only now: a request that is refused, or that nobody takes, is not sent in vain.
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        meter = self._pace.meter()
        while piece := await self._next(meter):
            waits = time.monotonic()
            yield piece
            meter.skip(time.monotonic() - waits)  # the other end took its time

    async def _next(self, meter: Meter) -> bytes:
        while True:
            try:
                async with asyncio.timeout(meter.left()):
                    piece = await self._request.content.readany()
            except TimeoutError:
                meter.moved(0)
            else:
                if piece:
                    meter.moved(len(piece))
                return piece
