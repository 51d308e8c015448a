"""One connection of the HTTP edge: how long it may take, and how its answers are sent."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from aiohttp import HttpVersion11, web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.http_writer import StreamWriter
from aiohttp.web_protocol import RequestHandler

from chatpb_server.core.call import Call
from chatpb_server.core.explain import RefusalError, failure_of
from chatpb_server.core.gate import OverloadError
from chatpb_server.core.guard import CallerGoneError
from chatpb_server.core.pace import Pace, TooSlowError

#: The headers of every answer. Without them aiohttp names itself.
OURS: Final = {"server": "chatpb"}

#: How many bytes of an answer are written at once.
_PIECE: Final = 64 * 1024
#: How many bytes that the network has not taken yet wait in the kernel. Without this limit it
#: takes megabytes, and for a slow reader they do not move for minutes.
_UNSENT: Final = 128 * 1024
#: How many seconds what still comes after a refusal is dropped: in all, and without a byte of it.
_LINGER: Final = 10.0
_LINGER_SILENCE: Final = 2.0
#: How a chunked body without trailers ends.
_LAST_CHUNK: Final = b"\r\n0\r\n\r\n"

#: The most bytes of a line of a request's head, and of a header. They differ, because aiohttp's
#: error says only which limit was passed.
MAX_LINE: Final = 8190
MAX_HEADER: Final = 8191

#: What is wrong with a request that is not HTTP as we read it. aiohttp's own texts quote it.
_NOT_HTTP: Final = (
    (LineTooLong, "A line of the request's head is too long."),
    (HttpProcessingError, "The request is not valid HTTP."),
)

_logger = logging.getLogger("chatpb_server.edges.http")
# A request that is not HTTP is its caller's fault and gets an answer; an operator cannot act on it.
_logger.addFilter(
    lambda record: not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))
)


class StalledError(CallerGoneError):
    """The caller does not read what it gets, so its connection was closed."""


class Connection(RequestHandler):
    """One connection, whose own answers are errors as OpenAI has them.

    Args:
        server: What answers its requests.
        idle: The connections without a request, the longest idle first. It keeps itself in it.
        pace: How fast the caller has to read.
        head_seconds: How long the head of a request may take. None: no limit.
        on_lost: Is called when the connection is closed.
        **how: For aiohttp.
    """

    def __init__(
        self,
        server: web.Server,
        *,
        idle: dict[Connection, None],
        pace: Pace,
        head_seconds: float | None,
        on_lost: Callable[[], None],
        **how: Any,
    ) -> None:
        # What is left of a request that is refused is dropped here, and inflated by the edge.
        how |= {"lingering_time": 0, "auto_decompress": False, "access_log": None}
        super().__init__(server, logger=_logger, **how)
        self._idle = idle
        self._pace = pace
        self._head_seconds = head_seconds
        self._on_lost = on_lost
        self._head_timer: asyncio.TimerHandle | None = None
        self._resumed: asyncio.Future[None] | None = None
        self._dropping: asyncio.Future[None] | None = None
        self._dropped = 0
        self._most_dropped = 0
        self._tail = b""

    @property
    def is_idle(self) -> bool:
        """Whether it has no request."""
        return self in self._idle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        super().connection_made(transport)
        self._idle[self] = None
        with suppress(AttributeError, OSError):  # not every system has it
            transport.get_extra_info("socket").setsockopt(
                socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT
            )

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection is closed."""
        super().connection_lost(exc)
        self.begin()
        _finish(self._resumed)
        _finish(self._dropping)
        self._on_lost()

    def data_received(self, data: bytes) -> None:
        """More of a request has come."""
        if self._dropping is not None:
            self._dropped += len(data)
            if self._dropped > self._most_dropped:
                _finish(self._dropping)
            return
        self._tail = (self._tail + data[-len(_LAST_CHUNK) :])[-len(_LAST_CHUNK) :]
        super().data_received(data)
        if self._messages or not self.is_idle:  # a whole head is there
            return
        if self._head_timer is None and self._head_seconds is not None:
            self._head_timer = self._loop.call_later(self._head_seconds, self.force_close)

    def eof_received(self) -> None:
        """The caller sends nothing more."""
        super().eof_received()
        _finish(self._dropping)

    def resume_reading(self, resume_parser: bool = True) -> None:
        """There is room for more of a request: aiohttp says so after each read."""
        if self._reading_paused or self._buffer_paused:
            super().resume_reading(resume_parser)

    def resume_writing(self) -> None:
        """There is room for more of an answer."""
        super().resume_writing()
        _finish(self._resumed)

    def has_doubtful_end(self, request: web.BaseRequest) -> bool:
        """Whether a request, all of which is there, can end elsewhere for a proxy in front of us.

        A proxy sends requests of several callers over one connection. If trailers came, aiohttp's
        parser takes the last one for a header of the next request. HTTP/1.0 has no chunks.
        """
        if "transfer-encoding" not in request.headers:
            return False
        has_next = bool(self._messages)  # so that it is not known what came before it
        return has_next or self._tail != _LAST_CHUNK or request.version < HttpVersion11

    def begin(self) -> None:
        """The head of a request is there."""
        self._idle.pop(self, None)
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def end(self) -> None:
        """The answer is sent."""
        if self.transport is not None:
            self._idle[self] = None

    async def send(self, request: web.BaseRequest, response: web.Response) -> None:
        """Sends an answer, to its last byte.

        Raises:
            ConnectionError: The caller is gone.
            StalledError: It does not read.
        """
        await response.prepare(request)
        body = response.body
        if isinstance(body, bytes) and len(body) > _PIECE // 2 and request.method != "HEAD":
            response.body = None
            await self.write(request, body)
        await response.write_eof()
        await self.flush()

    async def write(self, request: web.BaseRequest, data: bytes) -> None:
        """Writes a part of an answer in pieces, and waits after each until there is room for more.

        Raises:
            ConnectionError: The caller is gone.
            StalledError: It does not read.
        """
        writer = request.writer
        assert isinstance(writer, StreamWriter)
        if len(data) <= _PIECE:
            await writer.write(data, drain=False)
            if self._paused:
                await self._until_resumed()
            return
        for begin in range(0, len(data), _PIECE):
            # In pieces, since what the socket does not take at once is copied.
            await writer.write(memoryview(data)[begin : begin + _PIECE], drain=False)
            await self._until_resumed()

    async def flush(self) -> None:
        """Waits until all that was written has left the process.

        Raises:
            ConnectionError: The caller is gone.
            StalledError: It does not read.
        """
        transport = self.transport
        if transport is not None and transport.get_write_buffer_size():
            transport.set_write_buffer_limits(high=1, low=0)
            await self._until_resumed()
            transport.set_write_buffer_limits()

    async def _until_resumed(self) -> None:
        if not self.writing_paused:
            return
        meter = self._pace.meter()
        while self.writing_paused:
            transport = self.transport
            if transport is None:
                raise ConnectionResetError
            before = transport.get_write_buffer_size()
            self._resumed = self._loop.create_future()
            await asyncio.wait((self._resumed,), timeout=meter.left())
            try:
                meter.moved(max(0, before - transport.get_write_buffer_size()))
            except TooSlowError:
                self.abort()
                raise StalledError("the caller does not read") from None

    async def end_stream(self, response: web.StreamResponse) -> None:
        """Marks the end of a stream, and waits until all of it has left the process.

        Raises:
            ConnectionError: The caller is gone.
            StalledError: It does not read.
        """
        await self.flush()  # then the mark needs no waiting, which aiohttp does without a limit
        await response.write_eof()
        await self.flush()

    def close_now(self) -> None:
        """Closes the connection, in the middle of an answer."""
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Closes the connection, even if not all that was written has left the process."""
        if self.transport is not None:
            self.transport.abort()

    def reset(self) -> None:
        """Closes the connection so that the caller sees that something is missing."""
        if self.transport is not None:
            with suppress(AttributeError, OSError):
                how = struct.pack("ii", 1, 0)  # with RST, and not with FIN
                self.transport.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, how
                )
            self.transport.abort()

    async def linger(self, most: int) -> None:
        """Drops what still comes for a short time, so that the caller gets the answer.

        If the connection were closed at once, the system would tell a caller that still sends
        that the connection is broken, and many clients would not read the answer then.

        Args:
            most: How many bytes are dropped at most.
        """
        transport = self.transport
        if transport is None:
            return
        self._dropping = self._loop.create_future()
        self._most_dropped = most
        if transport.can_write_eof():
            transport.write_eof()
        transport.resume_reading()
        until, dropped = self._loop.time() + _LINGER, -1
        while dropped < self._dropped and (left := until - self._loop.time()) > 0:
            dropped = self._dropped
            timeout = min(_LINGER_SILENCE, left)
            if (await asyncio.wait((self._dropping,), timeout=timeout))[0]:
                break

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
        if isinstance(exc, LineTooLong) and exc.args[1] == MAX_HEADER:
            status, text = 431, "A header of the request is too long: the limit is 8 KiB."
        error = RuntimeError() if text is None else RefusalError(status, text)
        response = own_answer(error, call.id)
        response.force_close()
        return response


def own_answer(error: Exception, call_id: str) -> web.Response:
    """The answer to what fails outside of calls."""
    failure = failure_of(error, call_id)
    headers = {**OURS, "x-request-id": call_id, "content-type": failure.http_content_type}
    headers |= failure.http_headers
    return web.Response(status=failure.http_status, body=failure.http_body, headers=headers)


def refusal_of_connection() -> bytes:
    """What a connection gets that is one too many, as it is sent."""
    answer = own_answer(OverloadError(), Call("/openai.v1/refused", {}).id)
    body = answer.body
    assert isinstance(body, bytes)
    headers = {**answer.headers, "content-length": str(len(body)), "connection": "close"}
    lines = [f"HTTP/1.1 {answer.status} {answer.reason}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _finish(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)
