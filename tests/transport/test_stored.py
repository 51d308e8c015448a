"""Stored completions with OpenAI's SDK, over gRPC."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from chatpb_server.running.serving import Options, serving_all
from chatpb_server.upstreams.builtin.upstream import BuiltinUpstream
from support.http_upstream import HttpUpstream, json_answer
from support.memory_store import MemoryStore
from support.sdk import Sdk, grpc_transport, pair
from support.stored import answered


async def test_it_is_the_same_as_over_http(is_async: bool) -> None:
    store = MemoryStore()
    for number in range(3):
        await store.put("", answered(f"c/{number}", {"n": str(number)}, x_vendor=1.50))
    options = Options(http="127.0.0.1:0", store=store)
    async with (
        serving_all(BuiltinUpstream(), options=options) as ports,
        pair(is_async, f"http://127.0.0.1:{ports.http}/v1", f"127.0.0.1:{ports.grpc}") as both,
    ):
        calls = {
            "list": lambda client: client.chat.completions.list(limit=2),
            "filter": lambda client: client.chat.completions.list(metadata={"n": "1"}),
            "next": lambda client: client.chat.completions.list(after="c/0", order="desc"),
            "retrieve": lambda client: client.chat.completions.retrieve("c/1"),
            "update": lambda client: client.chat.completions.update("c/1", metadata={"k": "é"}),
            "clear": lambda client: client.chat.completions.update("c/1", metadata=None),
            "messages": lambda client: client.chat.completions.messages.list("c/1", order="desc"),
        }
        for name, call in calls.items():
            http, grpc = [(await sdk.run(call)).to_dict() for sdk in both]
            assert (name, http) == (name, grpc)
        mistakes = {
            "order": lambda client: client.chat.completions.list(order="up"),
            "limit": lambda client: client.chat.completions.list(limit=-1),
            "metadata": lambda client: client.chat.completions.update("c/1", metadata={"a": 1}),
            "completion_id": lambda client: client.chat.completions.retrieve("no"),
        }
        for name, call in mistakes.items():
            errors: list[tuple[int, Any]] = []
            for sdk in both:
                with pytest.raises(openai.APIStatusError) as caught:
                    await sdk.run(call)
                errors.append((caught.value.status_code, caught.value.body))
            assert errors[0] == errors[1]
            assert name == errors[0][1]["param"]
        _, through = both
        deleted = await through.run(lambda client: client.chat.completions.delete("c/1"))
        assert ("c/1", True) == (deleted.id, deleted.deleted)
    assert {("", "c/0"), ("", "c/2")} == set(store.rows)


async def test_a_server_that_stores_nothing(is_async: bool) -> None:
    """Its answer says how it would; but a fallback may have them."""
    options = Options()
    async with HttpUpstream() as upstream, serving_all(BuiltinUpstream(), options=options) as ports:
        at = f"127.0.0.1:{ports.grpc}"
        async with Sdk(is_async, grpc_transport(is_async, at)) as sdk:
            with pytest.raises(openai.NotFoundError, match="--store"):
                await sdk.run(lambda client: client.chat.completions.list())
        transport = grpc_transport(is_async, at, token="t", fallback=upstream.url)
        async with Sdk(is_async, transport) as sdk:
            await upstream.answer(json_answer({"object": "list", "data": []}))
            page = await sdk.run(lambda client: client.chat.completions.list())
            assert [] == page.data
