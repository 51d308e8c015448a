"""Who answers calls for stored completions, and to whom: stores, relays behind, fallbacks."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from grpc import aio

from chatpb.v1 import (
    ListStoredChatCompletionsRequest,
)
from chatpb_server.running.serving import Options, serving, serving_all
from chatpb_server.upstreams.builtin.upstream import BuiltinUpstream
from chatpb_server.upstreams.passing import HttpFallback
from chatpb_server.upstreams.relay import GrpcUpstream
from chatpb_server.upstreams.remote import RemoteSettings
from chatpb_server.upstreams.router import Route, Router
from support.grpc_stub import served
from support.http_edge import through
from support.http_upstream import HttpUpstream, json_answer
from support.limits import TIMEOUT
from support.memory_store import MemoryStore
from support.stored import answered as stored
from support.stored_edge import HTTP, ask, edge, refused, stub_of


@through
async def test_callers_see_their_own_alone(hops: int) -> None:
    store = MemoryStore()
    await store.put("alice", stored("a", {"k": "v"}))
    await store.put("bob", stored("b", {"k": "v"}))
    await store.put("bob", stored("same", {"whose": "bob"}))
    await store.put("alice", stored("same", {"whose": "alice"}))
    async with edge(store, hops=hops, named=True, forwards=True) as ports:
        bob: Mapping[str, Any] = {"headers": {"authorization": "Bearer bob"}}
        assert 401 == (await ask(ports))[0]
        _, page = await ask(ports, "?metadata[k]=v", **bob)
        assert ["b"] == [each["id"] for each in page["data"]]
        assert (400, "invalid_value", "after") == await refused(ports, "?after=a", **bob)
        unknown = 404, "completion_not_found", "completion_id"
        for tail, method in (("/a", "GET"), ("/a", "DELETE"), ("/a/messages", "GET")):
            assert unknown == await refused(ports, tail, method=method, **bob)
        change = {"method": "POST", "json": {"metadata": {"mine": "1"}}}
        assert unknown == await refused(ports, "/a", **change, **bob)
        assert {"whose": "bob"} == (await ask(ports, "/same", **bob))[1]["metadata"]
        assert 200 == (await ask(ports, "/same", method="DELETE", **bob))[0]
    assert {"k": "v"} == getattr(await store.get("alice", "a"), "metadata", None)
    assert await store.get("alice", "same") is not None


async def test_a_core_that_does_not_learn_who_asks_is_not_asked() -> None:
    """All callers of the edge would be one for it."""
    store = MemoryStore()
    await store.put("edge", stored("a"))
    async with edge(store, hops=2, named=True) as ports:
        status, answer = await ask(ports, headers={"authorization": "Bearer bob"})
    assert 404 == status
    assert 'auth = "caller"' in answer["error"]["message"]


@through
async def test_paths_are_the_fallbacks_if_nothing_is_stored(hops: int) -> None:
    page = json_answer({"object": "list", "data": []})
    async with HttpUpstream() as upstream, AsyncExitStack() as stack:
        fallback = HttpFallback("fallback", upstream.url, RemoteSettings())
        options = Options(http=HTTP, fallback=fallback)
        await upstream.answer(page, always=True)
        if hops == 2:  # the relay behind knows whether something is stored
            port = await stack.enter_async_context(serving(BuiltinUpstream()))
            relay = GrpcUpstream(f"grpc://127.0.0.1:{port}")
            ports = await stack.enter_async_context(serving_all(relay, options=options))
            assert (404, "store_not_enabled", None) == await refused(ports, "")
            return
        ports = await stack.enter_async_context(serving_all(BuiltinUpstream(), options=options))
        for method, tail in (("GET", ""), ("GET", "/c"), ("DELETE", "/c"), ("GET", "/c/messages")):
            assert 200 == (await ask(ports, tail, method=method))[0]
        assert 4 == len(upstream.requests)


async def test_paths_are_the_stores_if_there_is_one_and_a_fallback() -> None:
    fallback = HttpFallback("fallback", "http://127.0.0.1:1", RemoteSettings())
    options = Options(http=HTTP, fallback=fallback, store=MemoryStore())
    async with serving_all(BuiltinUpstream(), options=options) as ports:
        assert (404, "completion_not_found", "completion_id") == await refused(ports, "/c")
        assert 405 == (await ask(ports, "/c", method="PUT"))[0]


@through
async def test_without_a_store_the_answer_says_how_to_have_one(hops: int) -> None:
    async with edge(None, hops=hops) as ports, stub_of(ports) as stub:
        for tail, method in (("", "GET"), ("/c", "GET"), ("/c", "DELETE"), ("/c/messages", "GET")):
            status, answer = await ask(ports, tail, method=method)
            assert (404, "store_not_enabled") == (status, answer["error"]["code"])
            assert "--store" in answer["error"]["message"]
        with pytest.raises(aio.AioRpcError) as caught:
            await stub.ListStoredChatCompletions(
                ListStoredChatCompletionsRequest(), timeout=TIMEOUT
            )
        assert grpc.StatusCode.NOT_FOUND == caught.value.code()


async def test_a_core_that_is_too_old_or_gone() -> None:
    async with served() as stub:
        relay = Router([Route("core", GrpcUpstream(f"grpc://{stub.target}"))])
        async with serving_all(relay, options=Options(http=HTTP)) as ports:
            status, answer = await ask(ports)
            assert 404 == status
            assert "too old" in answer["error"]["message"]
    relay = Router([Route("core", GrpcUpstream("grpc://127.0.0.1:1"))])
    async with serving_all(relay, options=Options(http=HTTP)) as ports:
        assert 503 == (await ask(ports))[0]


async def test_a_store_that_is_down(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    store.failures = 3
    async with edge(store) as ports:
        for method, tail in (("GET", ""), ("GET", "/c"), ("DELETE", "/c")):
            status, answer = await ask(ports, tail, method=method)
            assert 503 == status
            assert "store of completions cannot be used now" in answer["error"]["message"]
            assert "out of order" not in answer["error"]["message"]
    assert 3 == sum("out of order" in str(vars(each).get("fields")) for each in caplog.records)
