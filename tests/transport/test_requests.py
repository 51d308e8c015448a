"""OpenAI's SDK over gRPC: what is sent."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import httpx2
import openai
import pytest
import trustme

from chatpb.transport import AsyncGrpcTransport, GrpcTransport
from chatpb_server.upstreams.remote import RemoteSettings
from support.build import PING, choice, chunk, completion
from support.certificates import channel_credentials, server_credentials
from support.grpc_stub import served
from support.http_upstream import HttpUpstream, event, json_answer
from support.sdk import Sdk, grpc_transport, relay


async def test_headers_become_metadata(is_async: bool) -> None:
    headers = {
        "X-Tenant": "a b",
        "traceparent": "00-1",
        "x-raw-bin": "AA==",
        "grpc-timeout": "1n",
        "x-stainless-lang": "python",
    }
    async with served() as stub:
        transport = grpc_transport(is_async, stub.target)
        async with Sdk(is_async, transport, organization="org", project="p") as sdk:
            await sdk.create(extra_headers=headers)
    [metadata] = stub.metadata
    assert metadata.pop("user-agent").startswith("grpc-python")
    expected = {
        "authorization": "Bearer key",
        "openai-organization": "org",
        "openai-project": "p",
        "traceparent": "00-1",
        "x-tenant": "a b",
    }
    assert expected == metadata


async def test_a_token_and_metadata_take_the_place_of_headers(is_async: bool) -> None:
    async with served() as stub:
        options: dict[str, Any] = {"token": "t", "metadata": [("X-Tenant", "mine")]}
        transport = grpc_transport(is_async, stub.target, **options)
        async with Sdk(is_async, transport) as sdk:
            await sdk.create(extra_headers={"x-tenant": "theirs", "x-other": "o"})
    [metadata] = stub.metadata
    named = {name: metadata[name] for name in ("authorization", "x-tenant", "x-other")}
    assert {"authorization": "Bearer t", "x-tenant": "mine", "x-other": "o"} == named


async def test_the_key_goes_on_to_an_upstream_that_takes_it(is_async: bool) -> None:
    settings = RemoteSettings(takes_authorization=True)
    async with (
        HttpUpstream() as upstream,
        relay(upstream.url, settings=settings, passed_on=("authorization",)) as address,
        Sdk(is_async, grpc_transport(is_async, address), api_key="mine") as sdk,
    ):
        await upstream.answer(json_answer(completion(choice("pong"))))
        await sdk.create()
    assert "Bearer mine" == upstream.requests[0].headers["authorization"]


async def test_secrets_do_not_leave_this_machine_in_the_clear(is_async: bool) -> None:
    with pytest.raises(ValueError, match=r"will not send the token to relay\.example:1"):
        grpc_transport(is_async, "relay.example:1", token="t")
    async with Sdk(is_async, grpc_transport(is_async, "relay.example:1")) as sdk:
        with pytest.raises(ValueError, match="will not send the header 'authorization'"):
            await sdk.create()


async def test_a_header_that_is_no_metadata() -> None:
    """The error names the header, but not its value."""
    url, headers = "http://x/v1/chat/completions", [(b"x-tenant", "é".encode())]
    async with (
        served() as stub,
        httpx2.AsyncClient(transport=AsyncGrpcTransport(stub.target)) as client,
    ):
        with pytest.raises(
            ValueError, match="printable ASCII as the value of 'x-tenant'"
        ) as caught:
            await client.post(url, json=PING, headers=headers)
    assert "é" not in str(caught.value)
    assert [] == stub.requests


async def test_tls(is_async: bool) -> None:
    authority = trustme.CA()
    trusting = channel_credentials(authority)
    async with served(server_credentials(authority)) as stub:
        transport = grpc_transport(is_async, stub.target, credentials=trusting, token="t")
        async with Sdk(is_async, transport) as sdk:
            assert "pong" == (await sdk.create()).choices[0].message.content
    assert "Bearer t" == stub.metadata[0]["authorization"]


@pytest.mark.parametrize("text", ["[]", "{", '{"x":NaN}', ""])
async def test_a_body_that_is_no_request(text: str) -> None:
    async with served() as stub:
        with httpx2.Client(transport=GrpcTransport(stub.target)) as client:
            answer = await asyncio.to_thread(
                client.post, "http://x/v1/chat/completions", content=text
            )
    assert 400 == answer.status_code
    assert "invalid_request_error" == answer.json()["error"]["type"]
    assert [] == stub.requests


@pytest.mark.parametrize(
    ("member", "is_stream"),
    [
        pytest.param('"stream":true', True, id="true"),
        pytest.param('"stream":false', False, id="false"),
        pytest.param('"stream":null', False, id="null"),
        pytest.param('"stream":1', False, id="number"),
        pytest.param('"stream":false,"stream":true', True, id="twice"),
    ],
)
async def test_what_asks_for_a_stream(member: str, is_stream: bool) -> None:
    body = '{"model":"m",' + member + "}"
    url = "http://x/openai/deployments/m/chat/completions?api-version=1"
    async with (
        served() as stub,
        httpx2.AsyncClient(transport=AsyncGrpcTransport(stub.target)) as client,
    ):
        answer = await client.post(url, content=body)
    kind = "text/event-stream; charset=utf-8" if is_stream else "application/json"
    assert (200, kind) == (answer.status_code, answer.headers["content-type"])
    assert [json.loads(body)] == stub.requests
    if is_stream:
        assert event(chunk("a")) + b"data: [DONE]\n\n" == normalized(answer.content)


def normalized(stream: bytes) -> bytes:
    """An event stream with its JSON written as the tests write it."""
    events = [part.removeprefix(b"data: ") for part in stream.split(b"\n\n") if part]
    return b"".join(event(part if part == b"[DONE]" else json.loads(part)) for part in events)


OTHERS: list[Any] = [
    pytest.param(lambda client: client.models.list(), "GET", "/models", id="models"),
    pytest.param(
        lambda client: client.embeddings.create(model="m", input="a", encoding_format="float"),
        "POST",
        "/embeddings",
        id="embeddings",
    ),
    pytest.param(
        lambda client: client.chat.completions.list(limit=2),
        "GET",
        "/chat/completions?limit=2",
        id="stored",
    ),
    pytest.param(
        lambda client: client.chat.completions.update("a/b", metadata={}),
        "POST",
        "/chat/completions/a%2Fb",
        id="update",
    ),
]


@pytest.mark.parametrize(("call", "method", "path"), OTHERS)
async def test_other_paths(is_async: bool, call: Any, method: str, path: str) -> None:
    async with served() as stub, Sdk(is_async, grpc_transport(is_async, stub.target)) as sdk:
        with pytest.raises(openai.NotFoundError) as caught:
            await sdk.run(call)
    assert f"not {method} /v1{path.partition('?')[0].replace('%2F', '/')}" in caught.value.message
    assert "invalid_request_error" == caught.value.type
    assert [] == stub.requests


@pytest.mark.parametrize("how", ["url", "transport"])
@pytest.mark.parametrize(("call", "method", "path"), OTHERS)
async def test_other_paths_go_to_a_fallback(
    is_async: bool, call: Any, method: str, path: str, how: str
) -> None:
    async with HttpUpstream() as upstream, served() as stub:
        fallback: Any = upstream.url.replace("/v1", "/base/v1")
        options: dict[str, Any] = {}
        if how == "transport":
            fallback = httpx2.AsyncHTTPTransport() if is_async else httpx2.HTTPTransport()
            options = {"base_url": upstream.url.replace("/v1", "/base/v1")}
        transport = grpc_transport(is_async, stub.target, token="t", fallback=fallback)
        async with Sdk(is_async, transport, **options) as sdk:
            await upstream.answer(json_answer({"object": "list", "data": []}))
            await sdk.run(call)
            assert "pong" == (await sdk.create()).choices[0].message.content
    [request] = upstream.requests
    assert (method, "/base/v1" + path) == (request.method, request.path)
    assert "Bearer key" == request.headers["authorization"]
    assert upstream.url.split("/")[2] == request.headers["host"]


def test_secrets_are_not_shown() -> None:
    with GrpcTransport("127.0.0.1:1", token="secret") as transport:
        assert "GrpcTransport('127.0.0.1:1')" == repr(transport)


def test_the_transport_needs_no_sdk() -> None:
    code = "import chatpb.transport, sys; assert 'openai' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
