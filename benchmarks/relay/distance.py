"""What HTTP/2's windows allow over a long distance: large messages with a delay in between.

A relay and the client of chatpb talk through a proxy that holds back each byte for half of a round
trip. It has endless bandwidth, so that only windows bound the rate: a window of W bytes gives at
most W bytes for each round trip.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from time import perf_counter
from typing import Final

from chatpb.client import AsyncClient
from common.documents import SENTENCE
from common.tables import Table, number
from relay.plan import Plan
from relay.subject import Subject

_ROUND_TRIP_S: Final = 0.1
_READ: Final = 2**18
_MB: Final = 1e6
_ANSWER: Final = 10_000_000
_REQUEST: Final = 4_000_000


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """Writes what is read, each part after a delay."""
    loop = asyncio.get_running_loop()
    while data := await reader.read(_READ):
        loop.call_later(delay, writer.write, data)
    loop.call_later(delay, writer.close)


@contextlib.asynccontextmanager
async def _delayed(port: int) -> AsyncIterator[int]:
    """A port that leads to another one, half of a round trip away."""
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", port)
        for source, sink in ((reader, forth), (back, writer)):
            tasks.add(asyncio.ensure_future(_copy(source, sink, _ROUND_TRIP_S / 2)))

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
        for task in tasks:
            task.cancel()


async def _rates(port: int) -> dict[str, float]:
    """Bytes for each second of a large answer and of a large request, over gRPC."""
    small = {"model": Plan().model, "messages": [{"role": "user", "content": SENTENCE}]}
    large = {**small, "messages": [{"role": "user", "content": "x" * _REQUEST}]}
    asking = {**small, "model": Plan(size=_ANSWER).model}
    async with _delayed(port) as far, AsyncClient(f"127.0.0.1:{far}") as client:
        await client.create(small, timeout=60)
        found = {}
        for name, request, size in (("answer", asking, _ANSWER), ("request", large, _REQUEST)):
            await client.create(request, timeout=300)  # so that windows have grown, if they do
            start = perf_counter()
            await client.create(request, timeout=300)
            found[name] = size / (perf_counter() - start - _ROUND_TRIP_S)
        return found


def rates(relay: Subject) -> dict[str, float]:
    """Bytes for each second of a large answer and of a large request, over gRPC."""
    return asyncio.run(_rates(relay.port))


def table(found: dict[str, float]) -> Table:
    """The table."""
    shown = Table(
        f"One message over gRPC, round trip of {_ROUND_TRIP_S * 1000:.0f} ms",
        ["", "MB/s", "KiB for each\nround trip", ""],
    )
    sizes = {"answer": _ANSWER, "request": _REQUEST}
    for name, rate in found.items():
        row = [number(rate / _MB), f"{rate * _ROUND_TRIP_S / 1024:,.0f}"]
        shown.rows.append([f"{name} of {sizes[name] / _MB:.0f} MB", *row, ""])
    return shown
