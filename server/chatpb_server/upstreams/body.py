"""The body of an HTTP answer, piece by piece or whole."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

import aiohttp
from aiohttp.http_exceptions import ContentEncodingError

from chatpb_server.core.offload import threaded
from chatpb_server.core.upstream import UpstreamDataError, UpstreamTimeoutError
from chatpb_server.upstreams.events import without_blanks

#: The most bytes that are taken at once. Each stream holds several times as much.
_PIECE: Final = 64 * 1024
#: The most blank bytes before a body, which some servers send while they compute.
_MAX_BLANKS: Final = 64 * 1024


async def pieces_of(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    """The bytes of the body, all that have arrived in each item, up to a bound."""
    read = response.content.read
    try:
        while data := await read(_PIECE):
            yield data
    except TimeoutError as error:
        raise UpstreamTimeoutError("silence") from error
    except aiohttp.ClientError as error:
        raise UpstreamDataError(_why_no_more(error)) from error


def _why_no_more(error: BaseException) -> str:
    """Why the rest of a body cannot be read; the exceptions of aiohttp cause one another."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ContentEncodingError):
            return "could not be read: it is not in the content encoding that its header names"
        cause = cause.__cause__
    return "broke off"


async def first_bytes(pieces: AsyncIterator[bytes]) -> bytes:
    """The first bytes of a body, with one that is not blank, if there is one."""
    start = b""
    async for piece in pieces:
        start += piece
        if (piece.strip() and without_blanks(start)) or len(start) > _MAX_BLANKS:
            break
    return start


async def all_after(start: bytes, pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """A body of which the first bytes were taken."""
    if start:
        yield start
    async for piece in pieces:
        yield piece


async def read_whole(pieces: AsyncIterator[bytes], most: int, *, cut: bool = False) -> bytes:
    """The whole body.

    Args:
        pieces: Its bytes.
        most: The most bytes of it.
        cut: Whether a longer one is cut, and not an error.
    """
    read: list[bytes] = []
    size = 0
    async for piece in pieces:
        read.append(piece)
        size += len(piece)
        if size > most:
            if not cut:
                raise UpstreamDataError(f"could not be read: it has more than {most} bytes")
            read[-1] = piece[: most - size]
            size = most
            break
    return await threaded(size, b"".join, read)
