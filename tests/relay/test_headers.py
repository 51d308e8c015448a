"""Headers and queries that go on to the upstream and come back, behind one relay or two."""

from __future__ import annotations

import re
import shlex
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from opentelemetry.sdk.trace import TracerProvider
from yarl import URL

from chatpb.client import AsyncClient, ChatCompletionError
from chatpb.v1 import ChatCompletionRequest, ListModelsRequest
from chatpb.v1.chat_completion_service_pb2_grpc import ChatCompletionServiceStub
from chatpb.v1.model_service_pb2_grpc import ModelServiceStub
from chatpb_server.core.headers import PASSED_BACK, PASSED_ON, PassedOn, matcher
from chatpb_server.running import cli
from chatpb_server.running.serving import Options, Ports, serving, serving_all
from chatpb_server.upstreams.http import HttpUpstream as Http
from chatpb_server.upstreams.relay import GrpcUpstream
from chatpb_server.upstreams.remote import RemoteSettings
from chatpb_server.upstreams.router import Route, Router
from chatpb_server.watching.spans import SpanObserver
from support.build import PING, create_request
from support.http_edge import post, through
from support.http_upstream import HttpUpstream, json_answer
from support.limits import within
from support.model_server import ModelServer, model_server
from support.relay_process import running
from support.sdk import Sdk, grpc_transport

PAGE = Path(__file__).parents[2] / "docs/headers.md"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
GOES = {
    "openai-organization": "org",
    "openai-project": "proj",
    "openai-beta": "assistants=v2",
    "idempotency-key": "idem",
    "x-client-request-id": "mine",
    "traceparent": PARENT,
    "tracestate": "v=1",
    "baggage": "user=alice",
    "x-title": "App",
    "http-referer": "https://app.test",
}
STAYS = {
    "cookie": "secret=1",
    "openai-other": "x",
    "x-other": "x",
    "x-api-key": "secret",
    "te": "trailers",
    "chatpb-http-query": "a=b",
}
COMES = {
    "x-request-id": "req_1",
    "x-ratelimit-remaining-requests": "9",
    "openai-processing-ms": "12",
    "retry-after": "3",
    "retry-after-ms": "3000",
    "x-litellm-model-id": "abc",
    "x-should-retry": "false",
}
LEFT = {"set-cookie": "secret=1", "x-powered-by": "x", "keep-alive": "timeout=5"}


@asynccontextmanager
async def relayed(
    url: str,
    hops: int,
    settings: RemoteSettings | None = None,
    options: Mapping[str, Any] | None = None,
) -> AsyncIterator[Ports]:
    """A relay; with two hops, an edge before it with the same options."""
    how = dict(options or {})
    async with AsyncExitStack() as stack:
        router = Router([Route("a", Http(url, settings))])
        if hops == 2:
            core = await stack.enter_async_context(serving(router, options=Options(**how)))
            takes = RemoteSettings(takes_authorization=True)
            router = Router([Route("core", GrpcUpstream(f"grpc://127.0.0.1:{core}", takes))])
        own = Options(**{**how, "http": "127.0.0.1:0"})
        yield await stack.enter_async_context(serving_all(router, options=own))


def base(ports: Ports) -> str:
    return f"http://127.0.0.1:{ports.http}/v1"


def last(server: ModelServer) -> dict[str, str]:
    return {name.lower(): value for name, value in server.chats[-1].headers.items()}


def test_the_page_has_what_is_declared() -> None:
    """Both tables, in their order."""
    rows = re.findall(r"^\| `([^`]+)` \| (.+) \|$", PAGE.read_text(), re.MULTILINE)
    assert [*PASSED_ON.items(), *PASSED_BACK.items()] == rows


@through
async def test_headers_go_on_and_come_back(hops: int) -> None:
    async with model_server() as server, relayed(server.url, hops) as ports:
        server.headers = {**COMES, **LEFT}
        status, headers, _ = await post(base(ports), headers={**GOES, **STAYS})
    assert 200 == status
    sent = last(server)
    assert GOES == {name: sent[name] for name in GOES}
    assert not STAYS.keys() & sent.keys()
    assert COMES == {name: headers[name] for name in COMES}
    assert not LEFT.keys() & {name.lower() for name in headers}


@through
async def test_the_same_over_grpc(hops: int) -> None:
    async with (
        model_server() as server,
        relayed(server.url, hops) as ports,
        AsyncClient(f"127.0.0.1:{ports.grpc}") as client,
    ):
        server.headers = {**COMES, **LEFT}
        metadata = (*GOES.items(), *STAYS.items())
        metadata = tuple(pair for pair in metadata if pair[0] != "te")  # gRPC has its own
        _, trailers = await client.create_with_metadata(PING, metadata=metadata)
        with pytest.raises(ChatCompletionError):
            await client.get_model("no", metadata=metadata)
    sent = last(server)
    assert GOES == {name: sent[name] for name in GOES}
    assert not (STAYS.keys() - {"te"}) & sent.keys()
    assert COMES == {name: trailers[name] for name in COMES}
    assert not LEFT.keys() & trailers.keys()


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
async def test_the_same_through_the_transport(is_async: bool) -> None:
    async with (
        model_server() as server,
        relayed(server.url, 2) as ports,
        Sdk(
            is_async,
            grpc_transport(is_async, f"127.0.0.1:{ports.grpc}"),
            organization="org",
            project="proj",
            default_headers=GOES | {"cookie": "secret=1"},
            default_query={"api-version": "1 2"},
        ) as sdk,
    ):
        server.headers = COMES
        answer = await sdk.run(lambda c: c.chat.completions.with_raw_response.create(**PING))
    sent = last(server)
    assert GOES == {name: sent[name] for name in GOES}
    assert "cookie" not in sent
    assert "/v1/chat/completions?api-version=1+2" == server.chats[0].path_qs
    assert COMES == {name: answer.headers[name] for name in COMES}


@through
async def test_settings_add_and_take_out(hops: int) -> None:
    options = {
        "passed_on": ("x-tenant", "x-team-*", "-baggage"),
        "headers": (*PASSED_BACK, "x-powered-by", "-cf-ray"),
    }
    asked = {"x-tenant": "t", "x-team-a": "a", "baggage": "b", "x-title": "c", "x-teams": "d"}
    async with model_server() as server, relayed(server.url, hops, options=options) as ports:
        server.headers = {"x-powered-by": "p", "cf-ray": "c", "x-request-id": "r"}
        _, headers, _ = await post(base(ports), headers=asked)
    expected = {"x-tenant": "t", "x-team-a": "a", "x-title": "c"}
    assert expected == {name: value for name, value in last(server).items() if name in asked}
    assert ("p", "r") == (headers["x-powered-by"], headers["x-request-id"])
    assert "cf-ray" not in headers


async def test_flags_add_to_the_defaults_and_take_out() -> None:
    flags = ("--pass", "X-A", "--pass=-baggage", "--pass-back", "X-B", "--pass-back=-cf-ray")
    asked = {"x-a": "1", "baggage": "2", "x-title": "3"}
    async with (
        model_server("m") as server,
        running("--upstream", server.url, *flags) as (_, channel),
    ):
        server.headers = {"x-b": "4", "cf-ray": "5", "openai-model": "6"}
        stub: Any = ChatCompletionServiceStub(channel)
        call = stub.CreateChatCompletion(create_request(), metadata=tuple(asked.items()))
        await within(call)
        trailers = dict(await call.trailing_metadata())
        models: Any = ModelServiceStub(channel)
        listed = await within(models.ListModels(ListModelsRequest()))
    assert ["m"] == [model.id for model in listed.models.data]
    sent = last(server)
    assert ("1", "3", False) == (sent["x-a"], sent["x-title"], "baggage" in sent)
    assert ("4", "6", False) == (trailers["x-b"], trailers["openai-model"], "cf-ray" in trailers)


@through
async def test_with_the_callers_authorization_all_of_openai_goes_on(hops: int) -> None:
    settings = RemoteSettings(takes_authorization=True)
    options = {"passed_on": ("authorization", "openai-*")}
    asked = {"authorization": "Bearer k", "openai-other": "x", "openai-project": "p"}
    async with model_server() as server, relayed(server.url, hops, settings, options) as ports:
        assert 200 == (await post(base(ports), headers=asked))[0]
    assert asked == {name: last(server)[name] for name in asked}


@through
async def test_what_is_configured_wins(hops: int) -> None:
    settings = RemoteSettings(
        headers=lambda: {"OpenAI-Project": "ours"}, query={"api-version": "1"}
    )
    async with model_server() as server, relayed(server.url + "?z=%20", hops, settings) as ports:
        url = f"{base(ports)}/chat/completions?api-version=2&z=3&b=%2F&b=%zz&c"
        async with aiohttp.ClientSession() as session:
            headers = {"openai-project": "theirs"}
            where = URL(url, encoded=True)
            async with session.post(where, json=PING, headers=headers) as response:
                assert 200 == response.status
    assert "ours" == last(server)["openai-project"]
    assert "/v1/chat/completions?z=+&api-version=1&b=%2F&b=%zz&c" == server.chats[0].path_qs


@pytest.mark.parametrize("query", ["a=b#c", "a b", "a=" + "b" * 8192])
async def test_a_query_that_cannot_be_a_part_of_a_url(query: str) -> None:
    metadata = (("chatpb-http-query", query),)
    async with (
        model_server() as server,
        relayed(server.url, 1) as ports,
        AsyncClient(f"127.0.0.1:{ports.grpc}") as client,
    ):
        with pytest.raises(ChatCompletionError) as caught:
            await client.create(ChatCompletionRequest(model="m"), metadata=metadata)
    assert "The query of the URL cannot be passed on." == caught.value.message
    assert [] == server.chats


async def test_the_relays_own_span_is_the_parent_if_it_makes_traces() -> None:
    observer = SpanObserver(TracerProvider(shutdown_on_exit=False))
    asked = {"traceparent": PARENT, "tracestate": "v=1", "baggage": "a=b"}
    async with (
        model_server() as server,
        relayed(server.url, 1, options={"observer": observer}) as ports,
    ):
        await post(base(ports), headers=asked)
        version, trace, span, _ = last(server)["traceparent"].split("-")
        assert PARENT.split("-")[:2] == [version, trace]
        assert PARENT.split("-")[2] != span
        assert ("v=1", "a=b") == (last(server)["tracestate"], last(server)["baggage"])
        # The state belongs to a span that nobody can read.
        await post(base(ports), headers={**asked, "traceparent": "00-no"})
        assert "tracestate" not in last(server)


@through
async def test_what_nobody_asked_for_never_fails_a_call(hops: int) -> None:
    """Of the default headers, those that cannot be sent are left out."""
    asked = {"x-title": "Café", "baggage": "a=" + "b" * 7000, "http-referer": "c" * 7000}
    async with model_server() as server, relayed(server.url, hops) as ports:
        assert 200 == (await post(base(ports), headers=asked))[0]
    sent = last(server)
    assert "x-title" not in sent
    assert (7002, False) == (len(sent["baggage"]), "http-referer" in sent)


def test_secrets_have_to_be_named() -> None:
    headers = {"authorization": "a", "api-key": "b", "x-api-key": "c", "x-a": "d"}
    assert {"x-a": "d"} == PassedOn(("a*", "x-*")).of(headers)
    assert {"api-key": "b"} == PassedOn(("api-key",)).of(headers)


@pytest.mark.parametrize(
    "name",
    ["set-cookie", "cookie", "content-type", "connection", "te", "grpc-a", "a-bin", "upgrade"],
)
def test_no_pattern_means_what_never_passes(name: str) -> None:
    assert not matcher((name, name[0] + "*"))(name)


async def test_without_a_name_of_the_caller_the_upstream_gets_the_relays_own() -> None:
    async with HttpUpstream() as upstream, relayed(upstream.url, 1) as ports:
        await upstream.answer(json_answer({"choices": []}))
        _, headers, _ = await post(base(ports))
        assert (
            headers["x-request-id"]
            == (await upstream.next_request()).headers["x-client-request-id"]
        )


@through
async def test_several_values_are_one_list_where_they_mean_one(hops: int) -> None:
    asked = (("baggage", "a=1"), ("baggage", "b=2"), ("x-title", "A"), ("x-title", "B"))
    async with (
        model_server() as server,
        relayed(server.url, hops) as ports,
        aiohttp.ClientSession() as session,
        session.post(f"{base(ports)}/chat/completions", json=PING, headers=asked) as response,
    ):
        assert 200 == response.status
    assert ("a=1,b=2", "B") == (last(server)["baggage"], last(server)["x-title"])


def test_commands_of_the_page_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    commands = re.findall(r"^    chatpb-server (.*)$", PAGE.read_text(), re.MULTILINE)
    assert [0] == [cli.run(["--check-config", *shlex.split(command)]) for command in commands]
