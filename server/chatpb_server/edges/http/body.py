"""Reads the body of a request, within the bounds of bytes and time, and inflates it."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Callable
from typing import Final

from aiohttp import StreamReader, web

from chatpb_server.core.budget import Share
from chatpb_server.core.explain import RefusalError
from chatpb_server.core.guard import CallerGoneError
from chatpb_server.core.offload import threaded
from chatpb_server.core.pace import Meter, Pace, TooSlowError

#: How many bytes are inflated at once: on the event loop, and in a thread.
_INLINE: Final = 256 * 1024
_IN_THREAD: Final = 2 * 1024 * 1024
#: How many bytes of a body are stored together.
_BLOCK: Final = 64 * 1024
#: How many members a gzip body may have. Real ones have one.
_MAX_MEMBERS: Final = 100
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
_UNREADABLE: Final = "The body of the request cannot be read."


class BodyReader:
    """Reads the bodies of requests.

    Args:
        most: The most bytes of a body, inflated.
        seconds: How long a body may take as a whole. None: no limit.
        pace: How fast it has to come.

    Attributes:
        most: The argument.
    """

    def __init__(self, most: int, seconds: float | None, pace: Pace) -> None:
        self.most = most
        self._seconds = seconds
        self._pace = pace

    async def read(self, request: web.BaseRequest, share: Share, *, framing: int = 0) -> bytes:
        """The body of a request.

        Args:
            request: The request.
            share: Holds its bytes, as they come.
            framing: How many bytes it can have in addition, around its message.

        Raises:
            RefusalError: It is too long, does not come in time, or cannot be inflated.
            OverloadError: There is no room for its bytes.
            CallerGoneError: The connection breaks.
        """
        inflate = _inflation(request.headers.get("content-encoding", ""))
        length = request.content_length or 0
        if length > self.most + framing:
            raise self._too_long()
        share.check(length)
        body = _Blocks(self.most + framing, self._too_long, share)

        try:
            if request.headers.get("expect", "").lower() == "100-continue":
                await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                request.writer.output_size = 0
            await self._read_all(request, inflate, body.add)
        except TooSlowError:
            raise RefusalError(408, "The request did not come in time.") from None
        except ConnectionError as error:
            raise CallerGoneError from error
        except (web.RequestPayloadError, zlib.error):
            raise RefusalError(400, _UNREADABLE) from None
        return await threaded(body.size, body.joined)

    async def inflated(self, data: bytes, encoding: str, share: Share) -> bytes:
        """A message that was compressed by itself.

        Args:
            data: The message.
            encoding: How it was compressed, such as ``gzip``.
            share: Holds its bytes, as they are inflated.

        Raises:
            RefusalError: It is too long, or cannot be inflated.
            OverloadError: There is no room for its bytes.
        """
        inflate = _inflation(encoding)
        if inflate is None:
            return data
        message = _Blocks(self.most, self._too_long, share)
        try:
            if data:  # an empty message may be left as it is
                await inflate.feed(data, message.add)
                inflate.close()
        except zlib.error:
            raise RefusalError(400, _UNREADABLE) from None
        return await threaded(message.size, message.joined)

    def check(self, size: int) -> None:
        """Checks the length of a message.

        Raises:
            RefusalError: It is too long.
        """
        if size > self.most:
            raise self._too_long()

    async def _read_all(
        self, request: web.BaseRequest, inflate: _Inflation | None, add: Callable[[bytes], None]
    ) -> None:
        content = request.content
        until = None if self._seconds is None else time.monotonic() + self._seconds
        meter = self._pace.meter()
        while not content.at_eof():
            # Most bodies come together with their heads.
            piece = content.read_nowait() or await self._next(content, meter, until)
            if not piece:
                break
            meter.moved(len(piece))
            if inflate is None:
                add(piece)
            else:
                await inflate.feed(piece, add)
            if until is not None and time.monotonic() >= until:
                raise TooSlowError
        if inflate is not None:
            inflate.close()

    async def _next(self, content: StreamReader, meter: Meter, until: float | None) -> bytes:
        """The next bytes of a body, once they come; none at its end."""
        while True:
            left = meter.left()
            if until is not None:
                left = min(left, until - time.monotonic())
            try:
                async with asyncio.timeout(left):
                    return await content.readany()
            except TimeoutError:
                meter.moved(0)
            if until is not None and time.monotonic() >= until:
                raise TooSlowError

    def _too_long(self) -> RefusalError:
        return RefusalError(413, f"The request has more than {self.most} bytes.")


class _Blocks:
    """A body that grows, in blocks: buffers that grow next to each other would leave gaps.

    Args:
        most: The most bytes that it can have.
        too_long: Makes the error if it has more.
        share: Holds them.

    Attributes:
        size: The number of its bytes.
    """

    def __init__(self, most: int, too_long: Callable[[], RefusalError], share: Share) -> None:
        self.size = 0
        self._most = most
        self._too_long = too_long
        self._share = share
        self._full: list[bytes] = []
        self._last = bytearray()

    def add(self, piece: bytes) -> None:
        """Adds the next bytes.

        Raises:
            RefusalError: They are too many.
            OverloadError: There is no room for them.
        """
        if self.size + len(piece) > self._most:
            raise self._too_long()
        self._share.take(len(piece))
        self.size += len(piece)
        self._last += piece
        if len(self._last) >= _BLOCK:
            self._full.append(bytes(self._last))
            self._last = bytearray()

    def joined(self) -> bytes:
        """All bytes. Nothing can be added any more."""
        return b"".join([*self._full, bytes(self._last)])  # of bytes alone, without Python's lock


class _Inflation:
    """Inflates a body, with no more output at once than fits into the bounds.

    Args:
        is_gzip: Whether it is gzip, which can have several members, and not deflate.
    """

    def __init__(self, *, is_gzip: bool) -> None:
        self._is_gzip = is_gzip
        self._members = 0
        self._stream: zlib._Decompress | None = None

    async def feed(self, data: bytes, add: Callable[[bytes], None]) -> None:
        """Inflates the next bytes of the body.

        Args:
            data: The bytes.
            add: Takes what they become.

        Raises:
            zlib.error: They cannot be inflated.
        """
        most = _INLINE
        while True:
            stream = self._stream = self._stream or self._next(data)
            if most == _INLINE:
                out = stream.decompress(data, most)
            else:
                out = await asyncio.to_thread(stream.decompress, data, most)
            add(out)
            data = stream.unconsumed_tail
            if stream.eof:
                data, self._stream = stream.unused_data, None
            if not data and (self._stream is None or len(out) < most):
                return
            most = _IN_THREAD

    def close(self) -> None:
        """The body is complete.

        Raises:
            zlib.error: It is not.
        """
        if self._stream is not None or not self._members:
            raise zlib.error("cut")

    def _next(self, data: bytes) -> zlib._Decompress:
        """What inflates the next member."""
        self._members += 1
        if self._members > (_MAX_MEMBERS if self._is_gzip else 1):
            raise zlib.error("too many members")
        if self._is_gzip:
            return zlib.decompressobj(_GZIP)
        # Some clients leave out the header, which names the method in four bits.
        return zlib.decompressobj(_ZLIB if data[0] & 15 == 8 else _RAW)


def _inflation(encoding: str) -> _Inflation | None:
    """What inflates a body with a content encoding; None if it has none.

    Raises:
        RefusalError: The encoding is not supported.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return None
    if name not in ("gzip", "x-gzip", "deflate"):
        raise RefusalError(
            400,
            "The request has a content encoding that is not supported: expected gzip, deflate or"
            " none.",
        )
    return _Inflation(is_gzip=name != "deflate")
