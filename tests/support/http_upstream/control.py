"""The controller of the misbehaving upstream: commands go out, events come in."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from support.forked_process import forked
from support.http_upstream.answer import Answer
from support.http_upstream.deadline import Deadline
from support.http_upstream.protocol import ANSWER_NAMES, LINE_LIMIT, encoded
from support.limits import TIMEOUT


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
            left before. "malformed" means that something else than a request came.
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
    """Starts an upstream, sends it commands, and receives its events.

    Args:
        timeout: Seconds after which an event counts as missing.

    Attributes:
        requests: All requests so far. When a command such as `state` returns, none is missing.
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
        """The base URL of the API for clients."""
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
        """Starts the process. After a `kill`, it listens on the same port again."""
        process = await self._begin()
        assert process.stdout is not None
        self._process = process
        self._is_killed = False
        async with asyncio.timeout(TIMEOUT):
            line = (await process.stdout.readline()).decode()
        assert line.startswith("listening on 127.0.0.1:"), line
        self._port = int(line.rpartition(":")[2])
        self._listener = asyncio.create_task(self._listen(process.stdout))

    async def _begin(self) -> Process:
        environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        if sys.platform == "linux":
            return await forked("upstream", [str(self._port)], environ, limit=LINE_LIMIT)
        command = (sys.executable, "-m", "support.http_upstream", str(self._port))
        return await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, limit=LINE_LIMIT, env=environ
        )

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
        steps = [encoded(step) for step in answer.steps]
        how = {name: getattr(answer, name) for name in ANSWER_NAMES}
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

    def _waiting(self, kind: str) -> Deadline:
        return Deadline(self._timeout, kind, self._seen)

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
                if not line.endswith(b"\n"):  # the process was ended while it wrote
                    break
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
