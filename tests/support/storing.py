"""A relay that stores completions in memory, and callers of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import aiohttp
from grpc import aio

from chatpb import fold, from_dict, to_dict
from chatpb.v1 import ChatCompletionChunk
from chatpb.v1.chat_completion_service_pb2_grpc import ChatCompletionServiceStub
from chatpb_server.core.store_rules import Outcome, StoreRules
from chatpb_server.running.serving import Options, serving_all
from chatpb_server.upstreams.http import HttpUpstream as Http
from chatpb_server.upstreams.relay import GrpcUpstream
from chatpb_server.upstreams.router import RetryPolicy, Route, Router
from support.build import COMPLETION, PING, chunk, create_request, stream_request
from support.calls import OWN_CONNECTION
from support.http_upstream import HttpUpstream, json_answer, sse_answer
from support.limits import TIMEOUT, within
from support.memory_store import MemoryStore

STORE: dict[str, Any] = {"store": True}
CHUNKS = [chunk("po"), chunk("ng"), chunk(None, "stop")]
#: The completion that they make.
FOLDED = to_dict(fold([from_dict(each, ChatCompletionChunk) for each in CHUNKS]))
COMMENT = b": chatpb-stored: false\n\n"
DONE = b"data: [DONE]\n\n"
#: All kinds of calls: the edge, and whether it is a stream.
KINDS = [(edge, stream) for edge in ("grpc", "http") for stream in (False, True)]


class Saw:
    """What a caller received.

    Attributes:
        text: The bytes of an answer over HTTP.
        values: The completion or the chunks.
        says: What the answer says of the store, over gRPC or in a header.
        is_ok: Whether the call succeeded.
    """

    def __init__(self) -> None:
        self.text = b""
        self.values: list[Any] = []
        self.says: str | None = None
        self.is_ok = False

    @property
    def is_unstored(self) -> bool:
        """Whether the answer says that the completion is not stored."""
        return self.says == "false" or COMMENT in self.text


class Relay:
    """A relay that stores, and callers of it."""

    def __init__(self, store: MemoryStore, channel: aio.Channel, url: str) -> None:
        self.store = store
        self.stub: Any = ChatCompletionServiceStub(channel)
        self.url = url
        self.outcomes: list[Outcome] = []

    async def call(
        self, edge: str, *, stream: bool, headers: Mapping[str, str] | None = None, **members: Any
    ) -> Saw:
        """Calls over one of the edges."""
        call = self._http if edge == "http" else self._grpc
        saw: Saw = await within(call(stream, headers or {}, members))
        return saw

    async def _http(self, stream: bool, headers: Mapping[str, str], members: Any) -> Saw:
        saw = Saw()
        body = {**PING, **members, **({"stream": True} if stream else {})}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.post(self.url, json=body) as answer,
        ):
            saw.says = answer.headers.get("chatpb-stored")
            try:
                saw.text = await answer.read()
            except aiohttp.ClientPayloadError:
                return saw
            saw.is_ok = answer.status == 200
        if stream:
            lines = [line[6:] for line in saw.text.splitlines() if line.startswith(b"data: {")]
            saw.values = [json.loads(line) for line in lines]
        else:
            saw.values = [json.loads(saw.text)]
        return saw

    async def _grpc(self, stream: bool, headers: Mapping[str, str], members: Any) -> Saw:
        saw = Saw()
        how: Any = {"timeout": TIMEOUT, "metadata": tuple(headers.items())}
        if stream:
            call = self.stub.StreamChatCompletion(stream_request(**members), **how)
        else:
            call = self.stub.CreateChatCompletion(create_request(**members), **how)
        try:
            if stream:
                async for response in call:
                    saw.values += [to_dict(each) for each in response.chunks]
            else:
                saw.values = [to_dict((await call).completion)]
            saw.is_ok = True
        except aio.AioRpcError:
            pass
        saw.says = dict(await call.trailing_metadata()).get("chatpb-stored")
        return saw


@asynccontextmanager
async def relay(
    url: str, hops: int = 1, options: Options | None = None, **rules: Any
) -> AsyncIterator[Relay]:
    """A relay in front of the upstream at a URL."""
    store, outcomes = MemoryStore(), list[Outcome]()
    options = replace(
        options or Options(),
        store=store,
        store_rules=StoreRules(**{"timeout": TIMEOUT, **rules}),
        count_stored=outcomes.append,
        http="127.0.0.1:0",
    )
    once = RetryPolicy(attempts=1)
    async with AsyncExitStack() as stack:
        router = Router([Route("up", Http(url))], once)
        ports = await stack.enter_async_context(serving_all(router, options=options))
        if hops == 2:
            core = GrpcUpstream(f"grpc://127.0.0.1:{ports.grpc}")
            edge = Router([Route("core", core)], once)
            how = Options(http="127.0.0.1:0")
            ports = await stack.enter_async_context(serving_all(edge, options=how))
        channel = aio.insecure_channel(f"127.0.0.1:{ports.grpc}", OWN_CONNECTION)
        await stack.enter_async_context(channel)
        made = Relay(store, channel, f"http://127.0.0.1:{ports.http}/v1/chat/completions")
        made.outcomes = outcomes
        yield made


async def answers(upstream: HttpUpstream, stream: bool) -> None:
    """Lets the upstream answer the next request."""
    await upstream.answer(sse_answer(*CHUNKS) if stream else json_answer(COMPLETION))
