"""Relays that answer calls for stored completions, and callers of them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import aiohttp
from grpc import aio

from chatpb.store import StoredCompletion
from chatpb.v1.stored_chat_completion_service_pb2_grpc import StoredChatCompletionServiceStub
from chatpb_server.core.call import Call
from chatpb_server.core.explain import AuthenticationError
from chatpb_server.running.serving import Options, Ports, serving, serving_all
from chatpb_server.upstreams.builtin.upstream import BuiltinUpstream
from chatpb_server.upstreams.relay import GrpcUpstream
from chatpb_server.upstreams.remote import RemoteSettings
from chatpb_server.upstreams.router import Route, Router
from support.calls import OWN_CONNECTION
from support.limits import TIMEOUT
from support.memory_store import MemoryStore

HTTP = "127.0.0.1:0"
PATH = "/chat/completions"


def _caller(call: Call, _: Any) -> str:
    token = call.metadata.get("authorization", "")
    if not token:
        raise AuthenticationError("who?")
    return str(token).removeprefix("Bearer ")


@asynccontextmanager
async def edge(
    store: MemoryStore | None,
    *completions: StoredCompletion,
    hops: int = 1,
    named: bool = False,
    forwards: bool = False,
) -> AsyncIterator[Ports]:
    """A relay with a store; with two hops, an edge without one before it."""
    for each in completions:
        assert store is not None
        await store.put("", each)
    authenticate = _caller if named else None
    last = Options(http=HTTP, store=store, authenticate=authenticate)
    async with AsyncExitStack() as stack:
        upstream: Any = Router([Route("builtin", BuiltinUpstream())])
        if hops == 2:
            core = await stack.enter_async_context(serving(upstream, options=last))
            settings = RemoteSettings(takes_authorization=forwards)
            relay = GrpcUpstream(f"grpc://127.0.0.1:{core}", settings)
            upstream = Router([Route("other", BuiltinUpstream()), Route("core", relay)])
            passed_on = ("authorization",) if forwards else ()
            last = replace(last, store=None, passed_on=passed_on)
        yield await stack.enter_async_context(serving_all(upstream, options=last))


async def ask(
    ports: Ports, path: str = "", *, method: str = "GET", root: str = "/v1", **how: Any
) -> tuple[int, Any]:
    """The status and the JSON of an answer."""
    url = f"http://127.0.0.1:{ports.http}{root}{PATH}{path}"
    timeout = aiohttp.ClientTimeout(TIMEOUT)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.request(method, url, **how) as response,
    ):
        text = await response.read()
        return response.status, json.loads(text) if text else None


async def refused(ports: Ports, path: str, **how: Any) -> tuple[int, Any, Any]:
    """The status of an error, its code and the parameter that it names."""
    status, answer = await ask(ports, path, **how)
    return status, answer["error"]["code"], answer["error"]["param"]


@asynccontextmanager
async def stub_of(ports: Ports) -> AsyncIterator[Any]:
    async with aio.insecure_channel(f"127.0.0.1:{ports.grpc}", OWN_CONNECTION) as channel:
        yield StoredChatCompletionServiceStub(channel)
