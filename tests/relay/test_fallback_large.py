"""Bodies of any size pass through the relay in the same memory. `make soak` takes 1 GB each way."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from support.fallback import session
from support.limits import LONG_TIMEOUT, SOAK, within
from support.relay_process import end, listening, start

SIZE: Final = 2**30 if SOAK else 48 * 2**20
BLOCK: Final = bytes(2**16)
#: What the buffers of one call may take, and the allocator beside them.
MOST_GROWTH: Final = 8 * 2**20


class Peak:
    """The most memory that a process has held.

    Args:
        pid: The process.
    """

    def __init__(self, pid: int) -> None:
        self._folder = Path("/proc", str(pid))
        (self._folder / "clear_refs").write_text("5")  # from now on
        self.before = self.now()

    def now(self) -> int:
        """The bytes."""
        lines = (self._folder / "status").read_text().splitlines()
        [line] = [line for line in lines if line.startswith("VmHWM")]
        return int(line.split()[1]) * 1024


@asynccontextmanager
async def server() -> AsyncIterator[tuple[str, list[int]]]:
    """A server of files, and the sizes of those that it got."""
    taken: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if head.startswith(b"put"):
            left = int(head.partition(b"content-length: ")[2].partition(b"\r")[0])
            count = 0
            while count < left:
                count += len(await reader.read(2**20))
            taken.append(count)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % SIZE)
            for _ in range(SIZE // len(BLOCK)):
                writer.write(BLOCK)
                await writer.drain()
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1", taken


async def blocks() -> AsyncIterator[bytes]:
    """A body."""
    for _ in range(SIZE // len(BLOCK)):
        yield BLOCK


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
async def test_memory_does_not_grow_with_bodies() -> None:
    async with server() as (url, taken):
        flags = ("--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--fallback", url)
        process = await start(*flags)
        try:
            await listening(process)
            assert process.stdout is not None
            line = (await within(process.stdout.readline())).decode()
            here = line.removeprefix("http on ").rstrip()
            async with asyncio.timeout(LONG_TIMEOUT), session() as client:
                length = {"content-length": str(SIZE)}
                async with client.put(f"{here}/files", data=BLOCK[:1]) as answer:
                    assert 200 == answer.status
                peak = Peak(process.pid)
                async with client.put(f"{here}/files", data=blocks(), headers=length) as answer:
                    assert 200 == answer.status
                async with client.get(f"{here}/files/f/content") as answer:
                    got = 0
                    async for piece in answer.content.iter_any():
                        got += len(piece)
        finally:
            grown = peak.now() - peak.before
            await end(process)
    assert ([1, SIZE], SIZE) == (taken, got)
    assert grown < MOST_GROWTH
