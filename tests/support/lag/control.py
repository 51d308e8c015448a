"""Starts relays that measure themselves, and asks them."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grpc import aio

from support.forked_process import kept_environ
from support.interruptible import interruptible
from support.limits import TIMEOUT
from support.relay_process import end


@dataclass(frozen=True, slots=True)
class Held:
    """What held the loop longest.

    Attributes:
        callback: The most CPU seconds of one callback.
        name: What that was.
        late: By how many seconds a callback came late.
        during: What the other threads did then.
    """

    callback: float
    name: str
    late: float
    during: str

    def __str__(self) -> str:
        return (
            f"a callback took {self.callback * 1000:.1f} ms ({self.name}); one came"
            f" {self.late * 1000:.1f} ms late ({self.during})"
        )


class ProbedRelay:
    """A relay process.

    Attributes:
        process: The process.
        target: Where its gRPC service is.
        http: The base URL of its HTTP API.
        channel: A channel to the service.
    """

    def __init__(self, process: Process, target: str, http: str, channel: aio.Channel) -> None:
        self.process = process
        self.target = target
        self.http = http
        self.channel = channel

    async def held(self) -> Held:
        """What held the loop longest since this was asked before."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"\n")
        async with asyncio.timeout(TIMEOUT):
            line = await self.process.stdout.readline()
        assert line.startswith(b"lag "), line
        return Held(*json.loads(line.removeprefix(b"lag ")))


@asynccontextmanager
async def relay_process(*arguments: object, **environ: str) -> AsyncIterator[ProbedRelay]:
    """A relay on free ports, over gRPC and HTTP."""
    command = (
        *(sys.executable, "-m", "support.lag.probe", "--listen", "127.0.0.1:0"),
        *("--http", "127.0.0.1:0", "--log-level", "error", *map(str, arguments)),
    )
    path = str(Path(__file__).parents[2])
    with interruptible():
        process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, env={**kept_environ(), **environ, "PYTHONPATH": path}
        )
    options: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
    ]
    try:
        assert process.stdout is not None
        async with asyncio.timeout(TIMEOUT):
            target = (await process.stdout.readline()).decode().split()[-1]
            http = (await process.stdout.readline()).decode().split()[-1]
        async with aio.insecure_channel(target, options) as channel:
            yield ProbedRelay(process, target, http, channel)
    finally:
        await end(process)
