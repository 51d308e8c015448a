"""Stored completions with OpenAI's client for Node, which `make test-node` installs."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from chatpb_server.running.serving import Options, serving_all
from chatpb_server.upstreams.builtin.upstream import BuiltinUpstream
from chatpb_server.upstreams.relay import GrpcUpstream
from support.http_edge import through
from support.memory_store import MemoryStore
from support.node import INSTALLED, node
from support.stored import answered


@pytest.mark.skipif(not INSTALLED, reason="make test-node has not been run")
@through
async def test_node(hops: int) -> None:
    store = MemoryStore()
    asked = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    for number in range(3):
        whose = {"whose": "a b" if number else "c"}
        await store.put("", answered(f"c/{number}", whose, request={"messages": asked}))
    http = Options(http="127.0.0.1:0")
    async with AsyncExitStack() as stack:
        core = serving_all(BuiltinUpstream(), options=replace(http, store=store))
        ports = await stack.enter_async_context(core)
        if hops == 2:
            edge = serving_all(GrpcUpstream(f"grpc://127.0.0.1:{ports.grpc}"), options=http)
            ports = await stack.enter_async_context(edge)
        results = await node(f"http://127.0.0.1:{ports.http}/v1", {"stored": ["c/1"]})
    given = results["stored c/1"]
    assert ["c/0", "c/1", "c/2"] == given["ids"]
    assert ["c/2", "c/1"] == [each["id"] for each in given["filtered"]]
    assert "pong" == given["one"]["choices"][0]["message"]["content"]
    assert {"k": "é"} == given["changed"]["metadata"]
    assert [("c/1-0", "a"), ("c/1-1", "b")] == [
        (each["id"], each["content"]) for each in given["messages"]
    ]
    assert {"id": "c/1", "object": "chat.completion.deleted", "deleted": True} == given["deleted"]
    assert ("NotFoundError", "completion_not_found") == tuple(
        given["gone"]["failed"][name] for name in ("name", "code")
    )
    assert ("BadRequestError", "limit") == (
        given["wrong"]["failed"]["name"],
        given["wrong"]["failed"]["body"]["param"],
    )
