"""Stored completions, over HTTP and gRPC, behind one relay or two."""

from __future__ import annotations

from typing import Any

import aiohttp
import grpc
import openai
import pytest
from grpc import aio

from chatpb.v1 import (
    ChatCompletionUpdate,
    DeleteStoredChatCompletionRequest,
    GetStoredChatCompletionRequest,
    ListStoredChatCompletionMessagesRequest,
    ListStoredChatCompletionsRequest,
    SortOrder,
    UpdateStoredChatCompletionMetadataRequest,
)
from support.build import choice, completion
from support.http_edge import client, through
from support.limits import TIMEOUT
from support.memory_store import MemoryStore
from support.scripted import read_error
from support.stored import answered as stored
from support.stored_edge import ask, edge, refused, stub_of


@through
async def test_the_sdk_finds_changes_and_deletes(hops: int) -> None:
    three = [stored(f"c{n}", {"n": str(n)}) for n in range(3)]
    async with (
        edge(MemoryStore(), *three, hops=hops) as ports,
        client(f"http://127.0.0.1:{ports.http}/v1") as sdk,
    ):
        calls = sdk.chat.completions
        assert ["c0", "c1", "c2"] == [each.id async for each in calls.list(limit=1)]
        assert ["c2", "c1", "c0"] == [each.id async for each in calls.list(order="desc", limit=2)]
        assert ["c1"] == [each.id async for each in calls.list(metadata={"n": "1"})]
        assert [] == [each.id async for each in calls.list(model="no")]
        one = await calls.retrieve("c1")
        assert ("pong", {"n": "1"}) == (one.choices[0].message.content, one.metadata)
        changed = await calls.update("c1", metadata={"a b": "é"})
        assert {"a b": "é"} == changed.metadata == (await calls.retrieve("c1")).metadata
        assert ["c1"] == [each.id async for each in calls.list(metadata={"a b": "é"})]
        [message] = [each async for each in calls.messages.list("c1")]
        assert ("c1-0", "user", "ping") == (message.id, message.role, message.content)
        gone = await calls.delete("c1")
        assert ("c1", True, "chat.completion.deleted") == (gone.id, gone.deleted, gone.object)
        for method in (calls.retrieve, calls.delete):
            with pytest.raises(openai.NotFoundError, match="c1") as caught:
                await method("c1")
            assert "completion_not_found" == caught.value.code
        assert ["c2"] == [each.id async for each in calls.list(after="c1")]


@through
async def test_the_same_over_grpc(hops: int) -> None:
    async with (
        edge(MemoryStore(), stored("c0"), stored("c1", seed=7), hops=hops) as ports,
        stub_of(ports) as stub,
    ):
        listing = ListStoredChatCompletionsRequest(limit=1, order=SortOrder.SORT_ORDER_DESC)
        page = (await stub.ListStoredChatCompletions(listing, timeout=TIMEOUT)).completions
        assert (["c1"], True) == ([each.id for each in page.data], page.has_more)
        assert ("c1", "c1") == (page.first_id, page.last_id)
        get = GetStoredChatCompletionRequest(completion_id="c1")
        assert 7 == (await stub.GetStoredChatCompletion(get, timeout=TIMEOUT)).completion.seed
        change = UpdateStoredChatCompletionMetadataRequest(
            completion_id="c1", update=ChatCompletionUpdate(metadata={"k": "v"})
        )
        changed = await stub.UpdateStoredChatCompletionMetadata(change, timeout=TIMEOUT)
        assert {"k": "v"} == changed.completion.metadata
        change.ClearField("update")
        changed = await stub.UpdateStoredChatCompletionMetadata(change, timeout=TIMEOUT)
        assert {} == changed.completion.metadata
        messages = ListStoredChatCompletionMessagesRequest(completion_id="c1")
        listed = await stub.ListStoredChatCompletionMessages(messages, timeout=TIMEOUT)
        assert ["ping"] == [message.content for message in listed.messages.data]
        delete = DeleteStoredChatCompletionRequest(completion_id="c1")
        assert (await stub.DeleteStoredChatCompletion(delete, timeout=TIMEOUT)).deleted.deleted
        for name, request, param in (
            ("GetStoredChatCompletion", get, "completion_id"),
            ("DeleteStoredChatCompletion", delete, "completion_id"),
            ("UpdateStoredChatCompletionMetadata", change, "completion_id"),
            ("ListStoredChatCompletionMessages", messages, "completion_id"),
        ):
            with pytest.raises(aio.AioRpcError) as caught:
                await getattr(stub, name)(request, timeout=TIMEOUT)
            assert grpc.StatusCode.NOT_FOUND == caught.value.code()
            assert param == read_error(caught.value)["error"]["param"]
        wrong = ListStoredChatCompletionsRequest(order=9)  # type: ignore[arg-type] # the mistake
        with pytest.raises(aio.AioRpcError) as caught:
            await stub.ListStoredChatCompletions(wrong, timeout=TIMEOUT)
        assert "order" == read_error(caught.value)["error"]["param"]


async def test_the_same_in_the_connect_protocol() -> None:
    path = "/chatpb.v1.StoredChatCompletionService"
    asked = "?connect=v1&encoding=json&message=%7B%22completionId%22%3A%22c%22%7D"
    async with (
        edge(MemoryStore(), stored("c")) as ports,
        aiohttp.ClientSession(f"http://127.0.0.1:{ports.http}") as session,
    ):
        async with session.get(f"{path}/GetStoredChatCompletion{asked}") as response:
            assert "c" == (await response.json())["completion"]["id"]
        async with session.get(f"{path}/DeleteStoredChatCompletion{asked}") as response:
            assert 405 == response.status
        body = {"completionId": "no"}
        async with session.post(f"{path}/GetStoredChatCompletion", json=body) as response:
            assert (404, "not_found") == (response.status, (await response.json())["code"])


async def test_what_was_stored_comes_back_with_what_was_asked() -> None:
    """The answer's own members win, null too; nothing is lost, numbers keep their spelling."""
    answer: dict[str, Any] = {
        "temperature": None,
        "seed": 3,
        "x_vendor": [1.50, {"é": 10**30}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }
    tool = {"type": "function", "function": {"name": "f", "x": None}}
    request = {
        "temperature": 0.5,
        "seed": 9,
        "top_p": 1,
        "user": "u",
        "tools": [tool],
        "tool_choice": "auto",
        "response_format": {"type": "json_object"},
        "presence_penalty": None,
        "frequency_penalty": "much",
    }
    async with edge(MemoryStore(), stored("c", {"k": "v"}, request=request, **answer)) as ports:
        status, found = await ask(ports, "/c")
    assert 200 == status
    expected = completion(choice("pong"), id="c", **answer) | {
        "top_p": 1,
        "input_user": "u",
        "tools": [tool],
        "tool_choice": "auto",
        "response_format": {"type": "json_object"},
        "presence_penalty": None,
        "frequency_penalty": "much",
        "metadata": {"k": "v"},
        "request_id": "call-1",
    }
    assert expected == found


async def test_the_request_id_of_the_answer_stays() -> None:
    completions = stored("a", request_id="req_1"), stored("b", call_id=None)
    async with edge(MemoryStore(), *completions) as ports:
        assert "req_1" == (await ask(ports, "/a"))[1]["request_id"]
        _, found = await ask(ports, "/b")
    assert ("request_id" in found, {}) == (False, found["metadata"])


async def test_messages_lose_nothing() -> None:
    call = {"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    image = {"type": "image_url", "image_url": {"url": "data:,", "x": 1.50}, "y": None}
    asked: list[dict[str, Any]] = [
        {"role": "developer", "content": "é", "name": "n"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, image]},
        {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None},
        {"role": "tool", "content": [], "tool_call_id": "t", "reasoning": "r", "x": 10**30},
        {"role": "assistant", "audio": {"id": "a"}, "prefix": True, "content": 7},
    ]
    expected = [
        {"content": None, "name": None, "content_parts": None, **message, "id": f"c-{number}"}
        for number, message in enumerate(asked)
    ]
    for message in expected:
        if isinstance(message["content"], list):
            message["content_parts"], message["content"] = message["content"], None
    async with edge(MemoryStore(), stored("c", request={"messages": asked})) as ports:
        status, found = await ask(ports, "/c/messages")
        assert (200, expected) == (status, found["data"])
        assert ("c-0", "c-4", False) == (found["first_id"], found["last_id"], found["has_more"])
        _, page = await ask(ports, "/c/messages?order=desc&limit=2&after=c-4")
        assert ([expected[3], expected[2]], True) == (page["data"], page["has_more"])
        _, page = await ask(ports, "/c/messages?after=c-4")
        assert ([], None, None, False) == tuple(
            page[name] for name in ("data", "first_id", "last_id", "has_more")
        )
        for after in ("c-5", "c-01", "d-0", "c", ""):
            where = f"/c/messages?after={after}"
            assert (400, "invalid_value", "after") == await refused(ports, where)


#: Queries that are refused, with the code of the error and the parameter that it names.
WRONG: list[tuple[str, str | None, str | None]] = [
    ("?limit=-1", "integer_below_min_value", "limit"),
    ("?limit=-9", "integer_below_min_value", "limit"),
    ("?limit=101", "integer_above_max_value", "limit"),
    (f"?limit={10**19}", "integer_above_max_value", "limit"),
    ("?limit=ten", "invalid_type", "limit"),
    ("?limit=", "invalid_type", "limit"),
    ("?limit=1.0", "invalid_type", "limit"),
    ("?order=up", "invalid_value", "order"),
    ("?order=ASC", "invalid_value", "order"),
    ("?order=unspecified", "invalid_value", "order"),
    ("?after=no", "invalid_value", "after"),
    ("?after=%00", "invalid_value", "after"),
    ("?metadata[k]=%00", "invalid_value", "metadata"),
    ("/c/messages?limit=101", "integer_above_max_value", "limit"),
    ("/c/messages?order=up", "invalid_value", "order"),
    (f"?metadata[{'k' * 65}]=v", "property_name_above_max_length", "metadata"),
    (f"?metadata[k]={'v' * 513}", "string_above_max_length", "metadata"),
    ("?" + "&".join(f"metadata[{n}]=" for n in range(17)), None, "metadata"),
    ("?" + "a&" * 101, None, None),
]


async def test_parameters_are_checked() -> None:
    async with edge(MemoryStore(), stored("c")) as ports:
        for path, code, param in WRONG:
            status, found_code, found_param = await refused(ports, path)
            assert (400, param) == (status, found_param)
            assert code in (None, found_code)


async def test_parameters_that_are_not_known_or_repeated() -> None:
    async with edge(MemoryStore(), stored("a"), stored("b", {"k[x]": ""})) as ports:
        for path, ids in (
            ("?limit=9&limit=1&x=1&api-version=2", ["a"]),
            ("?metadata=1&metadata[k&order[x]=1", ["a", "b"]),
            ("?metadata[k[x]]=", ["b"]),
            ("/", ["a", "b"]),
            ("?limit=0", ["a", "b"]),
        ):
            status, page = await ask(ports, path)
            assert (200, ids) == (status, [each["id"] for each in page["data"]])


METADATA: list[tuple[Any, int]] = [
    (None, 200),
    ({}, 200),
    ({f"{n:064}": "\U0001f600" * 512 for n in range(16)}, 200),
    ({str(n): "" for n in range(17)}, 400),
    ({"k" * 65: ""}, 400),
    ({"k": "é" * 513}, 400),
    ({"k": "\0"}, 400),
    ({"k": "\ud800"}, 400),
    ({"\udfff": "v"}, 400),
    ({"k": 1}, 400),
    ({"k": None}, 400),
    (["k"], 400),
    ("k", 400),
]


async def test_metadata_has_limits() -> None:
    async with edge(MemoryStore(), stored("c", {"old": "1"})) as ports:
        for metadata, status in METADATA:
            await ask(ports, "/c", method="POST", json={"metadata": {"old": "1"}})
            found, answer = await ask(ports, "/c", method="POST", json={"metadata": metadata})
            _, now = await ask(ports, "/c")
            assert status == found
            if status == 200:
                assert (metadata or {}) == answer["metadata"] == now["metadata"]
            else:
                assert "metadata" == answer["error"]["param"]
                assert {"old": "1"} == now["metadata"]


async def test_bodies_that_are_not_an_update() -> None:
    async with edge(MemoryStore(), stored("c")) as ports:

        async def post(body: bytes) -> int:
            return (await ask(ports, "/c", method="POST", data=body))[0]

        missing = "missing_required_parameter", "metadata"
        for body in (b"{}", b'{"x": 1}', b""):
            assert (400, *missing) == await refused(ports, "/c", method="POST", data=body)
        for body in (b"[]", b"{", b'{"metadata": {"\xff": ""}}'):
            assert 400 == await post(body)
        assert 413 == await post(b" " * (256 * 1024) + b'{"metadata": null}')
        assert 200 == await post(b'{"metadata": null}')


async def test_paths_and_methods() -> None:
    odd = "a/b c%2F?"
    path = "/a%2Fb%20c%252F%3F"
    async with edge(MemoryStore(), stored(odd)) as ports:
        for root in ("/v1", "", "/openai/v1", "/openai"):
            assert odd == (await ask(ports, f"{path}/", root=root))[1]["id"]
            assert 200 == (await ask(ports, f"{path}/messages?api-version=1", root=root))[0]
            assert 200 == (await ask(ports, root=root))[0]
        for method in ("HEAD", "PUT", "PATCH"):
            for tail in ("", path, f"{path}/messages"):
                assert 405 == (await ask(ports, tail, method=method))[0]
        for method, tail in (("DELETE", ""), ("POST", f"{path}/messages")):
            refusal = await refused(ports, tail, method=method)
            assert (405, "method_not_supported", None) == refusal
        unknown = 404, "completion_not_found", "completion_id"
        for tail in ("/%00", "/" + "a" * 513, "/a%00/messages", "/%ff"):
            assert unknown == await refused(ports, tail)
        for tail in ("/a/b", "/a/messages/b", "//messages", "x"):
            assert 404 == (await ask(ports, tail))[0]
        deployment = await refused(ports, "", root="/openai/deployments/m")
        assert (405, "method_not_supported", None) == deployment


async def test_messages_with_identifiers_of_their_own_keep_them() -> None:
    given = ["x", "x", None, "c-0", 7, "\ud800"]
    asked = [{"role": "user", "content": "a", "id": each} for each in given]
    async with edge(MemoryStore(), stored("c", request={"messages": asked})) as ports:
        _, page = await ask(ports, "/c/messages")
        assert ["x", "c-1", "c-2", "c-3", "c-4", "c-5"] == [each["id"] for each in page["data"]]
        _, page = await ask(ports, "/c/messages?after=x&limit=1")
        assert ["c-1"] == [each["id"] for each in page["data"]]


async def test_pages_of_any_length() -> None:
    store = MemoryStore()
    async with edge(store, *(stored(f"c{n}") for n in range(30))) as ports:
        for limit, has_more in ((1, True), (4, True), (5, True), (29, True), (30, False)):
            _, page = await ask(ports, f"?limit={limit}")
            assert [f"c{n}" for n in range(limit)] == [each["id"] for each in page["data"]]
            assert (f"c{limit - 1}", has_more) == (page["last_id"], page["has_more"])
        began = store.began
        _, page = await ask(ports, "?limit=100&order=desc&after=c29")
        assert (29, 2) == (len(page["data"]), store.began - began)


async def test_a_page_ends_before_it_is_too_large_for_a_client() -> None:
    """Clients of gRPC take 4 MiB by default."""
    large = [stored(f"c{n}", x="x" * 1_500_000) for n in range(4)]
    parts = [{"role": "user", "content": "y" * 1_500_000} for _ in range(4)]
    many = stored("m", request={"messages": parts})
    async with edge(MemoryStore(), *large, many) as ports, stub_of(ports) as stub:
        request = ListStoredChatCompletionsRequest()
        page = (await stub.ListStoredChatCompletions(request, timeout=TIMEOUT)).completions
        assert (["c0", "c1"], "c1", True) == (
            [each.id for each in page.data],
            page.last_id,
            page.has_more,
        )
        messages = ListStoredChatCompletionMessagesRequest(completion_id="m", after="m-1")
        listed = (await stub.ListStoredChatCompletionMessages(messages, timeout=TIMEOUT)).messages
        assert (["m-2", "m-3"], False) == ([each.id for each in listed.data], listed.has_more)
