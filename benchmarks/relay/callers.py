"""The clients of the load generator, which are thin: they count, and read nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final, cast

from relay.http2 import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    Http2Protocol,
    frame,
    message,
    request_headers,
)
from relay.plan import Plan

_EVENT: Final = b"data: {"
_END: Final = b"\r\n0\r\n\r\n"
_TAIL: Final = len(_END) - 1  # too short to hold an event's beginning, which is as long


@dataclass
class Tally:
    """What came of the calls.

    Attributes:
        calls: How many ended.
        chunks: How many chunks came.
        messages: In how many gRPC messages.
        begun: How many calls have had their answer, or its first chunk.
        durations: How long calls took, in seconds.
        firsts: How long streams took to their first chunk.
        gaps: How long streams took from one arrival of chunks to the next. None: not asked for.
    """

    calls: int = 0
    chunks: int = 0
    messages: int = 0
    begun: int = 0
    durations: list[float] = field(default_factory=list)
    firsts: list[float] = field(default_factory=list)
    gaps: list[float] | None = None

    def reset(self) -> None:
        """Forgets what has been."""
        self.calls = self.chunks = self.messages = self.begun = 0
        self.durations.clear()
        self.firsts.clear()
        if self.gaps:
            self.gaps.clear()

    def arrived(self, last: float, now: float) -> float:
        """Counts an arrival of chunks of a stream.

        Args:
            last: When chunks of the stream arrived before; 0 if none did.
            now: The time.

        Returns:
            The time.
        """
        if last and self.gaps is not None:
            self.gaps.append(now - last)
        return now


@dataclass(frozen=True)
class Call:
    """What a call sends, whoever makes it.

    Attributes:
        plan: How the answer comes.
        path: The path of a request over HTTP.
        body: Its body, as JSON.
        key: Its bearer token.
        authority: The server, for gRPC.
        message: The request over gRPC.
    """

    plan: Plan
    path: str
    body: bytes
    key: str
    authority: str
    message: bytes


class HttpCaller(asyncio.Protocol):
    """Calls over HTTP/1.1, one after the other on one connection."""

    def __init__(self, call: Call, tally: Tally, fail: Callable[[str], None]) -> None:
        self._request = (
            b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %b\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        ) % (call.path.encode(), call.key.encode(), len(call.body), call.body)
        self._is_stream = bool(call.plan.chunks)
        self._tally = tally
        self._fail = fail
        self._head = self._tail = b""
        self._length: int | None = None
        self._begun = False
        self._start = self._last = 0.0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Makes the first call."""
        self._transport = cast("asyncio.Transport", transport)
        self._call()

    def close(self) -> None:
        """Gives up what runs."""
        self._fail = lambda _: None
        self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """Fails."""
        self._fail(f"the connection was lost: {error}")

    def data_received(self, data: bytes) -> None:
        """Counts; makes the next call once this one has ended."""
        if self._length is None:
            self._head += data
            head, found, data = self._head.partition(b"\r\n\r\n")
            if not found:
                return
            if not head.startswith(b"HTTP/1.1 200"):
                self._fail(self._head[:1000].decode("utf-8", "replace"))
                self._transport.abort()
                return
            self._length = _length(head)
        if self._is_stream:
            data = self._tail + data
            self._tail = data[-_TAIL:]
            if count := data.count(_EVENT):
                self._tally.chunks += count
                self._last = self._tally.arrived(self._last, perf_counter())
                if not self._begun:
                    self._begun = True
                    self._tally.begun += 1
                    self._tally.firsts.append(perf_counter() - self._start)
            if not data.endswith(_END):
                return
        else:
            self._length -= len(data)
            if self._length > 0:
                return
            self._tally.begun += 1
        self._tally.calls += 1
        self._tally.durations.append(perf_counter() - self._start)
        self._call()

    def _call(self) -> None:
        self._head = self._tail = b""
        self._length = None
        self._begun = False
        self._last = 0.0
        self._start = perf_counter()
        self._transport.write(self._request)


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line[15:])
    return 0


@dataclass(slots=True)
class _Stream:
    start: float
    data: bytes = b""
    rest: list[bytes] = field(default_factory=list)  # of a message that is not all there
    missing: int = 0  # bytes until it is
    messages: int = 0
    chunks: int = 0
    last: float = 0.0


class GrpcCaller(Http2Protocol):
    """Calls over gRPC, side by side on one connection."""

    def __init__(
        self, call: Call, tally: Tally, fail: Callable[[str], None], concurrency: int
    ) -> None:
        super().__init__(is_client=True)
        self._headers = request_headers(call.authority, call.plan.rpc)
        self._request = message(call.message)
        self._expected = call.plan.chunks
        self._tally = tally
        self._fail = fail
        self._concurrency = concurrency
        self._next = 1
        self._streams: dict[int, _Stream] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Makes the first calls."""
        super().connection_made(transport)
        for _ in range(self._concurrency):
            self._call()

    def close(self) -> None:
        """Gives up what runs."""
        self._fail = lambda _: None
        self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """Fails."""
        self._fail(f"the connection was lost: {error}")

    def took_data(self, stream: int, payload: bytes) -> None:
        """Counts."""
        state = self._streams[stream]
        if state.missing > len(payload):  # joined once, or a large message would take long
            state.rest.append(payload)
            state.missing -= len(payload)
            return
        data = b"".join((state.data, *state.rest, payload)) if state.data else payload
        state.rest.clear()
        state.missing = 0
        start, size = 0, len(data)
        if self._expected:
            state.last = self._tally.arrived(state.last, perf_counter())
        while size - start >= 5:
            end = start + 5 + int.from_bytes(data[start + 1 : start + 5], "big")
            if end > size:
                state.missing = end - size
                break
            if self._expected:
                count = _fields(data, start + 5, end)
                state.chunks += count
                self._tally.chunks += count
                if not state.messages:
                    self._tally.firsts.append(perf_counter() - state.start)
            self._tally.begun += not state.messages
            state.messages += 1
            self._tally.messages += 1
            start = end
        state.data = data[start:]

    def took_end(self, stream: int, headers: bytes) -> None:
        """Makes the next call."""
        state = self._streams.pop(stream)
        # The trailers are not decoded: a call that fails gives less than was asked for.
        if state.chunks != self._expected or not state.messages:
            got = f"{state.messages} messages, {state.chunks} chunks"
            self._fail(f"expected {self._expected or 1}, got {got}; trailers {headers!r}")
            return
        self._tally.calls += 1
        self._tally.durations.append(perf_counter() - state.start)
        self._call()

    def took_reset(self, stream: int) -> None:
        """Fails."""
        if self._streams.pop(stream, None):
            self._fail("the server reset the stream")

    def _call(self) -> None:
        stream, self._next = self._next, self._next + 2
        self._streams[stream] = _Stream(perf_counter())
        head = frame(HEADERS, END_HEADERS, stream, self._headers)
        self.send(stream, head, self._request, frame(DATA, END_STREAM, stream))


def _fields(data: bytes, start: int, end: int) -> int:
    """The number of length-delimited fields in a message: the chunks of a response."""
    count = 0
    while start < end:
        start += 1
        size = shift = 0
        while True:
            byte = data[start]
            start += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        start += size
        count += 1
    return count
