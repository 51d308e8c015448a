"""Calls of a relay that runs in callgrind, one step after the other: the same happens each time.

The upstream and the caller are in this process. The upstream writes a chunk when the caller has had
the one before, so that it depends on no clock which chunks arrive together.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import BinaryIO, Final, cast

from common.documents import SENTENCE, completion, stream, text
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

#: How many calls, or chunks of one stream, are counted; as many are relayed before.
_TIMES: Final = {"relay:unary": 100, "relay:chunk": 200}
NAMES: Final = tuple(_TIMES)
_PATIENCE_S: Final = 300
_HEAD_END: Final = b"\r\n\r\n"
_JSON: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
_EVENTS: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)


async def relay(
    command: Sequence[str], library: str, env: Mapping[str, str], log: BinaryIO
) -> None:
    """Has a relay take calls, while callgrind counts.

    Args:
        command: What runs Python in callgrind.
        library: The path of the compiled requests.c.
        env: The environment of the relay.
        log: Where the relay writes its log.

    Raises:
        TimeoutError: The relay did not answer.
        EOFError: The relay has ended.
    """
    loop = asyncio.get_running_loop()
    upstream = _Upstream()
    server = await loop.create_server(lambda: upstream.connection(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    names = ["0 nothing", *(f"{times} {name}" for name, times in _TIMES.items())]
    flags = ["--listen", "127.0.0.1:0", "--upstream", f"http://127.0.0.1:{port}/v1"]
    process = await asyncio.create_subprocess_exec(
        *command,
        "instructions.relay_worker",
        library,
        *names,
        "--",
        *flags,
        env=env,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=log,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await _Run(process, upstream).all()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        server.close()


class _Run:
    """The calls of one relay."""

    def __init__(self, process: asyncio.subprocess.Process, upstream: _Upstream) -> None:
        self._process = process
        self._upstream = upstream
        self._caller: _Caller

    async def all(self) -> None:
        """Counts everything in turn."""
        address = await self._line()
        port = int(address.rpartition(":")[2])
        loop = asyncio.get_running_loop()
        _, self._caller = await loop.create_connection(lambda: _Caller(port), "127.0.0.1", port)
        await self._unary(_TIMES["relay:unary"])
        await self._counts(True)
        await self._counts(False)
        await self._counts(True)
        await self._unary(_TIMES["relay:unary"])
        await self._counts(False)
        await self._chunks(_TIMES["relay:chunk"])

    async def _unary(self, times: int) -> None:
        for _ in range(times):
            self._caller.call(Plan())
            await self._caller.ended.wait()

    async def _chunks(self, times: int) -> None:
        self._caller.call(Plan(2 * times + 3))
        await self._caller.messages.get()  # the upstream has sent the first by itself
        for is_counted in (False, True):
            if is_counted:
                await self._counts(True)
            for _ in range(times):
                self._upstream.write_chunk()
                await self._caller.messages.get()
            if is_counted:
                await self._counts(False)

    async def _counts(self, begins: bool) -> None:
        assert self._process.stdin
        self._process.stdin.write(b"\n")
        line = await self._line()
        assert line == ("begun" if begins else "ended"), line

    async def _line(self) -> str:
        assert self._process.stdout
        line = await self._process.stdout.readline()
        if not line:
            raise EOFError
        return line.decode().strip()


class _Upstream:
    """Answers with the same completion or stream."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._transport: asyncio.Transport

    def connection(self) -> asyncio.Protocol:
        """A new connection."""
        return _Connection(self._answer)

    def write_chunk(self) -> None:
        """Writes the next chunk of the stream."""
        event = b"data: %b\n\n" % self._chunks.pop(0)
        self._transport.write(b"%x\r\n%b\r\n" % (len(event), event))

    def _answer(self, transport: asyncio.Transport, head: bytes, body: bytes) -> None:
        self._transport = transport
        if not head.startswith(b"POST"):
            transport.write(_JSON % (27, b'{"object":"list","data":[]}'))
            return
        plan = Plan.of(body)
        if plan.chunks:
            self._chunks = list(stream(plan.chunks))
            transport.write(_EVENTS)
            self.write_chunk()
        else:
            answer = text(completion(SENTENCE))
            transport.write(_JSON % (len(answer), answer))


class _Connection(asyncio.Protocol):
    """One connection of the upstream."""

    def __init__(self, answer: Callable[[asyncio.Transport, bytes, bytes], None]) -> None:
        self._answer = answer
        self._data = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answers a request once it is whole."""
        self._data += data
        head, found, body = self._data.partition(_HEAD_END)
        _, _, length = head.lower().partition(b"content-length:")
        if found and len(body) >= int(length.split(b"\r\n")[0] or 0):
            self._data = b""
            self._answer(self._transport, head, body)


class _Caller(Http2Protocol):
    """Calls over gRPC.

    Attributes:
        messages: The messages of the last call.
        ended: Whether that call has ended.
    """

    def __init__(self, port: int) -> None:
        super().__init__(is_client=True)
        self.messages: asyncio.Queue[bytes] = asyncio.Queue()
        self.ended = asyncio.Event()
        self._port = port
        self._next = 1

    def call(self, plan: Plan) -> None:
        """Begins a call."""
        number, self._next = self._next, self._next + 2
        self.ended.clear()
        self.messages = asyncio.Queue()
        headers = request_headers(f"127.0.0.1:{self._port}", plan.rpc)
        head = frame(HEADERS, END_HEADERS, number, headers)
        self.send(number, head, message(plan.request_message()), frame(DATA, END_STREAM, number))

    def took_data(self, stream: int, payload: bytes) -> None:  # noqa: ARG002
        """Keeps a message."""
        self.messages.put_nowait(payload)

    def took_end(self, stream: int, headers: bytes) -> None:  # noqa: ARG002
        """Ends the call."""
        self.ended.set()

    def took_reset(self, stream: int) -> None:  # noqa: ARG002
        """Fails."""
        raise RuntimeError("the relay reset the stream")
