"""Hostile and mistaken HTTP requests, and the paths other than chat completions."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import aiohttp
import openai
import pytest

from chatpb._rpc.offload import LARGE
from chatpb_server.core.explain import AuthenticationError
from chatpb_server.core.limits import Limits
from chatpb_server.running.serving import Options
from relay.test_http_edge_sdk import UNARY
from support.build import PING
from support.http_edge import base_url, client, post, serve
from support.http_upstream import WAIT, HttpUpstream, raw
from support.limits import within

BAD: list[Any] = [
    pytest.param(b"", id="nothing"),
    pytest.param(b"{", id="cut"),
    pytest.param(b"[]", id="no object"),
    pytest.param(b"\xff", id="no text"),
    pytest.param(b"[" * 100_000, id="deep"),
    pytest.param(b'{"model":"' + b"x" * LARGE, id="large"),
]


@pytest.mark.parametrize("body", BAD)
async def test_what_is_no_json_is_refused(body: bytes) -> None:
    async with HttpUpstream() as upstream, base_url(upstream.url, 1) as url:
        status, _, value = await post(url, body)
    assert (400, "invalid_request_error") == (status, value["error"]["type"])
    assert value["error"]["message"].startswith("We could not parse the JSON body")
    assert [] == upstream.requests


@pytest.mark.parametrize("size", [0, LARGE])
async def test_what_has_two_models_is_refused(size: int) -> None:
    body = b'{"model":"a","model":"b","user":"' + b"x" * size + b'"}'
    async with HttpUpstream() as upstream, base_url(upstream.url, 1) as url:
        status, _, value = await post(url, body)
    expected = "The request has the member 'model' more than once."
    assert (400, expected, "model") == (status, value["error"]["message"], value["error"]["param"])
    assert [] == upstream.requests


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_huge_body_is_refused(is_chunked: bool) -> None:
    options = Options(http="127.0.0.1:0", limits=Limits(max_message_bytes=100_000))
    async with HttpUpstream() as upstream, base_url(upstream.url, 1, options=options) as url:
        body = json.dumps({**PING, "user": "x" * 200_000}).encode()
        status, _, value = await post(url, body, chunked=is_chunked or None)
        assert (413, "The request has more than 100000 bytes.") == (
            status,
            value["error"]["message"],
        )
        await upstream.answer(UNARY["plain"])
        assert 200 == (await post(url))[0]
    assert 1 == len(upstream.requests)


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 100_000, id="many headers"),
        pytest.param(b"GET / HTTP/1.1\r\nx: " + b"y" * 1_000_000, id="a long header"),
        pytest.param(b"GET /" + b"y" * 1_000_000, id="a long line"),
        pytest.param(b"\x16\x03\x01\x00\xa5", id="TLS"),
    ],
)
async def test_a_flood_of_headers_is_cut_off(head: bytes) -> None:
    async with HttpUpstream() as upstream, serve(upstream.url, 1) as ports:
        reader, writer = await asyncio.open_connection("127.0.0.1", ports.http)
        writer.write(head)
        with suppress(ConnectionError):
            await writer.drain()
            answer = await within(reader.read())
            assert b"" == answer or answer.startswith(b"HTTP/1.")
            assert b" 400 " in answer or not answer
        writer.transport.abort()


async def test_a_head_that_does_not_come_is_not_waited_for() -> None:
    options = Options(http="127.0.0.1:0", limits=Limits(head_timeout=0.2))
    async with HttpUpstream() as upstream, serve(upstream.url, 1, options=options) as ports:
        reader, writer = await asyncio.open_connection("127.0.0.1", ports.http)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost:")
        assert b"" == await within(reader.read())
        writer.close()


async def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    options = Options(http="127.0.0.1:0", limits=Limits(stall_timeout=0.2))
    async with HttpUpstream() as upstream, serve(upstream.url, 1, options=options) as ports:
        reader, writer = await asyncio.open_connection("127.0.0.1", ports.http)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n{")
        assert (await within(reader.readline())).startswith(b"HTTP/1.1 408 ")
        writer.close()


async def test_a_client_may_ask_before_it_sends_the_body() -> None:
    body = json.dumps(PING).encode()
    async with HttpUpstream() as upstream, serve(upstream.url, 1) as ports:
        await upstream.answer(UNARY["plain"])
        reader, writer = await asyncio.open_connection("127.0.0.1", ports.http)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\n")
        writer.write(b"content-length: %d\r\n\r\n" % len(body))
        assert b"HTTP/1.1 100 Continue\r\n\r\n" == await within(reader.readuntil(b"\r\n\r\n"))
        writer.write(body)
        assert (await within(reader.readline())).startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_an_unknown_caller_sends_no_body() -> None:
    def nobody(_call: Any, _peer: Any) -> str:
        raise AuthenticationError("who?")

    options = Options(http="127.0.0.1:0", authenticate=nobody)
    async with (
        HttpUpstream() as upstream,
        serve(upstream.url, 1, options=options) as ports,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", ports.http)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n")
        assert (await within(reader.readline())).startswith(b"HTTP/1.1 401 ")
        writer.close()


async def test_other_paths_and_methods() -> None:
    async with (
        HttpUpstream() as upstream,
        base_url(upstream.url, 1) as url,
        aiohttp.ClientSession() as session,
    ):
        async with session.post(f"{url}/embeddings") as response:
            error = (await response.json())["error"]
            assert 404 == response.status
            assert error["message"].startswith("Invalid URL (POST /v1/embeddings). ")
            assert "--fallback" in error["message"]
        async with session.put(f"{url}/chat/completions") as response:
            error = (await response.json())["error"]
            assert (405, "method_not_supported") == (response.status, error["code"])
        async with session.get(f"{url.removesuffix('/v1')}/healthz") as response:
            assert 200 == response.status
    assert [] == upstream.requests


async def test_models() -> None:
    options = Options(http="127.0.0.1:0", models={"gpt-x": "openai", "llama": "vllm"})
    async with (
        HttpUpstream() as upstream,
        base_url(upstream.url, 1, options=options) as url,
        client(url) as sdk,
    ):
        names = [(model.id, model.owned_by) async for model in sdk.models.list()]
        assert [("gpt-x", "openai"), ("llama", "vllm")] == names
        assert "llama" == (await sdk.models.retrieve("llama")).id
        with pytest.raises(openai.NotFoundError):
            await sdk.models.retrieve("no")


async def test_overload_is_said_at_once() -> None:
    options = Options(http="127.0.0.1:0", limits=Limits(max_running=1, max_waiting=0))
    async with HttpUpstream() as upstream, base_url(upstream.url, 1, options=options) as url:
        await upstream.answer(raw(WAIT, *UNARY["plain"].steps))
        first = asyncio.ensure_future(post(url))
        await upstream.next_request()
        status, headers, _ = await post(url)
        assert (429, "1") == (status, headers["retry-after"])
        await upstream.go()
        assert 200 == (await first)[0]


async def test_headers_of_the_caller_are_passed_on() -> None:
    options = Options(http="127.0.0.1:0", passed_on=("x-tenant",))
    async with HttpUpstream() as upstream, base_url(upstream.url, 1, options=options) as url:
        await upstream.answer(UNARY["plain"])
        await post(url, headers={"X-Tenant": "a b", "x-other": "c"})
        request = await upstream.next_request()
    assert "a b" == request.headers["x-tenant"]
    assert "x-other" not in request.headers


async def test_a_bad_deadline_is_refused() -> None:
    async with HttpUpstream() as upstream, base_url(upstream.url, 1) as url:
        status, _, _ = await post(url, headers={"x-request-timeout-ms": "soon"})
    assert 400 == status
