"""Hostile and large contents never hold the event loop of a relay, so that its other calls go on.

Measured in relays' own processes (see `support.lag`). Here it is done with a few inputs of 1 MB;
`make soak` does it with all of them, of 15 MB, and over more ways.
"""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, Final, TypeVar

import aiohttp
import pytest
from grpc import aio

from chatpb.v1 import ChatCompletionMessageParam
from chatpb.v1.chat_completion_service_pb2 import CreateChatCompletionRequest
from chatpb.v1.chat_completion_service_pb2_grpc import ChatCompletionServiceStub
from chatpb_server.core.offload import SHORT
from chatpb_server.running.cli import _serve_alone
from chatpb_server.running.settings import Settings
from support.build import (
    COMPLETION,
    PING,
    chunk,
    create_request,
    stream_request,
)
from support.http_upstream import Answer, HttpUpstream, Repeat, Step, event, json_answer, sse_answer
from support.lag import ProbedRelay, relay_process
from support.limits import LONG_TIMEOUT, SOAK, TIMEOUT
from support.rpc_http import CONNECT, CREATE, STREAM, TEXT, body_of, framed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
_Input = TypeVar("_Input")

#: How many CPU seconds a callback of the loop may take; by how many seconds one may be late, which
#: is that and the time after which Python takes its lock from other threads, twice; and how often
#: an input is tried until that is so.
MOST: Final = 0.02
MOST_LATE: Final = 0.03
TRIES: Final = 4
SIZE: Final = 15_000_000 if SOAK else 1_000_000
BLOCK: Final = 65536
#: Seconds for one input: 15 MB can be 200,000 events, for which the relays write 30 MB of chunks.
LONGEST: Final = LONG_TIMEOUT if SOAK else TIMEOUT

BEGIN: Final = b'{"id":"c","created":1,"model":"m","choices":[{"index":0,"'
END: Final = b'"},"finish_reason":null}]'


def many(piece: bytes) -> Repeat:
    """A step of about `SIZE` bytes."""
    block = piece * max(1, BLOCK // len(piece))
    return Repeat(block, SIZE // len(block))


def text_of(piece: bytes) -> bytes:
    """The same as bytes."""
    step = many(piece)
    return step.data * (step.times or 0)


LONG: Final = many(b"x")
CHOICES: Final = many(b'{"index":0},')
CHUNK: Final[Sequence[Step]] = [BEGIN, b'delta":{"content":"', LONG, END]
#: The beginnings of event streams.
EVENTS: Final[dict[str, Sequence[Step]]] = {
    "ordinary": [b"data: ", *CHUNK, b"}\n\n"],
    "cut": [b"data: ", *CHUNK[:-1], b"\n\n"],
    "NaN": [b"data: ", *CHUNK, b',"x":NaN}\n\n'],
    "a member twice": [b"data: ", *CHUNK, b',"model":"n"}\n\n'],
    "an error that is null": [b"data: ", *CHUNK, b',"error":null}\n\n'],
    "choices": [b'data: {"choices":[', CHOICES, b'{"index":0}]}\n\n'],
    "choices, cut": [b'data: {"choices":[', CHOICES, b'{"index":0}\n\n'],
    "an error next to choices": [b'data: {"error":"e","choices":[', CHOICES, b"{}]}\n\n"],
    "an error": [b'data: {"error":{"message":"m","more":[', CHOICES, b"0]}}\n\n"],
    "an error with a long text": [b'data: {"error":{"message":"', LONG, b'"}}\n\n'],
    "brackets": [b"data: ", many(b"["), b"\n\n"],
    "a comment": [b": ", LONG, b"\n\n"],
    "lines": [b'data: {"x":[\n', many(b"data: 1,\n"), b"data: 1]}\n\n"],
    "no line feed": [b"data: ", LONG],
    "a name": [b"data: {}\n\n", LONG, b": x\n\n"],
    "chunks": [many(event(chunk("y")))],
    "chunks with NaN": [many(b'data: {"choices":[],"x":NaN}\n\n')],
}
ANSWER: Final[Sequence[Step]] = [BEGIN, b'message":{"content":"', LONG]
ANSWERS: Final[dict[str, Sequence[Step]]] = {
    "ordinary": [*ANSWER, b'"}}]}'],
    "cut": ANSWER,
    "NaN": [*ANSWER, b'"}}],"x":NaN}'],
    "an error that is null": [*ANSWER, b'"}}],"error":null}'],
    "choices, cut": [b'{"choices":[', CHOICES, b"{}]"],
    "an error": [b'{"error":{"message":"m","more":[', CHOICES, b"0]}}"],
}
ERRORS: Final[dict[str, Sequence[Step]]] = {
    "a long text": [b'{"error":{"message":"', LONG, b'"}}'],
    "objects": [b'{"error":{"message":"m","more":[', CHOICES, b"0]}}"],
    "brackets": [many(b"[")],
    "a page": [b"<html>", LONG],
}
MESSAGES: Final = text_of(b'{"role":"user","content":"x"},')
REQUESTS: Final = {
    "ordinary": b'{"model":"m","messages":[{"content":"' + text_of(b"x") + b'"}]}',
    "cut": b'{"model":"m","messages":[{"content":"' + text_of(b"x"),
    "NaN": b'{"model":"m","x":NaN,"messages":[' + MESSAGES + b"{}]}",
    "messages": b'{"model":"m","messages":[' + MESSAGES + b"{}]}",
    "messages, cut": b'{"model":"m","messages":[' + MESSAGES,
    "a model twice": b'{"model":"m","model":"m","messages":[' + MESSAGES + b"{}]}",
    "a model in a tool": b'{"model":"m","x":{"model":1},"messages":[' + MESSAGES + b"{}]}",
    "brackets": b'{"model":"m","x":' + text_of(b"["),
}
#: What OpenAI's JSON is read of at once. Protobuf's own takes longer.
FEW_MESSAGES: Final = b'{"request":{"messages":[' + b"{}," * (SHORT // 3 - 10) + b"{}]}}"
#: The bodies of rpcs over HTTP.
RPCS: Final[dict[str, tuple[str, str, bytes]]] = {
    "messages": (CREATE, "application/json", b'{"request":{"messages":[' + MESSAGES + b"{}]}}"),
    "messages, cut": (CREATE, "application/json", b'{"request":{"messages":[' + MESSAGES),
    "few messages": (CREATE, "application/json", FEW_MESSAGES),
    "brackets": (CREATE, "application/json", text_of(b'{"request":')),
    "base64": (CREATE, TEXT, text_of(b"AAAA")),
    "base64 in parts": (CREATE, TEXT, text_of(b"AA==")),
    "a bomb": (STREAM, CONNECT, framed(gzip.compress(bytes(10 * SIZE)), 1)),
}
JSON: Final = "application/json"
CHAT: Final = "/v1/chat/completions"
#: A path that names the model, so that the request is written anew, and one that is passed on.
AZURE: Final = "/openai/deployments/n/chat/completions"
PASSED: Final = "/v1/files"
GZIP: Final = {"connect-content-encoding": "gzip", "accept-encoding": "gzip"}
OBJECTS: Final = text_of(b"{},").decode()


def _messages() -> CreateChatCompletionRequest:
    request = create_request()
    request.request.messages.extend(ChatCompletionMessageParam() for _ in range(SIZE // 10))
    return request


def _with_residue(text: str) -> CreateChatCompletionRequest:
    request = create_request()
    request.request.residue.extra_json = text
    return request


MADE: Final[dict[str, Callable[[], CreateChatCompletionRequest]]] = {
    "messages": _messages,
    "a residue": lambda: _with_residue('{"x":{"model":[' + OBJECTS + "1]}}"),
    "a residue, cut": lambda: _with_residue('{"x":{"model":[' + OBJECTS),
    "a residue with NaN": lambda: _with_residue('{"x":[' + OBJECTS + "NaN]}"),
}


@dataclass(frozen=True, slots=True)
class Relays:
    """Two relays in front of an upstream; both record, the edge metadata alone."""

    upstream: HttpUpstream
    core: ProbedRelay
    edge: ProbedRelay
    session: aiohttp.ClientSession

    async def post(
        self, relay: ProbedRelay, body: bytes, kind: str = JSON, path: str = CHAT
    ) -> None:
        """Calls a relay over HTTP, to the end of its answer."""
        url, headers = relay.http.removesuffix("/v1") + path, {"content-type": kind, **GZIP}
        with suppress(aiohttp.ClientError):
            async with self.session.post(url, data=BytesIO(body), headers=headers) as response:
                async for _ in response.content.iter_any():
                    pass

    async def call(self, request: Any = None, *, is_stream: bool = False) -> None:
        """Calls the core over gRPC, to the end of its answer."""
        stub = ChatCompletionServiceStub(self.core.channel)
        with suppress(aio.AioRpcError):
            if is_stream:
                async for _ in stub.StreamChatCompletion(stream_request(), timeout=LONGEST):
                    pass
            else:
                await stub.CreateChatCompletion(request or create_request(), timeout=LONGEST)

    async def ask(self, way: str, *, is_stream: bool, answer: Answer) -> None:
        """Calls the core over HTTP or gRPC, or through the edge; the upstream gives an answer."""
        await self.upstream.answer(answer)
        if way == "gRPC":
            await self.call(is_stream=is_stream)
        elif way == "Connect":
            path, kind = (STREAM, "application/connect+json") if is_stream else (CREATE, JSON)
            body = body_of(stream_request() if is_stream else create_request(), kind)
            await self.post(self.edge, body, kind, path)
        else:
            relay = self.core if way == "HTTP" else self.edge
            await self.post(relay, json.dumps(PING | {"stream": is_stream}).encode())

    async def check(self, name: str, ask: Callable[[], Awaitable[None]]) -> None:
        """Asks until nothing has held a loop: what is not due to chance holds it each time.

        Args:
            name: What is asked, for the error.
            ask: Asks it.

        Raises:
            AssertionError: Something has, each time.
        """
        for _ in range(TRIES):
            await self.core.held()
            await self.edge.held()
            try:
                await ask()
            except TimeoutError as error:
                error.add_note(name)
                raise
            held = [await self.core.held(), await self.edge.held()]
            if all(one.callback <= MOST and one.late <= MOST_LATE for one in held):
                return
        raise AssertionError(f"{name}: core: {held[0]}; edge: {held[1]}")


@asynccontextmanager
async def relays(folder: Path, *how: str) -> AsyncIterator[Relays]:
    """Starts all; the core records in some way."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        upstream = await enter(HttpUpstream(TIMEOUT))
        core = await enter(
            relay_process(
                *("--upstream", upstream.url, "--fallback", upstream.url),
                *("--record", folder / "core", *how),
            )
        )
        metadata = ("--record", folder / "edge", "--record-keep", "metadata")
        edge = await enter(relay_process("--upstream", f"grpc://{core.target}", *metadata))
        session = await enter(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(LONGEST)))
        all_ = Relays(upstream, core, edge, session)
        # What is made once is made before.
        await all_.ask("edge", is_stream=False, answer=json_answer(COMPLETION))
        yield all_


#: How the core records. What is redacted is put together as what is recorded whole.
RECORDED: Final = [
    *([("--record-keep", "all")] if SOAK else []),
    ("--record-redact", "patterns"),
]
WAYS: Final = ("HTTP", "gRPC", "edge", "Connect") if SOAK else ("edge",)
#: The inputs that are sent in `make test`.
FEW: Final = {
    *("event: cut", "event: a member twice", "event: choices, cut", "event: brackets"),
    *("event: an error next to choices", "event: lines", "event: chunks with NaN"),
    *("answer: NaN", "answer: choices, cut", "error: objects"),
    *("request: messages, cut", "request: a model twice", "message: a residue, cut"),
    *("rpc: messages", "rpc: few messages", "rpc: base64", "Azure: messages", "passed: ordinary"),
}


def sent(kind: str, inputs: Mapping[str, _Input]) -> Iterator[tuple[str, _Input]]:
    """The inputs of a kind that are sent, with their names."""
    for name, value in inputs.items():
        full = f"{kind}: {name}"
        if SOAK or full in FEW:
            yield full, value


@pytest.mark.parametrize("how", RECORDED, ids=lambda how: how[-1])
async def test_nothing_holds_the_loop(how: tuple[str, ...], tmp_path: Path) -> None:
    end = event(chunk("", "stop"))
    answers = [
        *((name, True, sse_answer(*steps, end)) for name, steps in sent("event", EVENTS)),
        *((name, False, json_answer(*steps)) for name, steps in sent("answer", ANSWERS)),
        *((name, False, json_answer(*steps, status=500)) for name, steps in sent("error", ERRORS)),
    ]
    async with relays(tmp_path, *how) as all_:
        for name, is_stream, answer in answers:
            for way in WAYS:
                ask = partial(all_.ask, way, is_stream=is_stream, answer=answer)
                await all_.check(f"{name}, {way}", ask)
        await all_.upstream.answer(json_answer(COMPLETION), always=True)
        for name, body in sent("request", REQUESTS):
            await all_.check(name, partial(all_.post, all_.edge, body))
        for name, body in sent("Azure", REQUESTS):
            await all_.check(name, partial(all_.post, all_.edge, body, path=AZURE))
        for name, body in sent("passed", {"ordinary": REQUESTS["ordinary"]}):
            await all_.check(name, partial(all_.post, all_.core, body, path=PASSED))
        for name, (path, kind, body) in sent("rpc", RPCS):
            await all_.check(name, partial(all_.post, all_.edge, body, kind, path))
        for name, make in sent("message", MADE):
            await all_.check(name, partial(all_.call, make()))


async def test_collections_spare_what_is_there_at_the_start() -> None:
    settings = Settings.model_validate(
        {"listen": "127.0.0.1:0", "upstreams": {"a": {"url": "builtin"}}}
    )
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    serving = asyncio.ensure_future(
        _serve_alone(settings, lambda _: ready.set_result(gc.get_freeze_count()))
    )
    try:
        assert await ready > 10_000
    finally:
        gc.unfreeze()
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving
