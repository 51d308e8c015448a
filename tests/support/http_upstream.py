"""An HTTP upstream that behaves as badly as it is told to, in a process of its own.

The controller, `HttpUpstream`, starts the process and tells it what to answer:

    async with HttpUpstream() as upstream:
        await upstream.answer(sse_answer(chunk("a"), WAIT, chunk("b"), RESET))
        ...  # call upstream.url
        request = await upstream.next_request()
        await upstream.next("waiting")
        await upstream.go()
        await upstream.next("done")

The process knows nothing of HTTP but how a request ends: an answer is a list of steps, made here,
which it takes one by one. It also runs by itself, and then takes its commands from standard input,
one JSON text a line: `PYTHONPATH=tests python -m support.http_upstream`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import resource
import socket
import struct
import sys
import zlib
from asyncio.subprocess import PIPE, Process
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from http.client import responses
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

from support.limits import TIMEOUT

QUIET: Final = 0.25  # seconds after which a write that the peer does not take counts as blocked
LINE_LIMIT: Final = 1 << 30  # the most bytes of a command or an event
HEAD_LIMIT: Final = 1 << 20  # the most bytes of the head of a request
SEND_BUFFER: Final = 1 << 16  # bytes that the kernel keeps for a connection; Linux doubles it
BLOCK: Final = 1 << 16  # bytes of a write where steps are joined


class Mark(StrEnum):
    """A step that writes nothing. What was written before it has been handed to the kernel."""

    WAIT = "wait"  # until `HttpUpstream.go`; says so with the event "waiting"
    HANG = "hang"  # until the peer leaves
    CLOSE = "close"  # end the connection in order, with FIN
    RESET = "reset"  # end the connection with RST


WAIT: Final = Mark.WAIT
HANG: Final = Mark.HANG
CLOSE: Final = Mark.CLOSE
RESET: Final = Mark.RESET


@dataclass(frozen=True, slots=True)
class Repeat:
    """A step that writes the same bytes many times; for ever if `times` is None."""

    data: bytes
    times: int | None = None


Step = bytes | Repeat | Mark
Writes = Literal["whole", "steps", "bytes", "random"]
Framing = Literal["chunked", "length", "close"]
Headers = Mapping[str, str] | Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What to do with a request; see `json_answer`, `sse_answer` and `raw`.

    Attributes:
        steps: What to write, and what else to do, in this order.
        writes: How the bytes are cut: "steps" writes each step, and each repetition, at once;
            "whole" joins steps up to a mark; "random" does so and cuts anywhere; "bytes" writes
            byte by byte.
        seed: Of the random cuts.
        interval: Seconds between the beginnings of two writes.
        keep_alive: Whether the connection stays open at the end.
        is_early: Whether to answer when the head of the request is read, and leave its body. Then
            a peer that has sent more than 2 MiB of it is not seen to leave.
    """

    steps: tuple[Step, ...]
    writes: Writes = "steps"
    seed: int = 0
    interval: float = 0
    keep_alive: bool = True
    is_early: bool = False


def raw(
    *steps: Step,
    writes: Writes = "steps",
    seed: int = 0,
    interval: float = 0,
    keep_alive: bool = False,
    is_early: bool = False,
) -> Answer:
    """An answer that is written as it is: no head is added."""
    return Answer(steps, writes, seed, interval, keep_alive, is_early)


def http_answer(
    *body: Step,
    status: int = 200,
    headers: Headers = (),
    framing: Framing = "chunked",
    gzip: bool = False,
    before: Sequence[Step] = (),
    writes: Writes = "steps",
    seed: int = 0,
    interval: float = 0,
    is_early: bool = False,
) -> Answer:
    """An answer with a head and a body.

    Args:
        body: The body; each step is a chunk, if it goes in chunks.
        status: The HTTP status.
        headers: The headers, beside those of the framing and the encoding. Where they have one of
            those, that one is not added, so that it may be wrong.
        framing: How the end of the body is told. The length counts all steps, also those that a
            mark keeps from being written.
        gzip: Whether to compress the body.
        before: Steps before the head.
        writes: As in an `Answer`; so are the others.
        seed: Of random cuts.
        interval: Seconds from write to write.
        is_early: Whether to leave the body of the request.
    """
    lines = list(headers.items() if isinstance(headers, Mapping) else headers)
    names = {name.lower() for name, _ in lines}
    steps = list(body)
    added: list[tuple[str, str]] = []
    if gzip:
        steps = gzipped(steps)
        added.append(("content-encoding", "gzip"))
    if framing == "chunked":
        steps = [*_in_chunks(steps), b"0\r\n\r\n"]
        added.append(("transfer-encoding", "chunked"))
    elif framing == "length":
        if "content-length" not in names:
            added.append(("content-length", str(_length(steps))))
    else:
        added.append(("connection", "close"))
    lines += [(name, value) for name, value in added if name not in names]
    return Answer(
        (*before, head(status, lines), *steps), writes, seed, interval, framing != "close", is_early
    )


def json_answer(
    *parts: Any, framing: Framing = "length", writes: Writes = "whole", **how: Any
) -> Answer:
    """An answer in JSON.

    Args:
        parts: The parts of its text: steps, or a value to be written as JSON.
        framing: As in `http_answer`.
        writes: As in an `Answer`.
        how: More for `http_answer`.
    """
    body = [part if isinstance(part, Step) else json.dumps(part).encode() for part in parts]
    return _typed("application/json", body, how, framing=framing, writes=writes)


def sse_answer(*events: Any, done: bool = True, **how: Any) -> Answer:
    """An answer that is an event stream.

    Args:
        events: Steps, as they are to stand in the stream, or the values of events (see `event`).
        done: Whether the event that ends a stream follows.
        how: More for `http_answer`.
    """
    body = [part if isinstance(part, Step) else event(part) for part in events]
    if done:
        body.append(event(b"[DONE]"))
    return _typed("text/event-stream; charset=utf-8", body, how)


def event(data: Any) -> bytes:
    """An event of an event stream, with a text, or a value to be written as JSON, as its data."""
    text = data if isinstance(data, bytes) else json.dumps(data).encode()
    return b"data: " + text + b"\n\n"


def head(status: int, headers: Headers = ()) -> bytes:
    """The head of an answer, with the blank line that ends it."""
    lines = headers.items() if isinstance(headers, Mapping) else headers
    text = f"HTTP/1.1 {status} {responses.get(status, 'Odd')}\r\n"
    text += "".join(f"{n}: {v}\r\n" for n, v in lines)
    return (text + "\r\n").encode("latin-1")


def gzipped(steps: Iterable[Step]) -> list[Step]:
    """The same steps, for a peer that takes gzip; what is repeated is compressed once.

    So a gigabyte is a few repetitions of a few bytes.
    """
    # Each step is flushed in full: its bytes do not depend on those before it.
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed: list[Step] = [b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"]
    check = size = 0
    for step in steps:
        if isinstance(step, Mark):
            packed.append(step)
            continue
        data = step.data if isinstance(step, Repeat) else step
        times = step.times or 0 if isinstance(step, Repeat) else 1
        small = packer.compress(data) + packer.flush(zlib.Z_FULL_FLUSH)
        packed.append(Repeat(small, step.times) if isinstance(step, Repeat) else small)
        for _ in range(times):
            check = zlib.crc32(data, check)
        size += len(data) * times
    packed.append(packer.flush() + struct.pack("<II", check, size & 0xFFFFFFFF))
    return packed


def _typed(kind: str, body: Sequence[Step], how: Mapping[str, Any], **more: Any) -> Answer:
    """An answer of a content type, unless its headers have one."""
    headers = how.get("headers", ())
    lines = list(headers.items() if isinstance(headers, Mapping) else headers)
    if all(name.lower() != "content-type" for name, _ in lines):
        lines.insert(0, ("content-type", kind))
    return http_answer(*body, **{**how, **more, "headers": lines})


def _in_chunks(steps: Iterable[Step]) -> Iterator[Step]:
    for step in steps:
        if isinstance(step, Mark):
            yield step
        elif isinstance(step, Repeat):
            yield Repeat(_chunk(step.data), step.times)
        elif step:  # an empty chunk would be the end
            yield _chunk(step)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _length(steps: Iterable[Step]) -> int:
    length = 0
    for step in steps:
        if isinstance(step, bytes):
            length += len(step)
        elif isinstance(step, Repeat):
            if step.times is None:
                raise ValueError("what is endless has no length")
            length += len(step.data) * step.times
    return length


@dataclass(frozen=True, slots=True)
class Request:
    """A request that came to the upstream.

    Attributes:
        call: Its number.
        connection: The number of the connection that it came on.
        method: GET, POST and so on.
        path: What follows the host, with the query.
        headers: The headers, their names in lower case.
        body: The body.
    """

    call: int
    connection: int
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The value of the body."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Event:
    """What happened in the upstream.

    Attributes:
        kind: "connected" and "disconnected" are of a connection. Of a call are "request";
            "waiting", at a `WAIT`; "blocked", if the peer has not taken any bytes for `QUIET`
            seconds; and at its end "done", if the answer was carried out, or "closed", if the peer
            left before. "malformed" is a request that is none.
        connection: The number of the connection.
        call: The number of the call, or 0.
        sent: The bytes of the answer that the kernel has taken from the upstream. If the peer left
            in the middle of a write, the whole of that counts, of at most `BLOCK` bytes.
    """

    kind: str
    connection: int
    call: int = 0
    sent: int = 0


@dataclass(frozen=True, slots=True)
class State:
    """What an upstream is doing.

    Attributes:
        connections: How many connections are open.
        calls: The numbers of the calls that are not over.
        sent: For each call that ever came, the bytes of the answer that the kernel has taken.
    """

    connections: int
    calls: frozenset[int]
    sent: Mapping[int, int]


class HttpUpstream:
    """Starts an upstream, tells it what to do, and hears what happens there.

    Args:
        timeout: Seconds after which an event counts as missing.

    Attributes:
        requests: All requests that have been heard of. None is missing when a command, such as
            `state`, returns.
    """

    def __init__(self, timeout: float = TIMEOUT) -> None:
        self.requests: list[Request] = []
        self._timeout = timeout
        self._port = 0
        self._process: Process | None = None
        self._listener: asyncio.Task[None] | None = None
        self._is_killed = False
        self._news = asyncio.Event()
        self._events: defaultdict[str, deque[Event]] = defaultdict(deque)
        self._unread_requests: deque[Request] = deque()
        self._seen: Counter[str] = Counter()
        self._replies: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._tag = 0

    @property
    def url(self) -> str:
        """Where a client is to find the API."""
        return f"http://127.0.0.1:{self._port}/v1"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        process = self._process
        if process is None or process.stdin is None:
            return
        process.stdin.close()  # the process ends with its standard input
        try:
            async with asyncio.timeout(TIMEOUT):
                code = await process.wait()
        except TimeoutError:
            await self.kill()
            raise
        await self._stop_listening()
        assert self._is_killed or code == 0, f"the upstream ended with exit code {code}"

    async def start(self) -> None:
        """Starts the process; again, after it was killed, on the same port."""
        command = (sys.executable, "-m", "support.http_upstream", str(self._port))
        environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, limit=LINE_LIMIT, env=environ
        )
        assert process.stdout is not None
        self._process = process
        self._is_killed = False
        async with asyncio.timeout(TIMEOUT):
            line = (await process.stdout.readline()).decode()
        assert line.startswith("listening on 127.0.0.1:"), line
        self._port = int(line.rpartition(":")[2])
        self._listener = asyncio.create_task(self._listen(process.stdout))

    async def kill(self) -> None:
        """Ends the process at once, with SIGKILL: the kernel closes its connections."""
        process = self._process
        assert process is not None
        self._is_killed = True
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await self._stop_listening()

    async def answer(
        self, answer: Answer, *, model: str | None = None, always: bool = False
    ) -> None:
        """Says how to answer; a request for which there is no answer yet waits for one.

        Args:
            answer: The answer.
            model: The model of the requests that it is for; None: of any.
            always: Whether it is used again and again, for the requests that no other answer is
                for. The others are used once, in the order in which they were given.
        """
        steps = [_encoded(step) for step in answer.steps]
        how = {name: getattr(answer, name) for name in _ANSWER_NAMES}
        await self._tell("answer", steps=steps, model=model, always=always, **how)

    async def go(self, call: int | None = None) -> None:
        """Lets a call pass one `WAIT`, now or when it comes there.

        Args:
            call: The number of the call; None: all calls that are not over.
        """
        await self._tell("go", call=call)

    async def state(self) -> State:
        """What the upstream is doing."""
        state = await self._tell("state")
        sent = {int(call): count for call, count in state["sent"].items()}
        return State(state["connections"], frozenset(state["calls"]), sent)

    async def next(self, kind: str, call: int | None = None) -> Event:
        """The next event of a kind that was not yet asked for, once it has come.

        Args:
            kind: See `Event`.
            call: The number of the call that it is to be about; None: any.
        """
        events = self._events[kind]
        async with self._waiting(kind):
            while True:
                for found in events:
                    if call in (None, found.call):
                        events.remove(found)
                        return found
                await self._more()

    async def next_request(self) -> Request:
        """The next request that was not yet asked for, once it has come."""
        async with self._waiting("request"):
            while not self._unread_requests:
                await self._more()
        return self._unread_requests.popleft()

    def _waiting(self, kind: str) -> _Deadline:
        return _Deadline(self._timeout, kind, self._seen)

    async def _more(self) -> None:
        """Waits until something has happened."""
        if self._listener is None or self._listener.done():
            raise ConnectionError("the upstream has ended")
        self._news.clear()
        await self._news.wait()

    async def _tell(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Gives a command, and returns the reply."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        if self._listener is None or self._listener.done():
            raise ConnectionError("the upstream has ended")
        self._tag += 1
        reply: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._replies[self._tag] = reply
        line = json.dumps({"do": command, "tag": self._tag, **arguments})
        process.stdin.write(line.encode() + b"\n")
        async with asyncio.timeout(TIMEOUT):
            return await reply

    async def _listen(self, output: asyncio.StreamReader) -> None:
        """Takes what the process reports, until its end."""
        try:
            async for line in output:
                self._take(json.loads(line))
                self._news.set()
        finally:
            for reply in self._replies.values():
                if not reply.done():
                    reply.set_exception(ConnectionError("the upstream has ended"))
            self._news.set()

    def _take(self, report: dict[str, Any]) -> None:
        kind = report.pop("event")
        if kind == "reply":
            reply = self._replies.pop(report.pop("tag"))
            if not reply.done():
                reply.set_result(report)
            return
        self._seen[kind] += 1
        if kind == "request":
            body = report.pop("body").encode("utf-8", "surrogateescape")
            request = Request(body=body, **report)
            self.requests.append(request)
            self._unread_requests.append(request)
            report = {"connection": request.connection, "call": request.call}
        self._events[kind].append(Event(kind, **report))

    async def _stop_listening(self) -> None:
        if self._listener is not None:
            await asyncio.wait({self._listener})
            self._listener.result()


class _Deadline:
    """Limits the time of what is awaited, and says what was missing."""

    def __init__(self, seconds: float, kind: str, seen: Mapping[str, int]) -> None:
        self._seconds = seconds
        self._kind = kind
        self._seen = seen
        self._timeout = asyncio.timeout(seconds)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            missing = f"no {self._kind} within {self._seconds} seconds, but {dict(self._seen)}"
            raise TimeoutError(missing) from None


@contextmanager
def never_accepting() -> Iterator[str]:
    """The URL of an upstream to which a connection is never made, nor refused."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as server,
        socket.create_connection(server.getsockname()),  # fills the queue of the kernel
    ):
        yield f"http://127.0.0.1:{server.getsockname()[1]}/v1"


@contextmanager
def refusing() -> Iterator[str]:
    """The URL of an upstream that refuses connections: the port is taken, but nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/v1"


_ANSWER_NAMES: Final = ("writes", "seed", "interval", "keep_alive", "is_early")


def _encoded(step: Step) -> Any:
    """A step, as it goes to the process."""
    if isinstance(step, Mark):
        return step
    if isinstance(step, Repeat):
        return [base64.b64encode(step.data).decode(), step.times]
    return [base64.b64encode(step).decode(), 1]


def _decoded(step: Any) -> Step:
    if isinstance(step, str):
        return Mark(step)
    data = base64.b64decode(step[0])
    return data if step[1] == 1 else Repeat(data, step[1])


# From here on: the process.


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
    """A connection that ends the answer that is being written when its peer leaves."""

    def __init__(self, server: _Server) -> None:
        self._answering: asyncio.Task[None] | None = None
        self._is_left = False
        reader = asyncio.StreamReader(HEAD_LIMIT)
        super().__init__(reader, lambda r, w: server.serve(self, r, w))

    async def during(self, answering: asyncio.Task[None]) -> bool:
        """Waits for an answer; whether it was carried out before the peer left."""
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
    """Serves HTTP, takes commands from standard input and reports to standard output."""

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
        """Tells of an event."""
        self._output.write(json.dumps({"event": kind, **members}).encode() + b"\n")

    def obey(self, command: dict[str, Any]) -> None:
        """Carries out a command, and replies."""
        reply: dict[str, Any] = {}
        if command["do"] == "answer":
            steps = tuple(_decoded(step) for step in command["steps"])
            how = {name: command[name] for name in _ANSWER_NAMES if name in command}
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
        writer.transport.set_write_buffer_limits(high=0)  # what is drained is with the kernel
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
        """Answers one request; whether another may follow."""
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
            # Closing with bytes unread would reset the connection, and what was written be lost.
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
        for count, piece in enumerate(_pieces(answer)):
            if isinstance(piece, Mark):
                if await self._obey_mark(piece, call):
                    return
                continue
            if answer.interval:
                await asyncio.sleep(due - loop.time())
                due += answer.interval
            await self._write(call, piece)
            if not count % 16:
                await asyncio.sleep(0)  # others have their turn
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
        """Does what a mark says; whether the call ends with it."""
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


def _pieces(answer: Answer) -> Iterator[bytes | Mark]:
    """The bytes of each write, and the marks between them."""
    dice = random.Random(answer.seed)
    joins = answer.writes in ("whole", "random")
    joined = bytearray()
    for step in answer.steps:
        if isinstance(step, bytes) and joins:
            joined += step
            continue
        yield from _cut(bytes(joined), answer.writes, dice)
        joined.clear()
        if isinstance(step, Mark):
            yield step
            continue
        for data in _repetitions(step, joins) if isinstance(step, Repeat) else (step,):
            yield from _cut(data, answer.writes, dice)
    yield from _cut(bytes(joined), answer.writes, dice)


def _repetitions(step: Repeat, joins: bool) -> Iterator[bytes]:
    """The same bytes again and again, many at once where they may be joined."""
    at_once = max(1, BLOCK // max(1, len(step.data))) if joins else 1
    block = step.data * at_once
    left = step.times
    while left is None or left >= at_once:
        yield block
        left = None if left is None else left - at_once
    yield step.data * left


def _cut(data: bytes, writes: Writes, dice: random.Random) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        if writes == "bytes":
            size = 1
        elif writes == "random":
            size = dice.randrange(1, 2 << dice.randrange(13))
        else:
            size = BLOCK
        yield data[at : at + size]
        at += size


async def _main(port: int) -> None:
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
    os._exit(0)  # nothing of it is worth an orderly end


if __name__ == "__main__":
    _soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_hard, _hard))
    asyncio.run(_main(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
