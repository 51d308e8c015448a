"""How many requests an upstream gets for one call: retries belong to the caller, failover to us."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import openai
import pytest
from grpc import StatusCode

from chatpb.client import AsyncClient, ChatCompletionError
from chatpb.transport import AsyncGrpcTransport
from chatpb_server.running.serving import Options, Ports, serving, serving_all
from chatpb_server.upstreams.http import HttpUpstream as Http
from chatpb_server.upstreams.relay import GrpcUpstream
from chatpb_server.upstreams.router import RetryPolicy, Route, Router
from support.build import PING, error_object
from support.clients import Twin, asked
from support.http_edge import client as sdk_at
from support.http_upstream import Answer, HttpUpstream, json_answer, refusing
from support.sdk import Sdk

FAST = RetryPolicy(base_delay=0.001)
STUBBORN = RetryPolicy(base_delay=0.001, retries=5, attempts=5)
BUSY = error_object("busy")
QUOTA = error_object("pay", type="insufficient_quota", code="insufficient_quota")

WAYS = ["client", "client for threads", "SDK over the edge", "SDK over gRPC", "edge and core"]
ways = pytest.mark.parametrize("way", WAYS)
streams = pytest.mark.parametrize("stream", [False, True], ids=["create", "stream"])


class Counted(Http):
    """An upstream that counts how often it is asked, whether or not it can be reached."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.count = 0

    def _post(self, *arguments: Any) -> Any:
        self.count += 1
        return super()._post(*arguments)


@asynccontextmanager
async def relay(way: str, upstreams: list[Counted], policy: RetryPolicy) -> AsyncIterator[Ports]:
    """A relay in front of upstreams, which are asked in this order; or an edge and a core."""
    routes = [Route(f"u{place}", one, weight=not place) for place, one in enumerate(upstreams)]
    http = Options(http="127.0.0.1:0")
    async with AsyncExitStack() as stack:
        router = Router(routes, policy)
        if way == "edge and core":
            port = await stack.enter_async_context(serving(router))
            core = GrpcUpstream(f"grpc://127.0.0.1:{port}")
            router = Router([Route("core", core)], policy)
        yield await stack.enter_async_context(serving_all(router, options=http))


async def call(way: str, ports: Ports, stream: bool) -> None:
    """One call that fails, whose caller does not retry."""
    address = f"127.0.0.1:{ports.grpc}"
    with suppress(ChatCompletionError, openai.APIError):
        if way.startswith("client"):
            kind: Any = AsyncClient if way == "client" else Twin
            async with kind(address) as client:
                await asked(client, stream)
        elif way == "SDK over gRPC":
            async with Sdk(True, AsyncGrpcTransport(address)) as sdk:
                await (sdk.stream() if stream else sdk.create())
        else:
            async with sdk_at(f"http://127.0.0.1:{ports.http}/v1") as client:
                await client.chat.completions.create(**PING, stream=stream)


async def requests(
    way: str, answer: Answer, upstreams: int, policy: RetryPolicy = FAST, stream: bool = False
) -> list[int]:
    """How many requests each upstream gets for one call if all give an answer."""
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(HttpUpstream()) for _ in range(upstreams)]
        for server in servers:
            await server.answer(answer, always=True)
        counted = [Counted(server.url) for server in servers]
        async with relay(way, counted, policy) as ports:
            await call(way, ports, stream)
        return [len(server.requests) for server in servers]


@ways
@streams
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("upstreams", [1, 2])
async def test_an_answer_goes_to_the_caller(
    way: str, stream: bool, status: int, upstreams: int
) -> None:
    """After each upstream was asked once."""
    answer = json_answer(BUSY, status=status)
    assert [1] * upstreams == await requests(way, answer, upstreams, stream=stream)


@ways
@streams
@pytest.mark.parametrize(("upstreams", "expected"), [(1, [3]), (2, [2, 1])])
async def test_what_reached_no_upstream_is_sent_again(
    way: str, stream: bool, upstreams: int, expected: list[int]
) -> None:
    """By the relay; its callers do not multiply that."""
    with refusing() as nowhere:
        counted = [Counted(nowhere) for _ in range(upstreams)]
        async with relay(way, counted, FAST) as ports:
            await call(way, ports, stream)
    assert expected == [upstream.count for upstream in counted]


@ways
@pytest.mark.parametrize(("upstreams", "expected"), [(1, [3]), (2, [2, 2])])
async def test_more_is_a_setting(way: str, upstreams: int, expected: list[int]) -> None:
    policy = RetryPolicy(base_delay=0.001, retries=2)
    answer = json_answer(BUSY, status=503)
    assert expected == await requests(way, answer, upstreams, policy)


@ways
@streams
@pytest.mark.parametrize("upstreams", [1, 2])
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(json_answer(QUOTA, status=429), id="a used-up quota"),
        pytest.param(
            json_answer(BUSY, status=503, headers={"X-Should-Retry": "false"}), id="by header"
        ),
    ],
)
async def test_what_must_not_be_retried_is_not(
    way: str, stream: bool, upstreams: int, answer: Answer
) -> None:
    """By the same upstream, whatever the settings."""
    assert [1] * upstreams == await requests(way, answer, upstreams, STUBBORN, stream)


async def test_an_answer_is_told_rather_than_a_failure_to_connect() -> None:
    with refusing() as nowhere:
        async with HttpUpstream() as busy:
            await busy.answer(json_answer(BUSY, status=429, headers={"retry-after": "7"}))
            counted = [Counted(busy.url), Counted(nowhere)]
            async with (
                relay("", counted, FAST) as ports,
                AsyncClient(f"127.0.0.1:{ports.grpc}") as client,
            ):
                with pytest.raises(ChatCompletionError) as caught:
                    await client.create(PING)
    assert (StatusCode.RESOURCE_EXHAUSTED, 7) == (caught.value.code, caught.value.retry_after)
    assert [1, 1] == [upstream.count for upstream in counted]
