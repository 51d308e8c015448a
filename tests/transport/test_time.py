"""OpenAI's SDK over gRPC: connections, time limits, cancellation and slow readers."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import httpx2
import openai
import pytest

from support.build import choice, chunk, completion
from support.grpc_stub import served
from support.http_upstream import (
    HANG,
    WAIT,
    Repeat,
    event,
    json_answer,
    never_accepting,
    raw,
    refusing,
    sse_answer,
)
from support.limits import TIMEOUT, within
from support.reaching import until_asked
from support.sdk import (
    Sdk,
    both,
    described,
    grpc_transport,
    pair,
    value,
)

#: Timeouts of the SDK in seconds: one that expires, and one that is long enough for a chunk.
SOON = 0.3


PATIENCE = 1.0


@pytest.mark.parametrize("stream", [False, True], ids=["create", "stream"])
async def test_connections_that_are_refused(is_async: bool, stream: bool) -> None:
    with refusing() as url:
        async with pair(is_async, url, target_of(url)) as (direct, through):
            expected = await direct.failure(stream=stream)
            actual = await through.failure(stream=stream)
    assert described(expected) == described(actual)
    assert openai.APIConnectionError is type(actual)
    assert httpx2.ConnectError is type(actual.__cause__)


@pytest.mark.parametrize("stream", [False, True], ids=["create", "stream"])
async def test_connections_that_are_not_made_in_time(is_async: bool, stream: bool) -> None:
    limits = httpx2.Timeout(TIMEOUT, connect=SOON)
    with never_accepting() as url:
        async with pair(is_async, url, target_of(url), timeout=limits) as (direct, through):
            expected = await direct.failure(stream=stream)
            actual = await through.failure(stream=stream)
    assert described(expected) == described(actual)
    assert openai.APITimeoutError is type(actual)
    assert httpx2.ConnectTimeout is type(actual.__cause__)


def target_of(url: str) -> str:
    """The address in a URL."""
    return url.removeprefix("http://").removesuffix("/v1")


@pytest.mark.parametrize("stream", [False, True], ids=["create", "stream"])
async def test_silence_before_the_answer(is_async: bool, stream: bool) -> None:
    async with both(is_async) as (upstream, direct, through):
        await upstream.answer(raw(HANG), always=True)
        expected = await until_asked(
            upstream, lambda limit: direct.failure(stream=stream, timeout=limit)
        )
        await upstream.next("closed")
        actual = await until_asked(
            upstream, lambda limit: through.failure(stream=stream, timeout=limit)
        )
        await upstream.next("closed")
    assert described(expected) == described(actual)
    assert openai.APITimeoutError is type(actual)
    assert httpx2.ReadTimeout is type(actual.__cause__)


async def test_silence_in_a_stream(is_async: bool) -> None:
    async with both(is_async, timeout=PATIENCE) as (upstream, direct, through):
        await upstream.answer(sse_answer(chunk("a"), HANG), always=True)
        outcomes = []
        for sdk in (direct, through):
            chunks, raised = await sdk.stream()
            assert openai.APITimeoutError is type(raised)
            outcomes.append((chunks, described(raised)))
            await upstream.next("closed")
    assert ([chunk("a")], openai.APITimeoutError) == (outcomes[1][0], outcomes[1][1]["class"])
    assert outcomes[0] == outcomes[1]


async def test_each_stream_has_its_own_patience(is_async: bool) -> None:
    async with both(is_async) as (upstream, _, through):
        await upstream.answer(sse_answer(chunk("a"), WAIT, chunk("b")), always=True)
        patient = asyncio.ensure_future(through.stream(timeout=TIMEOUT))
        await upstream.next("waiting", 1)
        _, raised = await until_asked(upstream, lambda limit: through.stream(timeout=limit))
        assert openai.APITimeoutError is type(raised)
        assert 1 != (await upstream.next("closed")).call
        await upstream.go(1)
        assert ([chunk("a"), chunk("b")], None) == await patient


async def test_a_stream_may_take_longer_than_its_silences(is_async: bool) -> None:
    pieces = [chunk(str(number)) for number in range(9)]
    async with both(is_async, timeout=PATIENCE) as (upstream, _, through):
        await upstream.answer(sse_answer(*pieces, interval=PATIENCE / 8))
        began = time.monotonic()
        assert (pieces, None) == await through.stream()
        assert time.monotonic() - began > PATIENCE


async def test_the_deadline_of_a_completion_goes_on_to_the_upstream(is_async: bool) -> None:
    async with both(is_async, timeout=9) as (upstream, _, through):
        await upstream.answer(json_answer(completion(choice("pong"))))
        await through.create()
        await upstream.answer(sse_answer(chunk("a")))
        await through.stream()
    unary, stream = upstream.requests
    assert 5000 < int(unary.headers["x-request-timeout-ms"]) < 9500  # gRPC rounds up
    assert int(stream.headers["x-request-timeout-ms"]) > 9000  # the relay's own limit


async def test_leaving_a_stream_ends_it(is_async: bool) -> None:
    async with both(is_async) as (upstream, _, through):
        await upstream.answer(sse_answer(chunk("a"), HANG), always=True)
        stream = await through.create(stream=True)
        assert chunk("a") == value(await through.next(stream))
        await through.close(stream)
        await upstream.next("closed")


async def test_cancelling_the_task_ends_the_call() -> None:
    async with both(is_async=True) as (upstream, _, through):
        for answer, stream in ((raw(HANG), False), (raw(HANG), True)):
            await upstream.answer(answer)
            calling = asyncio.ensure_future(through.create(stream=stream))
            await upstream.next_request()
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling
            await upstream.next("closed")
        await upstream.answer(sse_answer(chunk("a"), HANG))
        stream = await through.create(stream=True)
        await through.next(stream)
        reading = asyncio.ensure_future(through.next(stream))
        await upstream.state()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await upstream.next("closed")


@pytest.mark.parametrize("stream", [False, True], ids=["create", "stream"])
async def test_closing_the_client_ends_its_calls(is_async: bool, stream: bool) -> None:
    async with both(is_async) as (upstream, _, through):
        await upstream.answer(raw(HANG))
        calling = asyncio.ensure_future(through.failure(stream=stream))
        await upstream.next_request()
        await through.run(lambda client: client.close())
        assert openai.APIConnectionError is type(await within(calling))
        await upstream.next("closed")


async def test_who_reads_slowly_is_sent_slowly(is_async: bool) -> None:
    endless = sse_answer(Repeat(event(chunk("x" * 10_000))))
    async with both(is_async) as (upstream, _, through):
        await upstream.answer(endless)
        stream = await through.create(stream=True)
        await through.next(stream)
        blocked = await upstream.next("blocked")
        assert blocked.sent < 30_000_000
        await through.close(stream)
        await upstream.next("closed")


async def test_many_calls_at_once(is_async: bool) -> None:
    async with both(is_async) as (upstream, _, through):
        await upstream.answer(raw(WAIT, *sse_answer(chunk("a"), chunk("b")).steps), always=True)
        calls = [asyncio.ensure_future(through.stream()) for _ in range(5)]
        for _ in calls:
            await upstream.next("waiting")
        await upstream.go()
        assert [([chunk("a"), chunk("b")], None)] * 5 == [await call for call in calls]


async def test_a_server_that_comes_back(is_async: bool) -> None:
    async with served() as stub:
        target = stub.target
        sdk = await within(sdk_that_has_called(is_async, target))
    assert openai.APIConnectionError is type(await sdk.failure())
    async with sdk, served(port=int(target.rpartition(":")[2])):
        until = time.monotonic() + TIMEOUT
        while time.monotonic() < until:
            with suppress(openai.APIConnectionError):
                assert "pong" == (await sdk.create()).choices[0].message.content
                return
    raise AssertionError


async def sdk_that_has_called(is_async: bool, target: str) -> Sdk:
    """An SDK that is connected."""
    sdk = Sdk(is_async, grpc_transport(is_async, target))
    await sdk.create()
    return sdk
