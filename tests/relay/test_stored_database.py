"""Stored completions from the call that makes them to their deletion, in SQLite."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import openai
import pytest

from chatpb_server.running.serving import Options, serving_all
from chatpb_server.upstreams.builtin.upstream import BuiltinUpstream
from chatpb_server.upstreams.relay import GrpcUpstream
from support.http_edge import client, through
from support.stored import opened


@through
async def test_what_is_asked_with_store_is_found(hops: int, tmp_path: Path) -> None:
    http = Options(http="127.0.0.1:0")
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(opened(f"sqlite:///{tmp_path}/chats.db"))
        core = serving_all(BuiltinUpstream(), options=replace(http, store=store))
        ports = await stack.enter_async_context(core)
        if hops == 2:
            edge = serving_all(GrpcUpstream(f"grpc://127.0.0.1:{ports.grpc}"), options=http)
            ports = await stack.enter_async_context(edge)
        sdk = await stack.enter_async_context(client(f"http://127.0.0.1:{ports.http}/v1"))
        calls = sdk.chat.completions
        first = await calls.create(
            model="demo",
            messages=[{"role": "user", "content": "Hi"}],
            store=True,
            metadata={"topic": "greeting"},
            temperature=0.5,
            seed=7,
        )
        async with calls.stream(
            model="demo", messages=[{"role": "user", "content": "Bye"}], store=True
        ) as stream:
            second = await stream.get_final_completion()
        await calls.create(model="demo", messages=[{"role": "user", "content": "Not this"}])

        assert [first.id, second.id] == [each.id async for each in calls.list(limit=1)]
        found = await calls.retrieve(first.id)
        assert (first.choices, {"topic": "greeting"}) == (found.choices, found.metadata)
        assert {"temperature": 0.5, "seed": 7}.items() <= found.to_dict().items()
        found = await calls.retrieve(second.id)
        assert second.choices[0].message.content == found.choices[0].message.content
        messages = [each async for each in calls.messages.list(second.id)]
        assert [("user", "Bye")] == [(each.role, each.content) for each in messages]

        await calls.update(second.id, metadata={"topic": "farewell"})
        assert [second.id] == [
            each.id async for each in calls.list(metadata={"topic": "farewell"}, model="demo")
        ]
        assert (await calls.delete(first.id)).deleted
        with pytest.raises(openai.NotFoundError):
            await calls.retrieve(first.id)
        assert [second.id] == [each.id async for each in calls.list(after=first.id)]
