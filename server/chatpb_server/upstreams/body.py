"""The body of an HTTP answer, piece by piece or whole."""

from __future__ import annotations

from typing import Final, Self

import aiohttp
from aiohttp.http_exceptions import ContentEncodingError

from chatpb_server.core.offload import threaded
from chatpb_server.core.upstream import UpstreamDataError, UpstreamTimeoutError
from chatpb_server.upstreams.events import without_blanks

#: The most bytes that are taken at once. Each stream holds several times as much.
_PIECE: Final = 64 * 1024
#: The most blank bytes before a body, which some servers send while they compute.
_MAX_BLANKS: Final = 64 * 1024


class Body:
    """The body of an answer: in each item all bytes that have arrived, up to a bound.

    Args:
        content: aiohttp's reader of the body.
    """

    __slots__ = ("_content", "_start")

    def __init__(self, content: aiohttp.StreamReader) -> None:
        self._content = content
        self._start = b""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if data := await self.read():
            return data
        raise StopAsyncIteration

    async def read(self) -> bytes:
        """The next bytes; none at the end.

        Raises:
            UpstreamTimeoutError: The upstream is silent.
            UpstreamDataError: The body breaks off, or cannot be decoded.
        """
        if self._start:
            start, self._start = self._start, b""
            return start
        try:
            return await self._content.read(_PIECE)
        except TimeoutError as error:
            raise UpstreamTimeoutError("silence") from error
        except aiohttp.ClientError as error:
            raise UpstreamDataError(_why_no_more(error)) from error

    async def start(self) -> bytes:
        """The first bytes, with one that is not blank, if there is one. They are read again."""
        start = b""
        async for piece in self:
            start += piece
            if (piece.strip() and without_blanks(start)) or len(start) > _MAX_BLANKS:
                break
        self._start = start
        return start

    async def whole(self, most: int, *, cut: bool = False) -> bytes:
        """All that is left.

        Args:
            most: The most bytes of it.
            cut: Whether a longer one is cut, and not an error.

        Raises:
            UpstreamDataError: It is longer.
        """
        read: list[bytes] = []
        size = 0
        while piece := await self.read():
            read.append(piece)
            size += len(piece)
            if size > most:
                if not cut:
                    raise UpstreamDataError(f"could not be read: it has more than {most} bytes")
                read[-1] = piece[: most - size]
                size = most
                break
        return read[0] if len(read) == 1 else await threaded(size, b"".join, read)


def _why_no_more(error: BaseException) -> str:
    """Why the rest of a body cannot be read; the exceptions of aiohttp cause one another."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ContentEncodingError):
            return "could not be read: it is not in the content encoding that its header names"
        cause = cause.__cause__
    return "broke off"
