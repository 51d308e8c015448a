"""The relay as a process of its own."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from grpc import aio

from support.build import COMPLETION, chunk
from support.calls import OWN_CONNECTION
from support.forked_process import forked, kept_environ
from support.http_upstream import event
from support.interruptible import interruptible
from support.limits import within

#: What a relay writes is taken while a test does not read it: it would wait for room in the pipe.
_UNREAD: Final = 16 * 1024 * 1024


async def start(*arguments: object, environ: Mapping[str, str] | None = None) -> Process:
    """Starts a relay; of the environment's settings of relays it has only `environ`."""
    if sys.platform != "linux":
        return await start_command(*arguments, environ=environ)
    env = {**kept_environ(), **(environ or {})}
    return await forked("relay", [*map(str, arguments)], env, limit=_UNREAD)


async def start_command(
    *arguments: object, environ: Mapping[str, str] | None = None, stdout: int = PIPE
) -> Process:
    """The same with the script, as users start it, which takes a second or so."""
    script = Path(sys.executable).with_name("chatpb-server")
    env = {**kept_environ(), **(environ or {})}
    with interruptible():
        return await asyncio.create_subprocess_exec(
            script, *map(str, arguments), stdout=stdout, stderr=PIPE, env=env, limit=_UNREAD
        )


async def finish(process: Process) -> tuple[int | None, str, str]:
    """Waits for a process; returns its exit code, standard output and standard error."""
    output, errors = await within(process.communicate())
    return process.returncode, output.decode(), errors.decode()


async def end(process: Process) -> None:
    """Kills a process, if it is still running."""
    with suppress(ProcessLookupError):
        process.kill()
    await process.communicate()


async def listening(process: Process) -> str:
    """The address where a process listens, from the first line of its output."""
    assert process.stdout is not None
    data: bytes = await within(process.stdout.readline())
    line = data.decode()
    assert line.startswith("listening on "), (line, await process.communicate())
    return line.removeprefix("listening on ").rstrip()


@asynccontextmanager
async def running(
    *arguments: object,
    environ: Mapping[str, str] | None = None,
    level: str = "error",
    start: Callable[..., Awaitable[Process]] = start,
) -> AsyncIterator[tuple[Process, aio.Channel]]:
    """A relay process on a free port, ready, and a channel to it."""
    free = ("--listen", "127.0.0.1:0", "--log-level", level)
    process = await start(*free, *arguments, environ=environ)
    try:
        async with aio.insecure_channel(await listening(process), OWN_CONNECTION) as channel:
            yield process, channel
    finally:
        await end(process)


def _events(*texts: str, done: bool = False) -> bytes:
    events = b""
    for text in texts:
        events += event(chunk(text))
    return events + (event(b"[DONE]") if done else b"")


class Upstream:
    """An HTTP server that keeps its requests, and answers with COMPLETION or a stream.

    Args:
        held: Whether streams pause after their first chunk.

    Attributes:
        url: Its base URL.
        asked: The headers of each request, and its first line as "request".
        go_on: Set it to let paused streams continue.
        left: How many streams the relay abandoned.
    """

    def __init__(self, *, held: bool = False) -> None:
        self.url = ""
        self.asked: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self.go_on = asyncio.Event()
        self.left = 0
        self._serving: set[asyncio.Task[None] | None] = set()
        if not held:
            self.go_on.set()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Upstream]:
        """Serves, and yields itself."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        async with server:
            yield self
            rest = [task for task in self._serving if task]
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving.add(task := asyncio.current_task())
        try:
            await self._answer(reader, writer)
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
        finally:
            writer.transport.abort()
            self._serving.discard(task)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            request, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            fields = [line.partition(": ") for line in lines]
            head = {"request": request} | {name.lower(): value for name, _, value in fields}
            body = json.loads(await reader.readexactly(int(head["content-length"])))
            self.asked.put_nowait(head)
            writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n")
            if body.get("stream"):
                writer.write(b"content-type: text/event-stream\r\n\r\n" + _events("one"))
                await self._hold(reader)
                writer.write(_events("two", done=True))
            else:
                writer.write(b"content-type: application/json\r\n\r\n")
                writer.write(json.dumps(COMPLETION).encode())
            await writer.drain()

    async def _hold(self, reader: asyncio.StreamReader) -> None:
        """Waits until paused streams may continue.

        Raises:
            ConnectionError: The relay has closed the connection.
        """
        going = asyncio.ensure_future(self.go_on.wait())
        leaving = asyncio.ensure_future(reader.read())
        await asyncio.wait((going, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not going.done():
            self.left += 1
            going.cancel()
            raise ConnectionError
        leaving.cancel()
