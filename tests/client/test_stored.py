"""Stored completions, with both clients."""

from __future__ import annotations

from typing import Any

import pytest
from grpc import StatusCode

from chatpb.client import ChatCompletionError
from chatpb_server.running.serving import Options, serving
from chatpb_server.upstreams.builtin.upstream import BuiltinUpstream
from support.chat_server import Server
from support.limits import within
from support.memory_store import MemoryStore
from support.stored import answered


async def test_stored_completions(connect: Any) -> None:
    store = MemoryStore()
    for number in range(3):
        await store.put("", answered(f"c{number}", {"n": str(number)}, seed=number))
    async with (
        serving(BuiltinUpstream(), options=Options(store=store)) as port,
        connect(f"127.0.0.1:{port}") as client,
    ):
        page = await within(client.list_stored(limit=2, timeout=5))
        assert (["c0", "c1"], True) == ([each.id for each in page.data], page.has_more)
        page = await within(client.list_stored(after=page.last_id, metadata=(("x-a", "b"),)))
        assert (["c2"], False) == ([each.id for each in page.data], page.has_more)
        page = await within(client.list_stored(order="desc", model="m"))
        assert ["c2", "c1", "c0"] == [each.id for each in page.data]
        page = await within(client.list_stored(having={"n": "1"}))
        assert ["c1"] == [each.id for each in page.data]
        assert 2 == (await within(client.get_stored("c2"))).seed
        changed = await within(client.update_stored("c2", {"k": "v"}))
        assert {"k": "v"} == changed.metadata
        assert {} == (await within(client.update_stored("c2", None))).metadata
        listed = await within(client.list_stored_messages("c2", order="desc", limit=1))
        assert [("c2-0", "ping")] == [(each.id, each.content) for each in listed.data]
        deleted = await within(client.delete_stored("c2"))
        assert ("c2", True) == (deleted.id, deleted.deleted)
        with pytest.raises(ChatCompletionError, match="'c2'") as caught:
            await within(client.get_stored("c2"))
        assert StatusCode.NOT_FOUND == caught.value.code
        with pytest.raises(ValueError, match="expected the order asc or desc, got 'up'"):
            await within(client.list_stored(order="up"))


async def test_a_server_that_stores_nothing(connect: Any) -> None:
    async with (
        serving(BuiltinUpstream()) as port,
        connect(f"127.0.0.1:{port}") as client,
    ):
        with pytest.raises(ChatCompletionError, match="--store") as caught:
            await within(client.list_stored())
    assert StatusCode.NOT_FOUND == caught.value.code


async def test_a_server_that_is_too_old(connect: Any, server: Server) -> None:
    async with connect(server.address) as client:
        with pytest.raises(ChatCompletionError) as caught:
            await within(client.get_stored("c"))
    assert StatusCode.UNIMPLEMENTED == caught.value.code
