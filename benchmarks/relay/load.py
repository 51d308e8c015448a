"""The load generator: calls a server in a closed loop and reports times, counts and its own cost.

`run.py` starts it and gives it orders, one JSON object in a line; it answers each with one line.
The clients are thin, so that on a small machine the server is what is measured: they speak just
enough HTTP/1.1 and HTTP/2, on one thread, and count chunks instead of reading them.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import Any, Final, cast

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
from relay.processes import Watched, run_loop

_EVENT: Final = b"data: {"
_END: Final = b"\r\n0\r\n\r\n"
_TAIL: Final = len(_END) - 1  # too short to hold an event's beginning, which is as long
_TURN_S: Final = 0.1
_TURNS: Final = 50
_PATIENCE_S: Final = 8.0


@dataclass(frozen=True)
class Order:
    """What to measure.

    Attributes:
        grpc: Whether to speak gRPC rather than HTTP.
        port: Where the server listens, on 127.0.0.1.
        pid: The process whose use is watched.
        plan: The numbers of the `Plan`.
        concurrency: How many calls are open at any time.
        warm_s: How long to call before it counts, and longer until that many have had an answer.
        seconds: How long to count, and longer until that many short calls have ended. 0: only look
            at memory.
        key: The bearer token, over HTTP.
        compact: Whether to ask for compact chunks, over gRPC.
    """

    grpc: bool
    port: int
    pid: int
    plan: tuple[int, int, int]
    concurrency: int
    warm_s: float
    seconds: float
    key: str = "none"
    compact: bool = False


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
    """

    calls: int = 0
    chunks: int = 0
    messages: int = 0
    begun: int = 0
    durations: list[float] = field(default_factory=list)
    firsts: list[float] = field(default_factory=list)

    def reset(self) -> None:
        """Forgets what has been."""
        self.calls = self.chunks = self.messages = self.begun = 0
        self.durations.clear()
        self.firsts.clear()


class _HttpCaller(asyncio.Protocol):
    """Calls over HTTP/1.1, one after the other on one connection."""

    def __init__(self, plan: Plan, tally: Tally, fail: Callable[[str], None], key: str) -> None:
        body = plan.request()
        self._request = (
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %b\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        ) % (key.encode(), len(body), body)
        self._is_stream = bool(plan.chunks)
        self._tally = tally
        self._fail = fail
        self._head = self._tail = b""
        self._length: int | None = None
        self._begun = False
        self._start = 0.0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._call()

    def close(self) -> None:
        """Gives up what runs."""
        self._fail = lambda _: None
        self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(f"the connection was lost: {error}")

    def data_received(self, data: bytes) -> None:
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
    messages: int = 0
    chunks: int = 0


class _GrpcCaller(Http2Protocol):
    """Calls over gRPC, side by side on one connection."""

    def __init__(self, plan: Plan, tally: Tally, fail: Callable[[str], None], order: Order) -> None:
        super().__init__(is_client=True)
        self._headers = request_headers(f"127.0.0.1:{order.port}", plan.rpc)
        self._request = message(plan.request_message(compact=order.compact))
        self._expected = plan.chunks
        self._tally = tally
        self._fail = fail
        self._concurrency = order.concurrency
        self._next = 1
        self._streams: dict[int, _Stream] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        for _ in range(self._concurrency):
            self._call()

    def close(self) -> None:
        """Gives up what runs."""
        self._fail = lambda _: None
        self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(f"the connection was lost: {error}")

    def took_data(self, stream: int, payload: bytes) -> None:
        state = self._streams[stream]
        data = state.data + payload if state.data else payload
        start, size = 0, len(data)
        while size - start >= 5:
            end = start + 5 + int.from_bytes(data[start + 1 : start + 5], "big")
            if end > size:
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


async def measure(order: Order) -> dict[str, Any]:
    """Calls, for as long as ordered."""
    loop = asyncio.get_running_loop()
    failure: asyncio.Future[str] = loop.create_future()

    def fail(reason: str) -> None:
        if not failure.done():
            failure.set_result(reason)

    async def wait(seconds: float) -> None:
        await asyncio.wait({failure}, timeout=seconds)
        if failure.done():
            raise RuntimeError(failure.result())

    async def wait_until(done: Callable[[], bool]) -> None:
        deadline = perf_counter() + _PATIENCE_S
        while not done() and perf_counter() < deadline:
            await wait(_TURN_S)

    plan, tally, watched = Plan(*order.plan), Tally(), Watched(order.pid)
    before = watched.usage()
    callers: list[_GrpcCaller | _HttpCaller] = []
    try:
        for _ in range(1 if order.grpc else order.concurrency):
            caller = (
                _GrpcCaller(plan, tally, fail, order)
                if order.grpc
                else _HttpCaller(plan, tally, fail, order.key)
            )
            await loop.create_connection(lambda made=caller: made, "127.0.0.1", order.port)  # type: ignore[misc]
            callers.append(caller)
        await wait(order.warm_s)
        # Those that answer late count too: else a slow server would look fast.
        await wait_until(lambda: tally.begun >= order.concurrency)
        if not order.seconds:
            grown = watched.usage().rss - before.rss
            return {"opened": tally.begun, "bytes_per_stream": grown / max(tally.begun, 1)}
        tally.reset()
        before, start = watched.usage(), perf_counter()
        await wait(order.seconds)
        if plan.is_short:
            await wait_until(lambda: tally.calls >= order.concurrency)
        after, seconds = watched.usage(), perf_counter() - start
        return {
            "seconds": seconds,
            "calls": tally.calls,
            "chunks": tally.chunks,
            "messages": tally.messages,
            "cpu_s": after.cpu_s - before.cpu_s,
            "main_s": after.main_s - before.main_s,
            "duration": _percentiles(tally.durations),
            "first": _percentiles(tally.firsts),
        }
    finally:
        for caller in callers:
            caller.close()
        await _quiet(watched)


async def _quiet(watched: Watched) -> None:
    """Waits until a server that was left in the middle of its work has calmed down."""
    for _ in range(_TURNS):
        before = watched.usage().cpu_s
        await asyncio.sleep(_TURN_S)
        if watched.usage().cpu_s - before <= _TURN_S / 5:
            return


def _percentiles(times: list[float]) -> dict[str, float] | None:
    if not times:
        return None
    times = sorted(times)
    return {f"p{q}": times[min(len(times) * q // 100, len(times) - 1)] for q in (50, 99)}


async def _take_orders() -> None:
    loop = asyncio.get_running_loop()
    gc.disable()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        try:
            answer = await measure(Order(**json.loads(line)))
        except (RuntimeError, OSError) as error:
            answer = {"error": str(error)}
        gc.collect()
        print(json.dumps(answer), flush=True)


class Load:
    """A load generator in a process of its own, seen from `run.py`."""

    def __init__(self, process: Any) -> None:
        self._process = process

    def measure(self, order: Order) -> dict[str, Any]:
        """Has the order carried out."""
        self._process.stdin.write(json.dumps(asdict(order)).encode() + b"\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline() or '{"error": "died"}')
        return answer


if __name__ == "__main__":
    run_loop(_take_orders())
