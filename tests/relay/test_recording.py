"""Recording: what is in the log is what the callers saw, and no caller feels it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from grpc import StatusCode, aio

from chatpb import to_dict
from chatpb_server.core.explain import AuthenticationError
from chatpb_server.core.limits import Limits
from chatpb_server.core.service import SERVICE_NAME
from chatpb_server.running.serving import Options
from support.build import COMPLETION, PING, chunk, create_request, stream_request
from support.calls import ending
from support.http_upstream import CLOSE, HANG, WAIT, HttpUpstream, json_answer, refusing, sse_answer
from support.limits import TIMEOUT, within
from support.reaching import until_asked
from support.recording import EDGES, ERROR, MORE, chunks_of, over_both, records, relay

# What callers see is what is in the log.


@over_both
async def test_a_completion(edge: str, tmp_path: Path) -> None:
    async with (
        HttpUpstream() as upstream,
        relay(upstream.url, tmp_path, labels={"team": "a", "env": "b"}) as client,
    ):
        await upstream.answer(json_answer(COMPLETION))
        saw = await client.call(edge, stream=False, **MORE)
    [record] = records(tmp_path)
    assert COMPLETION == saw.completion == to_dict(record.completion)
    assert PING | MORE == to_dict(record.request)
    assert (0, 200, "up", {"team": "a", "env": "b"}) == (
        record.status,
        record.http_status,
        record.upstream,
        dict(record.labels),
    )
    assert not record.HasField("caller")
    assert not record.HasField("error")
    assert 0 < record.duration_us < TIMEOUT * 1_000_000
    assert 16 == len(record.call_id)


@over_both
async def test_a_stream(edge: str, tmp_path: Path) -> None:
    expected = [chunk("a"), chunk("b"), chunk("c", "stop")]
    async with HttpUpstream() as upstream, relay(upstream.url, tmp_path) as client:
        await upstream.answer(sse_answer(*expected))
        saw = await client.call(edge, stream=True, **MORE)
    [record] = records(tmp_path)
    assert expected == saw.chunks == chunks_of(record)
    flag = {"stream": True} if edge == "http" else {}
    assert PING | MORE | flag == to_dict(record.request)
    assert (0, 200, {}) == (record.status, record.http_status, dict(record.labels))
    assert not record.HasField("completion")
    times = list(record.chunk_times_us)
    assert len(expected) == len(times)
    assert sorted([0, *times, record.duration_us]) == [0, *times, record.duration_us]


async def test_chunks_have_the_times_at_which_they_came(tmp_path: Path) -> None:
    async with HttpUpstream() as upstream, relay(upstream.url, tmp_path) as client:
        await upstream.answer(sse_answer(chunk("a"), WAIT, chunk("b", "stop")))
        call = client.stub.StreamChatCompletion(stream_request(), timeout=TIMEOUT)
        await within(call.read())
        await upstream.next("waiting")
        waited = asyncio.get_running_loop().time()
        await asyncio.sleep(0.05)  # the time that is measured
        waited = asyncio.get_running_loop().time() - waited
        await upstream.go()
        assert StatusCode.OK == await ending(call)
    [record] = records(tmp_path)
    first, second = record.chunk_times_us
    assert second - first >= waited * 1_000_000


@over_both
@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
async def test_an_error_of_the_upstream(edge: str, stream: bool, tmp_path: Path) -> None:
    async with HttpUpstream() as upstream, relay(upstream.url, tmp_path) as client:
        await upstream.answer(json_answer(ERROR, status=429))
        saw = await client.call(edge, stream=stream)
    [record] = records(tmp_path)
    assert ERROR == to_dict(record.error)
    expected = {"grpc": (StatusCode.RESOURCE_EXHAUSTED, "no"), "http": (429, ERROR)}
    assert expected[edge] == (saw.status, saw.error)
    assert (StatusCode.RESOURCE_EXHAUSTED.value[0], 429) == (record.status, record.http_status)
    assert not record.HasField("completion")
    assert [] == chunks_of(record)


@over_both
async def test_an_error_that_ends_a_stream(edge: str, tmp_path: Path) -> None:
    async with HttpUpstream() as upstream, relay(upstream.url, tmp_path) as client:
        await upstream.answer(sse_answer(chunk("a"), ERROR, done=False))
        saw = await client.call(edge, stream=True)
    [record] = records(tmp_path)
    assert [chunk("a")] == saw.chunks == chunks_of(record)
    assert ERROR == to_dict(record.error)
    assert (StatusCode.INTERNAL.value[0], 200) == (record.status, record.http_status)


async def test_an_answer_that_breaks_off(tmp_path: Path) -> None:
    async with HttpUpstream() as upstream, relay(upstream.url, tmp_path) as client:
        await upstream.answer(sse_answer(chunk("a"), CLOSE))
        saw = await client.call("grpc", stream=True)
    [record] = records(tmp_path)
    assert [chunk("a")] == saw.chunks == chunks_of(record)
    assert (StatusCode.DATA_LOSS, StatusCode.DATA_LOSS.value[0]) == (saw.status, record.status)
    assert saw.error == record.error.error.message


@over_both
async def test_an_upstream_that_is_not_there(edge: str, tmp_path: Path) -> None:
    with refusing() as url:
        async with relay(url, tmp_path) as client:
            saw = await client.call(edge, stream=False)
    [record] = records(tmp_path)
    assert saw.status in (503, StatusCode.UNAVAILABLE)
    assert (StatusCode.UNAVAILABLE.value[0], 503) == (record.status, record.http_status)
    assert PING == to_dict(record.request)


@over_both
async def test_a_caller_that_goes(edge: str, tmp_path: Path) -> None:
    async with HttpUpstream() as upstream, relay(upstream.url, tmp_path) as client:
        await upstream.answer(sse_answer(chunk("a"), HANG))
        if edge == "grpc":
            call = client.stub.StreamChatCompletion(stream_request(), timeout=TIMEOUT)
            await within(call.read())
            call.cancel()
        else:
            async with aiohttp.ClientSession() as session:
                response = await session.post(client.url, json={**PING, "stream": True})
                await within(response.content.readline())
                response.close()
        await upstream.next("closed")
    [record] = records(tmp_path)
    assert [chunk("a")] == chunks_of(record)
    assert (StatusCode.CANCELLED.value[0], 200) == (record.status, record.http_status)
    assert not record.HasField("error")


@over_both
async def test_a_deadline(edge: str, tmp_path: Path) -> None:
    async with HttpUpstream() as upstream, relay(upstream.url, tmp_path) as client:
        await upstream.answer(json_answer(HANG, COMPLETION), always=True)

        async def call(seconds: float) -> None:
            if edge == "grpc":
                with pytest.raises(aio.AioRpcError):
                    await client.stub.CreateChatCompletion(create_request(), timeout=seconds)
                return
            late = {"x-request-timeout-ms": f"{seconds * 1000:.0f}"}
            async with (
                aiohttp.ClientSession(headers=late) as session,
                session.post(client.url, json=PING) as response,
            ):
                assert 504 == response.status

        await until_asked(upstream, call)
        await upstream.next("closed")
    *_, record = records(tmp_path)
    assert StatusCode.DEADLINE_EXCEEDED.value[0] == record.status
    assert record.http_status in (0, 504)  # of a caller that waits no more, none
    assert record.duration_us > 100_000


# Who is recorded.


@over_both
async def test_a_call_for_which_there_is_no_room(edge: str, tmp_path: Path) -> None:
    options = Options(limits=Limits(max_running=1, max_waiting=0))
    async with (
        HttpUpstream() as upstream,
        relay(upstream.url, tmp_path, options=options) as client,
    ):
        await upstream.answer(sse_answer(chunk("a"), WAIT))
        running = client.stub.StreamChatCompletion(stream_request(), timeout=TIMEOUT)
        await within(running.read())
        saw = await client.call(edge, stream=False, **MORE)
        assert saw.status in (429, StatusCode.RESOURCE_EXHAUSTED)
        rpc: Any = client.channel.unary_unary(f"/{SERVICE_NAME}/CreateChatCompletion")
        with pytest.raises(aio.AioRpcError):  # it is not known that this one asks nothing
            await rpc(b"\x0a\x02\xff\xff", timeout=TIMEOUT)
        await upstream.go()
        await ending(running)
    *both, taken = records(tmp_path)
    assert 2 == len(both)
    for refused in both:
        status = (refused.status, refused.http_status)
        assert (StatusCode.RESOURCE_EXHAUSTED.value[0], 429) == status
        assert refused.HasField("error")
        assert not refused.HasField("request")  # it is not read
        assert not refused.HasField("upstream")
    assert (0, [chunk("a")]) == (taken.status, chunks_of(taken))


async def test_callers_have_names_and_strangers_leave_nothing(tmp_path: Path) -> None:
    def authenticate(_: Any, peer: Any) -> str:
        name = dict(peer.invocation_metadata()).get("name")
        if name is None:
            raise AuthenticationError("who?")
        return str(name)

    options = Options(authenticate=authenticate)
    async with (
        HttpUpstream() as upstream,
        relay(upstream.url, tmp_path, options=options) as client,
    ):
        await upstream.answer(json_answer(COMPLETION), always=True)
        for edge in EDGES:
            saw = await client.call(edge, stream=False)
            assert saw.status in (401, StatusCode.UNAUTHENTICATED)
        named = {"metadata": (("name", "alice"),), "timeout": TIMEOUT}
        await client.stub.CreateChatCompletion(create_request(), **named)
    [record] = records(tmp_path)
    assert ("alice", COMPLETION) == (record.caller, to_dict(record.completion))


async def test_what_is_no_exchange_is_not_recorded(tmp_path: Path) -> None:
    async with (
        HttpUpstream() as upstream,
        relay(upstream.url, tmp_path) as client,
        aiohttp.ClientSession() as session,
    ):
        async with session.get(client.url.replace("chat/completions", "models")) as response:
            assert 200 == response.status
        async with session.post(client.url, data=b"[") as response:
            assert 400 == response.status
    assert [] == records(tmp_path)


async def test_a_request_without_a_binary_form(tmp_path: Path) -> None:
    body = b'{"model": "m", "x": ' + b"[" * 300 + b"]" * 300 + b"}"
    async with HttpUpstream() as upstream, relay(upstream.url, tmp_path) as client:
        await upstream.answer(json_answer(COMPLETION))
        async with (
            aiohttp.ClientSession() as session,
            session.post(client.url, data=body) as response,
        ):
            assert COMPLETION == await response.json()
    [record] = records(tmp_path)
    assert {"chatpb.truncated": "request"} == dict(record.labels)
    assert (False, COMPLETION) == (record.HasField("request"), to_dict(record.completion))
