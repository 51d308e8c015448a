"""The process of the misbehaving upstream: an HTTP server that does what its commands ask."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import sys
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from support.http_upstream.answer import HANG, RESET, WAIT, Answer, Mark
from support.http_upstream.pieces import BLOCK, pieces
from support.http_upstream.protocol import ANSWER_NAMES, LINE_LIMIT, decoded

QUIET: Final = 0.25  # seconds until a write that the peer does not read counts as blocked
HEAD_LIMIT: Final = 1 << 20  # maximum bytes of the head of a request
SEND_BUFFER: Final = 1 << 16  # bytes that the kernel keeps for a connection; Linux doubles it


@dataclass(slots=True)
class _Offer:
    answer: Answer
    model: str | None


@dataclass(slots=True)
class _Call:
    number: int
    connection: int
    writer: asyncio.StreamWriter
    model: str | None = None
    go: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    written: int = 0

    @property
    def sent(self) -> int:
        """The bytes that the kernel has taken."""
        return self.written - self.writer.transport.get_write_buffer_size()


class _Connection(asyncio.StreamReaderProtocol):
    """A connection that stops writing an answer when its peer leaves."""

    def __init__(self, server: _Server) -> None:
        self._answering: asyncio.Task[None] | None = None
        self._is_left = False
        reader = asyncio.StreamReader(HEAD_LIMIT)
        super().__init__(reader, lambda r, w: server.serve(self, r, w))

    async def during(self, answering: asyncio.Task[None]) -> bool:
        """Waits for an answer; returns whether it was carried out before the peer left."""
        self._answering = answering
        if self._is_left:
            answering.cancel()
        await asyncio.wait({answering})
        self._answering = None
        if answering.cancelled() or isinstance(answering.exception(), OSError):
            return False
        answering.result()
        return True

    def eof_received(self) -> bool | None:
        self._leave()
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        super().connection_lost(exc)

    def _leave(self) -> None:
        self._is_left = True
        if self._answering is not None:
            self._answering.cancel()


class _Server:
    """Serves HTTP, reads commands from standard input and writes events to standard output."""

    def __init__(self, output: asyncio.WriteTransport) -> None:
        self._output = output
        self._once: deque[_Offer] = deque()
        self._always: list[_Offer] = []
        self._more = asyncio.Event()
        self._calls: dict[int, _Call] = {}  # those that are not over
        self._sent: dict[int, int] = {}  # of all
        self._connections = 0
        self._open = 0

    def report(self, kind: str, **members: Any) -> None:
        """Writes an event."""
        self._output.write(json.dumps({"event": kind, **members}).encode() + b"\n")

    def obey(self, command: dict[str, Any]) -> None:
        """Carries out a command, and replies."""
        reply: dict[str, Any] = {}
        if command["do"] == "answer":
            steps = tuple(decoded(step) for step in command["steps"])
            how = {name: command[name] for name in ANSWER_NAMES if name in command}
            offer = _Offer(Answer(steps, **how), command.get("model"))
            if command.get("always"):
                self._always.insert(0, offer)
            else:
                self._once.append(offer)
            self._more.set()
            self._more = asyncio.Event()
        elif command["do"] == "go":
            for call in self._calls.values():
                if command.get("call") in (None, call.number):
                    call.go.release()
        else:
            sent = {call.number: call.sent for call in self._calls.values()}
            reply["connections"] = self._open
            reply["calls"] = list(sent)
            reply["sent"] = {**self._sent, **sent}
        self.report("reply", tag=command.get("tag"), **reply)

    async def serve(
        self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Serves a connection to its end."""
        self._connections += 1
        self._open += 1
        number = self._connections
        self.report("connected", connection=number)
        writer.transport.set_write_buffer_limits(high=0)  # drained: the kernel has it
        try:
            while await self._serve_call(connection, number, reader, writer):
                pass
        except (asyncio.IncompleteReadError, OSError):
            pass  # the peer has left
        except (ValueError, asyncio.LimitOverrunError):
            self.report("malformed", connection=number)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
            self._open -= 1
            self.report("disconnected", connection=number)

    async def _serve_call(
        self,
        connection: _Connection,
        number: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """Answers one request; returns whether another one may follow."""
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = lines[0].split(" ")
        headers: dict[str, str] = {}
        for line in lines[1:-2]:
            name, colon, value = line.partition(":")
            if not colon:
                raise ValueError(line)
            name = name.lower()
            before = f"{headers[name]}, " if name in headers else ""
            headers[name] = before + value.strip()
        answer = self._find(None, is_early=True)
        body = await _read_body(reader, headers) if answer is None else b""
        call = _Call(len(self._sent) + 1, number, writer, _model(body))
        self._calls[call.number] = call
        self._sent[call.number] = 0
        self.report(
            "request",
            call=call.number,
            connection=number,
            method=method,
            path=path,
            headers=headers,
            body=body.decode("utf-8", "surrogateescape"),
        )
        answering = asyncio.create_task(self._answer(call, answer))
        is_done = await connection.during(answering)
        self._sent[call.number] = call.sent
        del self._calls[call.number]
        self._tell_of("done" if is_done else "closed", call)
        if answer is not None and is_done and not writer.is_closing():
            # Closing with unread bytes would reset the connection and lose what was written.
            writer.write_eof()
            while await reader.read(BLOCK):
                pass
            return False
        return is_done and not writer.is_closing()

    def _find(self, model: str | None, is_early: bool) -> Answer | None:
        """The answer for a model, if there is one; one for early answers, or for others."""
        for offer in self._once:
            if offer.model in (None, model) and offer.answer.is_early == is_early:
                self._once.remove(offer)
                return offer.answer
            if is_early:
                return None  # another answer is next
        for offer in self._always:
            if offer.model in (None, model) and offer.answer.is_early == is_early:
                return offer.answer
        return None

    async def _answer(self, call: _Call, answer: Answer | None) -> None:
        while answer is None:
            more = self._more
            answer = self._find(call.model, is_early=False)
            if answer is None:
                await more.wait()
        loop = asyncio.get_running_loop()
        due = loop.time()
        for count, piece in enumerate(pieces(answer)):
            if isinstance(piece, Mark):
                if await self._obey_mark(piece, call):
                    return
                continue
            if answer.interval:
                await asyncio.sleep(due - loop.time())
                due += answer.interval
            await self._write(call, piece)
            if not count % 16:
                await asyncio.sleep(0)  # let other tasks run
        if not answer.keep_alive and not answer.is_early:
            call.writer.close()

    async def _write(self, call: _Call, piece: bytes) -> None:
        """Writes, and waits until the kernel has taken it."""
        call.written += len(piece)
        writer = call.writer
        writer.write(piece)
        if writer.transport.get_write_buffer_size() or writer.is_closing():
            loop = asyncio.get_running_loop()
            alarm = loop.call_later(QUIET, self._tell_of, "blocked", call)
            try:
                await writer.drain()
            finally:
                alarm.cancel()

    async def _obey_mark(self, mark: Mark, call: _Call) -> bool:
        """Carries out a mark; returns whether the call ends with it."""
        if mark is WAIT:
            self._tell_of("waiting", call)
            await call.go.acquire()
            return False
        if mark is HANG:
            await asyncio.get_running_loop().create_future()
        elif mark is RESET:
            connection = call.writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            call.writer.transport.abort()
        else:
            call.writer.close()
        return True

    def _tell_of(self, kind: str, call: _Call) -> None:
        self.report(kind, connection=call.connection, call=call.number, sent=call.sent)


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if "chunked" not in headers.get("transfer-encoding", "").lower():
        return await reader.readexactly(int(headers.get("content-length", "0")))
    body = bytearray()
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass
    return bytes(body)


def _model(body: bytes) -> str | None:
    """The model that a request names."""
    with suppress(ValueError):
        members = json.loads(body)
        if isinstance(members, dict) and isinstance(members.get("model"), str):
            return str(members["model"])
    return None


async def main(port: int) -> None:
    """Serves on a port (0: any) until standard input ends; the first line printed has the port."""
    loop = asyncio.get_running_loop()
    listener = socket.create_server(("127.0.0.1", port), backlog=4096)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a write is a packet
    print(f"listening on 127.0.0.1:{listener.getsockname()[1]}", flush=True)
    commands = asyncio.StreamReader(LINE_LIMIT)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    output, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, sys.stdout)
    server = _Server(output)
    await loop.create_server(lambda: _Connection(server), sock=listener)
    async for line in commands:
        server.obey(json.loads(line))
    os._exit(0)  # it has no state that an orderly exit would save
