"""What models there are: what the upstreams list, over HTTP and gRPC, behind one relay or two."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import grpc
import openai
import pytest
from grpc import aio

from chatpb import to_dict
from chatpb.v1 import GetModelRequest, ListModelsRequest
from chatpb.v1.model_service_pb2_grpc import ModelServiceStub
from chatpb_server.running.serving import Options, Ports, serving, serving_all
from chatpb_server.upstreams import catalog
from chatpb_server.upstreams.builtin.upstream import BuiltinUpstream
from chatpb_server.upstreams.catalog import ModelsTable
from chatpb_server.upstreams.http import HttpUpstream as Http
from chatpb_server.upstreams.relay import GrpcUpstream
from chatpb_server.upstreams.remote import RemoteSettings
from chatpb_server.upstreams.replay import ReplayUpstream
from chatpb_server.upstreams.router import Route, Router
from support.calls import OWN_CONNECTION
from support.grpc_stub import served
from support.http_edge import client, through
from support.limits import TIMEOUT, within
from support.model_server import OPENROUTER, VLLM, listing, model_server
from support.scripted import read_error

OPTIONS = Options(http="127.0.0.1:0", models=None)


@asynccontextmanager
async def edge(
    *routes: Route, hops: int = 1, options: Options = OPTIONS, models: ModelsTable | None = None
) -> AsyncIterator[Ports]:
    """A relay that lists what its routes list; with two hops, an edge before it."""
    async with AsyncExitStack() as stack:
        router = Router(routes, models=models)
        if hops == 2:
            core = await stack.enter_async_context(serving(router, options=Options(models=None)))
            router = Router([Route("core", GrpcUpstream(f"grpc://127.0.0.1:{core}"))])
        yield await stack.enter_async_context(serving_all(router, options=options))


def route(name: str, url: str, *models: str, **settings: Any) -> Route:
    return Route(name, Http(url, RemoteSettings(**settings)), models or ("*",))


async def get(ports: Ports, path: str = "/models", **headers: str) -> tuple[int, Any]:
    """The status and the JSON of an answer."""
    url = f"http://127.0.0.1:{ports.http}/v1{path}"
    timeout = aiohttp.ClientTimeout(TIMEOUT)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.get(url, headers=headers) as response,
    ):
        return response.status, await response.json()


async def names(ports: Ports) -> list[str]:
    _, listed = await get(ports)
    return [model["id"] for model in listed["data"]]


@through
async def test_what_the_upstream_lists_passes_as_it_is(hops: int) -> None:
    async with (
        model_server(VLLM, OPENROUTER) as server,
        edge(route("a", server.url), hops=hops) as ports,
        client(f"http://127.0.0.1:{ports.http}/v1") as sdk,
        client(server.url) as direct,
    ):
        assert (200, listing(VLLM, OPENROUTER)) == await get(ports)
        assert (200, OPENROUTER) == await get(ports, "/models/openai/gpt-4o:free")
        assert (200, OPENROUTER) == await get(ports, "/models/openai%2Fgpt-4o%3Afree")
        assert [m async for m in direct.models.list()] == [m async for m in sdk.models.list()]
        assert 8192 == (await sdk.models.retrieve("meta/llama")).to_dict()["max_model_len"]
        with pytest.raises(openai.NotFoundError) as caught:
            await sdk.models.retrieve("no")
        assert "model_not_found" == caught.value.code


@through
async def test_the_same_over_grpc(hops: int) -> None:
    async with (
        model_server(VLLM, OPENROUTER) as server,
        edge(route("a", server.url), hops=hops) as ports,
        aio.insecure_channel(f"127.0.0.1:{ports.grpc}", OWN_CONNECTION) as channel,
    ):
        stub: Any = ModelServiceStub(channel)
        listed = (await stub.ListModels(ListModelsRequest(), timeout=TIMEOUT)).models
        assert listing(VLLM, OPENROUTER) == to_dict(listed)
        one = await stub.GetModel(GetModelRequest(model="meta/llama"), timeout=TIMEOUT)
        assert (VLLM, 8192) == (to_dict(one.model), one.model.max_model_len)
        for name, code in (("no", "NOT_FOUND"), ("", "INVALID_ARGUMENT")):
            with pytest.raises(aio.AioRpcError) as caught:
                await stub.GetModel(GetModelRequest(model=name), timeout=TIMEOUT)
            assert code == caught.value.code().name
            assert "model" == read_error(caught.value)["error"]["param"]


async def test_the_same_in_the_connect_protocol() -> None:
    """The rpcs have no side effects, so they can be asked with GET."""
    path = "/chatpb.v1.ModelService"
    asked = "?connect=v1&encoding=json&message="
    async with (
        model_server(VLLM) as server,
        edge(route("a", server.url)) as ports,
        aiohttp.ClientSession(f"http://127.0.0.1:{ports.http}") as session,
    ):
        async with session.get(f"{path}/ListModels{asked}%7B%7D") as response:
            [model] = (await response.json())["models"]["data"]
        assert ("meta/llama", "8192") == (model["id"], model["maxModelLen"])
        body = {"model": "meta/llama"}
        async with session.post(f"{path}/GetModel", json=body) as response:
            assert model == (await response.json())["model"]
        async with session.post(f"{path}/GetModel", json={"model": "no"}) as response:
            assert (404, "not_found") == (response.status, (await response.json())["code"])
    assert "/v1/models" == server.asked[0].path_qs


async def test_the_union_is_in_the_order_of_the_routes() -> None:
    """Each route lists what its patterns allow, and what it names even if it is not asked."""
    async with (
        model_server("gpt-4o", "o3", "gpt-5", "x") as one,
        model_server("llama", "gpt-5", "x") as two,
        edge(
            route("one", one.url, "gpt-*", "mine"),
            route("named", "http://127.0.0.1:1/v1", "qwen", "x"),
            route("two", two.url),
        ) as ports,
    ):
        _, listed = await get(ports)
        assert ["gpt-4o", "gpt-5", "mine", "qwen", "x", "llama"] == [
            model["id"] for model in listed["data"]
        ]
        owners = [model["owned_by"] for model in listed["data"]]
        assert ["o", "o", "one", "named", "named", "o"] == owners
        assert (200, listed["data"][3]) == await get(ports, "/models/qwen")
        assert 404 == (await get(ports, "/models/o3"))[0]


async def test_questions_are_kept_for_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    late = 0.0
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + late)
    monkeypatch.setattr("chatpb_server.upstreams.catalog.time", clock)
    async with (
        model_server("a") as server,
        edge(route("a", server.url), models=ModelsTable(ttl=TIMEOUT)) as ports,
    ):
        assert ["a"] == await names(ports)
        server.value = listing("a", "b")
        assert (["a"], 1) == (await names(ports), len(server.asked))
        late = TIMEOUT
        assert (["a", "b"], 2) == (await names(ports), len(server.asked))


async def test_a_failure_is_not_kept() -> None:
    async with model_server("a") as server, edge(route("a", server.url)) as ports:
        server.status, server.value = 503, {"error": {"message": "busy", "type": "t"}}
        assert (503, server.value) == await get(ports)
        server.status, server.value = 200, listing("a")
        assert ["a"] == await names(ports)


async def test_callers_share_a_question_that_ends_with_the_last_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wait, waiting = catalog._Shared.wait, asyncio.Semaphore(0)

    async def waits(shared: Any) -> Any:
        waiting.release()
        return await wait(shared)

    monkeypatch.setattr(catalog._Shared, "wait", waits)
    async with (
        model_server("a") as server,
        edge(route("a", server.url), models=ModelsTable(ttl=0)) as ports,
    ):
        server.hold.clear()
        callers = [asyncio.ensure_future(names(ports)) for _ in range(5)]
        await within(server.came.wait())
        for _ in callers:
            await within(waiting.acquire())
        callers.pop().cancel()
        server.hold.set()
        assert [["a"]] * 4 == await within(asyncio.gather(*callers))
        assert 1 == len(server.asked)
        server.hold.clear()
        server.came.clear()
        left = asyncio.ensure_future(names(ports))
        await within(server.came.wait())
        left.cancel()
        await within(server.leaves.wait())
        server.hold.set()
        assert ["a"] == await names(ports)


@through
async def test_each_caller_gets_its_own_list(hops: int) -> None:
    """With the callers' own authorization, and for each of their organizations."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(model_server("a"))
        mine = RemoteSettings(takes_authorization=True)
        options = Options(models=None, passed_on=("authorization", "openai-*"))
        router = Router([Route("a", Http(server.url, mine))])
        if hops == 2:
            core = await stack.enter_async_context(serving(router, options=options))
            router = Router([Route("core", GrpcUpstream(f"grpc://127.0.0.1:{core}", mine))])
        own = Options(http="127.0.0.1:0", models=None, passed_on=options.passed_on)
        ports = await stack.enter_async_context(serving_all(router, options=own))
        for key, organization in (("a", "x"), ("b", "x"), ("a", "y"), ("a", "x")):
            headers = {"openai-organization": organization, "x-client-request-id": str(id(key))}
            assert 200 == (await get(ports, authorization=f"Bearer {key}", **headers))[0]
        told = [
            (request.headers["authorization"], request.headers["openai-organization"])
            for request in server.asked
        ]
    assert [("Bearer a", "x"), ("Bearer b", "x"), ("Bearer a", "y")] == told


async def test_one_that_fails_does_not_hide_the_others(caplog: pytest.LogCaptureFixture) -> None:
    async with (
        model_server("a") as good,
        model_server() as bad,
        edge(route("bad", bad.url), route("good", good.url)) as ports,
    ):
        bad.status, bad.value = 401, {"error": {"message": "no key", "type": "t"}}
        assert ["a"] == await names(ports)
        assert ["a"] == await names(ports)
        assert (200, "a") == ((found := await get(ports, "/models/a"))[0], found[1]["id"])
        # Nobody knows whether this one exists.
        assert (401, bad.value) == await get(ports, "/models/b")
    [said] = [record.getMessage() for record in caplog.records if "list its models" in record.msg]
    text = "upstream bad does not list its models: the upstream answered with HTTP status 401"
    assert text == said


async def test_if_all_fail_the_error_names_them() -> None:
    async with (
        model_server() as one,
        edge(route("one", one.url), route("two", "http://127.0.0.1:1/v1", "gpt-*")) as ports,
    ):
        one.status, one.value = 404, b"<html>no</html>"
        status, answer = await get(ports)
    assert 502 == status
    assert (
        "No upstream lists its models: one: the upstream answered with HTTP status 404;"
        " two: no connection."
    ) == answer["error"]["message"]


UNREADABLE: list[Any] = [
    pytest.param(b"[", id="cut"),
    pytest.param(b'{"object":"list"}', id="no data"),
    pytest.param(b'{"data":null}', id="null"),
    pytest.param(b'{"data":["a"]}', id="names"),
    pytest.param(b"<html>", id="page"),
    pytest.param(b"", id="nothing"),
    pytest.param(b'{"data":[' + b" " * 5_000_000 + b"]}", id="too many bytes"),
    pytest.param(listing(*map(str, range(10_001))), id="too many models"),
]


@pytest.mark.parametrize("value", UNREADABLE)
async def test_what_is_not_a_list_of_models(value: Any) -> None:
    async with model_server() as server, edge(route("a", server.url)) as ports:
        server.value = value
        status, answer = await get(ports)
    assert 502 == status
    assert "The upstream's answer could not be read" in answer["error"]["message"]


async def test_an_error_in_place_of_a_list() -> None:
    async with model_server() as server, edge(route("a", server.url)) as ports:
        server.value = {"error": {"message": "no", "type": "invalid_request_error"}}
        assert (400, server.value) == await get(ports)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b'[{"id":"a"}]', id="an array alone"),
        pytest.param(b'{"models":[{"name":"a"}],"data":[{"id":"a"}]}', id="other members"),
        pytest.param(b'\n{"data":[{"id":"a"},{"id":"a"},{"id":""},{},{"id":1}]}', id="nameless"),
    ],
)
async def test_forms_of_lists(text: bytes) -> None:
    async with model_server() as server, edge(route("a", server.url)) as ports:
        server.value = text
        assert (200, {"object": "list", "data": [{"id": "a"}]}) == await get(ports)


async def test_a_silent_upstream_is_not_waited_for() -> None:
    async with (
        model_server() as server,
        edge(route("a", server.url), models=ModelsTable(timeout=1)) as ports,
    ):
        server.hold.clear()
        began = time.monotonic()
        assert 503 == (await get(ports))[0]
        assert time.monotonic() - began < TIMEOUT / 2
        assert 0 < int(server.asked[0].headers["x-request-timeout-ms"]) <= 1000
        await within(server.leaves.wait())


async def test_a_model_of_one_route_does_not_wait_for_the_next() -> None:
    """The routes are looked at in their order."""
    async with (
        model_server("a") as first,
        model_server("a", "b") as second,
        edge(
            *(route("1", first.url), route("2", second.url)),
            models=ModelsTable(timeout=2 * TIMEOUT),
        ) as ports,
    ):
        second.hold.clear()
        status, model = await within(get(ports, "/models/a"))
        assert (200, "a") == (status, model["id"])
        second.hold.set()


async def test_the_key_and_the_query_go_with_the_question() -> None:
    how: dict[str, Any] = {"headers": lambda: {"api-key": "s"}, "query": {"api-version": "1"}}
    async with model_server("a") as server, edge(route("a", server.url, **how)) as ports:
        own = {"baggage": "a=b", "traceparent": "00-1", "idempotency-key": "k"}
        assert 200 == (await get(ports, "/models?api-version=2&x=%20y", **own))[0]
    [asked] = server.asked
    assert not own.keys() & {name.lower() for name in asked.headers}  # callers share it
    assert ("s", "/v1/models?api-version=1&x=%20y") == (asked.headers["api-key"], asked.path_qs)


@through
async def test_builtin_and_recordings(hops: int, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"model": "m-1", "created": 7, "choices": []}')
    (tmp_path / "b.sse").write_text('data: {"model":""}\n\ndata: {"model":"m-2"}\n\n')
    (tmp_path / "c.json").write_text('{"error": {"message": "no"}}')
    routes = (Route("b", BuiltinUpstream()), Route("r", ReplayUpstream(tmp_path)))
    async with edge(*routes, hops=hops) as ports:
        _, listed = await get(ports)
    assert [("builtin", "chatpb"), ("m-1", "replay"), ("m-2", "replay")] == [
        (model["id"], model["owned_by"]) for model in listed["data"]
    ]
    assert 7 == listed["data"][1]["created"]


async def test_a_core_that_is_too_old_lists_nothing() -> None:
    async with (
        served() as old,
        model_server("a") as server,
        edge(Route("old", GrpcUpstream(f"grpc://{old.target}")), route("new", server.url)) as ports,
    ):
        assert ["a"] == await names(ports)
        async with edge(Route("old", GrpcUpstream(f"grpc://{old.target}"))) as alone:
            assert (200, {"object": "list", "data": []}) == await get(alone)


async def test_the_guard_admits_as_for_other_calls() -> None:
    def refuse(*_: object) -> str:
        from chatpb_server.core.explain import AuthenticationError

        raise AuthenticationError("who?")

    options = Options(http="127.0.0.1:0", models=None, authenticate=refuse)
    async with (
        model_server("a") as server,
        edge(route("a", server.url), options=options) as ports,
        aio.insecure_channel(f"127.0.0.1:{ports.grpc}", OWN_CONNECTION) as channel,
    ):
        assert 401 == (await get(ports))[0]
        assert 401 == (await get(ports, "/models/a"))[0]
        stub: Any = ModelServiceStub(channel)
        for call in (stub.ListModels(ListModelsRequest()), stub.GetModel(GetModelRequest())):
            assert grpc.StatusCode.UNAUTHENTICATED == await within(call.code())
    assert [] == server.asked
