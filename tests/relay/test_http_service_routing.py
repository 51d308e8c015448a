"""Which upstream answers, how often a call is tried, and how an HTTP upstream is reached."""

from __future__ import annotations

import asyncio
import json
import random
import ssl
from pathlib import Path
from typing import Any

import pytest
from google.rpc import error_details_pb2
from grpc import StatusCode, aio

from chatpb import to_dict
from chatpb.v1.error_pb2 import ErrorResponse
from chatpb_server.running.serving import Options, serving
from chatpb_server.upstreams.http import HttpUpstream as Http
from chatpb_server.upstreams.remote import RemoteSettings
from chatpb_server.upstreams.router import RetryPolicy, Route, Router
from relay.test_http_service_failures import REFUSED
from support.build import COMPLETION, chunk
from support.calls import OWN_CONNECTION
from support.certificates import Certificates
from support.http_relay import Relay, details, failure, read_all, relay, stream_failure
from support.http_upstream import RESET, HttpUpstream, json_answer, refusing, sse_answer
from support.limits import TIMEOUT

# Retries, for those who ask for them, and failover.

AGAIN = RetryPolicy(base_delay=0.001, retries=2)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
@pytest.mark.parametrize("is_stream", [False, True])
async def test_what_is_safe_is_tried_again(status: int, is_stream: bool) -> None:
    async with HttpUpstream() as upstream, relay(upstream.url, policy=AGAIN) as client:
        for _ in range(2):
            await upstream.answer(json_answer(REFUSED, status=status))
        if is_stream:
            await upstream.answer(sse_answer(chunk("a")))
            assert [chunk("a")] == await read_all(client.stream())
        else:
            await upstream.answer(json_answer(COMPLETION))
            assert COMPLETION == to_dict((await client.create()).completion)
    assert 3 == len(upstream.requests)
    assert 1 == len({request.body for request in upstream.requests})


@pytest.mark.parametrize("status", [400, 401, 404, 408, 409, 500, 501])
async def test_what_is_not_safe_is_not(status: int) -> None:
    async with HttpUpstream() as upstream, relay(upstream.url, policy=AGAIN) as client:
        await upstream.answer(json_answer(REFUSED, status=status), always=True)
        await failure(client.create())
    assert 1 == len(upstream.requests)


async def test_nothing_is_tried_again_once_the_answer_has_begun() -> None:
    async with HttpUpstream() as upstream, relay(upstream.url, policy=AGAIN) as client:
        await upstream.answer(sse_answer(chunk("a"), RESET), always=True)
        chunks, _ = await stream_failure(client.stream())
        assert [chunk("a")] == chunks
    assert 1 == len(upstream.requests)


async def test_a_long_retry_after_is_left_to_the_caller() -> None:
    answer = json_answer(REFUSED, status=429, headers={"retry-after": "60"})
    async with HttpUpstream() as upstream, relay(upstream.url, policy=AGAIN) as client:
        await upstream.answer(answer, always=True)
        error = await failure(client.create())
    assert 60 == details(error)[error_details_pb2.RetryInfo].retry_delay.seconds
    assert 1 == len(upstream.requests)


async def test_a_short_retry_after_is_kept() -> None:
    answer = json_answer(REFUSED, status=429, headers={"retry-after-ms": "300"})
    async with HttpUpstream() as upstream, relay(upstream.url, policy=AGAIN) as client:
        await upstream.answer(answer)
        await upstream.answer(json_answer(COMPLETION))
        loop = asyncio.get_running_loop()
        start = loop.time()
        await client.create()
        assert loop.time() - start >= 0.3


async def test_the_budget_bounds_retries() -> None:
    policy = RetryPolicy(retries=9, base_delay=0, burst=3, budget=0)
    async with HttpUpstream() as upstream, relay(upstream.url, policy=policy) as client:
        await upstream.answer(json_answer(REFUSED, status=503), always=True)
        for _ in range(3):
            await failure(client.create())
    assert 4 + 1 + 1 == len(upstream.requests)


@pytest.mark.parametrize("is_down", [False, True])
async def test_the_budget_does_not_bound_failover(is_down: bool) -> None:
    """Else most calls would fail while one of two upstreams is down."""
    policy = RetryPolicy(base_delay=0, burst=0, budget=0)
    with refusing() as dead:
        async with HttpUpstream() as busy, HttpUpstream() as upstream:
            await busy.answer(json_answer(REFUSED, status=503), always=True)
            await upstream.answer(json_answer(COMPLETION), always=True)
            first = dead if is_down else busy.url
            async with relay(first, upstream.url, policy=policy) as client:
                for _ in range(3):
                    assert COMPLETION == to_dict((await client.create()).completion)


@pytest.mark.parametrize("is_stream", [False, True])
async def test_the_next_upstream_answers_where_one_fails(is_stream: bool) -> None:
    with refusing() as dead:
        async with (
            HttpUpstream() as busy,
            HttpUpstream() as upstream,
            relay(dead, busy.url, upstream.url) as client,
        ):
            await busy.answer(json_answer(REFUSED, status=503), always=True)
            if is_stream:
                await upstream.answer(sse_answer(chunk("a")))
                assert [chunk("a")] == await read_all(client.stream())
            else:
                await upstream.answer(json_answer(COMPLETION))
                assert COMPLETION == to_dict((await client.create()).completion)
            assert 1 == len(busy.requests)


async def test_models_choose_their_upstream() -> None:
    async with HttpUpstream() as one, HttpUpstream() as two:
        for upstream in (one, two):
            await upstream.answer(json_answer(COMPLETION), always=True)
        routes = [
            Route("one", Http(one.url), models=("gpt-*", "o3")),
            Route("two", Http(two.url), models=("llama",)),
        ]
        router = Router(routes)
        async with (
            serving(router) as port,
            aio.insecure_channel(f"127.0.0.1:{port}", OWN_CONNECTION) as channel,
        ):
            client = Relay(channel)
            for model in ("gpt-4.1", "llama", "o3"):
                await client.create(model=model)
            error = await failure(client.create(model="unknown"))
    assert ["gpt-4.1", "o3"] == [request.json["model"] for request in one.requests]
    assert ["llama"] == [request.json["model"] for request in two.requests]
    assert StatusCode.NOT_FOUND == error.code()
    assert "model_not_found" == details(error)[ErrorResponse].error.code


async def test_weights_share_the_calls() -> None:
    names: list[str] = []
    router = Router(
        [Route("three", Named("three", names), weight=3), Route("one", Named("one", names))],
        rng=random.Random(5),
    )
    async with (
        serving(router) as port,
        aio.insecure_channel(f"127.0.0.1:{port}", OWN_CONNECTION) as channel,
    ):
        for _ in range(200):
            await Relay(channel).create()
    assert 130 < names.count("three") < 170


class Named(Http):
    """An upstream that keeps its name each time it is asked."""

    def __init__(self, name: str, names: list[str]) -> None:
        super().__init__("http://127.0.0.1:1")
        self._name = name
        self._names = names

    async def create(self, request: Any) -> Any:  # noqa: ARG002 (the protocol gives it)
        """A completion."""
        from chatpb_server.upstreams.events import answer_of

        self._names.append(self._name)
        return await answer_of(json.dumps(COMPLETION).encode())


# Headers.


async def test_headers_worth_having_arrive() -> None:
    headers = {
        "x-request-id": "req_1",
        "openai-processing-ms": "12",
        "x-ratelimit-remaining-tokens": "9",
        "set-cookie": "secret=1",
        "x-internal": "no",
    }
    expected = [
        ("openai-processing-ms", "12"),
        ("x-ratelimit-remaining-tokens", "9"),
        ("x-request-id", "req_1"),
    ]
    async with HttpUpstream() as upstream, relay(upstream.url) as client:
        await upstream.answer(json_answer(COMPLETION, headers=headers))
        unary = client.create()
        await unary
        await upstream.answer(sse_answer(chunk("a"), headers=headers))
        stream = client.stream()
        await read_all(stream)
        for call in (unary, stream):
            assert expected == sorted(await call.trailing_metadata())


async def test_metadata_is_passed_on_where_it_is_one_header() -> None:
    options = Options(passed_on=("x-tenant",))
    async with HttpUpstream() as upstream, relay(upstream.url, options=options) as client:
        await upstream.answer(json_answer(COMPLETION), always=True)
        method = "/chatpb.v1.ChatCompletionService/CreateChatCompletion"
        channel: Any = client.channel
        metadata = (("x-tenant", "a b"), ("x-other", "c"))
        await channel.unary_unary(method)(b"", metadata=metadata, timeout=TIMEOUT)
        request = await upstream.next_request()
        assert "a b" == request.headers["x-tenant"]
        assert "x-other" not in request.headers


# How the upstream is reached.


async def test_the_certificate_of_the_upstream_is_checked(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(certificates.certificate, certificates.key)
    body = json.dumps(COMPLETION).encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n"
        writer.write(head + b"content-length: %d\r\n\r\n" % len(body) + body)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server_side) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        async with relay(url, policy=RetryPolicy(attempts=1)) as client:
            assert StatusCode.UNAVAILABLE == (await failure(client.create())).code()
        async with relay(url, settings=RemoteSettings(ca_file=certificates.ca)) as client:
            assert COMPLETION == to_dict((await client.create()).completion)
