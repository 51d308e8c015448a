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
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any, Final

from relay.callers import Call, GrpcCaller, HttpCaller, Tally
from relay.plan import Plan
from relay.processes import Watched, run_loop

PATH: Final = "/v1/chat/completions"
_TURN_S: Final = 0.1
_TURNS: Final = 50


@dataclass(frozen=True)
class Order:
    """What to measure.

    Attributes:
        grpc: Whether to speak gRPC rather than HTTP.
        port: Where the server listens, on 127.0.0.1.
        pids: The process whose use is watched, and those behind it.
        upstream: The process that answers in the end.
        plan: The numbers of the `Plan`.
        concurrency: How many calls are open at any time.
        warm_s: How long to call before it counts, and longer until that many have had an answer.
        seconds: How long to count. 0: only look at memory.
        least: How many calls must have ended before it stops counting.
        connections: How many connections the calls share, over gRPC.
        gaps: Whether to measure the time between chunks, when all streams have had two.
        patience_s: How much longer than that to wait for calls, at most.
        key: The bearer token, over HTTP.
        compact: Whether to ask for compact chunks, over gRPC.
        path: The path of requests over HTTP.
        body: Their body. None: that of the plan.
    """

    grpc: bool
    port: int
    pids: tuple[int, ...]
    upstream: int
    plan: tuple[int, int, int, int]
    concurrency: int
    warm_s: float
    seconds: float
    least: int = 0
    connections: int = 1
    gaps: bool = False
    patience_s: float = 8.0
    key: str = "none"
    compact: bool = False
    path: str = PATH
    body: str | None = None

    def call(self) -> Call:
        """What each call sends."""
        plan = Plan(*self.plan)
        return Call(
            plan,
            self.path,
            plan.request() if self.body is None else self.body.encode(),
            self.key,
            f"127.0.0.1:{self.port}",
            plan.request_message(compact=self.compact),
        )


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
        deadline = perf_counter() + order.patience_s
        while not done() and perf_counter() < deadline:
            await wait(_TURN_S)

    call, tally = order.call(), Tally(gaps=[] if order.gaps else None)
    first, *behind = (Watched(pid) for pid in order.pids)
    upstream = Watched(order.upstream)
    before = first.usage()
    first.forget_peak()
    callers: list[GrpcCaller | HttpCaller] = []
    try:
        for turn in range(order.connections if order.grpc else order.concurrency):
            share = len(range(turn, order.concurrency, order.connections))
            caller = (
                GrpcCaller(call, tally, fail, share)
                if order.grpc
                else HttpCaller(call, tally, fail)
            )
            await loop.create_connection(lambda made=caller: made, "127.0.0.1", order.port)  # type: ignore[misc]
            callers.append(caller)
        await wait(order.warm_s)
        # Those that answer late count too: else a slow server would look fast.
        await wait_until(lambda: tally.begun >= order.concurrency)
        if order.gaps:
            await wait(call.plan.gap_ms / 1000)
        memory = first.usage().rss - before.rss
        if not order.seconds:
            return {"opened": tally.begun, "bytes_per_stream": memory / max(tally.begun, 1)}
        opened = tally.begun
        tally.reset()
        used = [each.usage() for each in (first, upstream, *behind)]
        own, start = time.process_time(), perf_counter()
        await wait(order.seconds)
        await wait_until(lambda: tally.calls >= order.least)
        seconds, own = perf_counter() - start, time.process_time() - own
        spent = [
            each.usage().since(old)
            for each, old in zip((first, upstream, *behind), used, strict=True)
        ]
        return {
            "seconds": seconds,
            "opened_calls": opened,
            "calls": tally.calls,
            "chunks": tally.chunks,
            "messages": tally.messages,
            "cpu_s": spent[0].cpu_s,
            "main_s": spent[0].main_s,
            "all_cpu_s": spent[0].cpu_s + sum(each.cpu_s for each in spent[2:]),
            "busiest_s": max(spent[0].cpu_s_of),
            "upstream_s": spent[1].cpu_s,
            "load_s": own,
            "before": before.rss,
            "grown": memory,
            "peak": first.peak() - before.rss,
            "duration": _percentiles(tally.durations),
            "first": _percentiles(tally.firsts),
            "gap": _percentiles(tally.gaps or []),
        }
    finally:
        for caller in callers:
            caller.close()
        await _quiet(first)


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
