"""A fast upstream: OpenAI's API on one port, and the same answers as gRPC messages on another.

It computes nothing: the model's name specifies each answer (`Plan`). The gRPC side is for
the pass-through; it sends one message for each chunk.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Final, cast

from relay.http2 import (
    END_HEADERS,
    END_STREAM,
    HEADERS,
    RESPONSE_HEADERS,
    TRAILERS,
    Http2Protocol,
    frame,
    message,
)
from relay.plan import Plan, answer_message, documents_of
from relay.processes import run_loop

_BACKLOG: Final = 4096
_HEAD_END: Final = b"\r\n\r\n"
_OK: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
_STREAM_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_MODELS: Final = _OK % (27, b'{"object":"list","data":[]}')


class _Playback:
    """Writes the parts of an answer, each at its time."""

    def __init__(self, parts: Sequence[bytes], gap: float, write: Callable[[bytes, bool], None]):
        self._parts = iter(parts)
        self._left = len(parts)
        self._gap = gap
        self._write = write
        self._loop = asyncio.get_running_loop()
        # Streams that begin together shall not stay in step.
        self._due = self._loop.time() - gap * random.random()
        self._handle: asyncio.Handle | None = None
        self._next()

    def stop(self) -> None:
        """Writes no more."""
        if self._handle:
            self._handle.cancel()

    def _next(self) -> None:
        self._left -= 1
        self._write(next(self._parts), not self._left)
        if not self._left:
            return
        if self._gap:
            self._due += self._gap
            self._handle = self._loop.call_at(self._due, self._next)
        else:
            self._handle = self._loop.call_soon(self._next)


class _HttpProtocol(asyncio.Protocol):
    """A connection that speaks HTTP/1.1, one request after the other."""

    def __init__(self) -> None:
        self._data = b""
        self._playback: _Playback | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        if self._playback:
            self._playback.stop()

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, rest = self._data.partition(_HEAD_END)
        if not found:
            return
        length = _content_length(head)
        if len(rest) < length:
            return
        body, self._data = rest[:length], rest[length:]
        if not head.startswith(b"POST "):
            self._transport.write(_MODELS)
            return
        plan = Plan.of(body)
        self._playback = _Playback(_http_parts(plan), plan.gap_ms / 1000, self._write)

    def _write(self, part: bytes, is_last: bool) -> None:  # noqa: ARG002
        self._transport.write(part)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


@cache
def _http_parts(plan: Plan) -> list[bytes]:
    if not plan.chunks:
        [[document]] = documents_of(plan)
        return [_OK % (len(document), document)]
    parts = []
    for group in documents_of(plan):
        events = b"".join(b"data: %b\n\n" % document for document in group)
        parts.append(b"%x\r\n%b\r\n" % (len(events), events))
    parts[0] = _STREAM_HEAD + parts[0]
    parts[-1] += b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
    return parts


class _GrpcProtocol(Http2Protocol):
    """A connection that speaks gRPC."""

    def __init__(self) -> None:
        super().__init__(is_client=False)
        self._requests: dict[int, bytes] = {}
        self._playbacks: dict[int, _Playback] = {}

    def took_data(self, stream: int, payload: bytes) -> None:
        self._requests[stream] = self._requests.get(stream, b"") + payload

    def took_end(self, stream: int, headers: bytes) -> None:  # noqa: ARG002
        plan = Plan.of(self._requests.pop(stream))
        head = frame(HEADERS, END_HEADERS, stream, RESPONSE_HEADERS)
        self.send(stream, head, b"", b"")
        write = partial(self._write, stream)
        playback = _Playback(_grpc_parts(plan), plan.gap_ms / 1000, write)
        if len(_grpc_parts(plan)) > 1:
            self._playbacks[stream] = playback

    def took_reset(self, stream: int) -> None:
        self._requests.pop(stream, None)
        if playback := self._playbacks.pop(stream, None):
            playback.stop()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        for playback in self._playbacks.values():
            playback.stop()

    def _write(self, stream: int, part: bytes, is_last: bool) -> None:
        last = b""
        if is_last:
            last = frame(HEADERS, END_HEADERS | END_STREAM, stream, TRAILERS)
            self._playbacks.pop(stream, None)
        self.send(stream, b"", part, last)


@cache
def _grpc_parts(plan: Plan) -> list[bytes]:
    is_chunk = bool(plan.chunks)
    return [
        b"".join(message(answer_message(document, is_chunk=is_chunk)) for document in group)
        for group in documents_of(plan)
    ]


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    http = await loop.create_server(_HttpProtocol, "127.0.0.1", 0, backlog=_BACKLOG)
    grpc = await loop.create_server(_GrpcProtocol, "127.0.0.1", 0, backlog=_BACKLOG)
    ports = [server.sockets[0].getsockname()[1] for server in (http, grpc)]
    print("listening on", *(f"127.0.0.1:{port}" for port in ports), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    run_loop(_serve())
