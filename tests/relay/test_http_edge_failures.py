"""What HTTP callers get if an upstream or the core fails: never an answer that looks complete."""

from __future__ import annotations

import asyncio
import json

import pytest
from grpc import StatusCode, aio

from chatpb.v1.chat_completion_service_pb2_grpc import ChatCompletionServiceStub
from chatpb_server.core.limits import Limits
from chatpb_server.running.serving import Options, serving, serving_all
from chatpb_server.upstreams.http import HttpUpstream as Http
from chatpb_server.upstreams.relay import GrpcUpstream
from chatpb_server.upstreams.router import RetryPolicy, Route, Router
from relay.test_http_edge_process import found, running, running_at
from relay.test_http_edge_sdk import UNARY
from support.build import PING, chunk, create_request, error_object
from support.calls import OWN_CONNECTION
from support.http_edge import base_url, events, post, read_to_the_break, serve, through
from support.http_upstream import (
    CLOSE,
    HANG,
    RESET,
    HttpUpstream,
    json_answer,
    raw,
    refusing,
    sse_answer,
)
from support.limits import within

BROKEN = {
    "reset": sse_answer(chunk("a"), RESET),
    "no end": sse_answer(chunk("a"), done=False),
    "no chunk": sse_answer(chunk("a"), b"data: {\n\n", done=False),
    "cut in an event": sse_answer(chunk("a"), b"data: {", RESET),
}


@through
@pytest.mark.parametrize("how", BROKEN)
async def test_a_stream_that_breaks_off(how: str, hops: int) -> None:
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        await upstream.answer(BROKEN[how])
        data = await read_to_the_break(url)
        assert chunk("a") == json.loads(data.partition(b"\n\n")[0].removeprefix(b"data: "))
        assert b"[DONE]" not in data


@through
@pytest.mark.parametrize("stream", [False, True])
async def test_answers_that_are_none(stream: bool, hops: int) -> None:
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        for answer, expected in (
            (raw(CLOSE), 502),
            (json_answer(b"<html>"), 502),
            (json_answer(b"<html>", status=503), 503),
            (raw(b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n"), 502),
        ):
            await upstream.answer(answer)
            status, _, value = await post(url, {**PING, "stream": stream})
            assert (expected, "server_error") == (status, value["error"]["type"])
            assert "html" not in json.dumps(value)


@through
async def test_an_upstream_that_is_not_there(hops: int) -> None:
    with refusing() as nowhere:
        async with base_url(nowhere, hops) as url:
            status, _, value = await post(url)
    assert 503 == status
    assert value["error"]["message"].startswith("The upstream cannot be reached.")


async def test_a_core_that_is_not_there() -> None:
    with refusing() as nowhere:
        target = nowhere.removeprefix("http://").removesuffix("/v1")
        async with HttpUpstream() as upstream:
            await upstream.answer(UNARY["plain"])
            routes = [
                Route("core", GrpcUpstream(f"grpc://{target}")),
                Route("spare", Http(upstream.url), weight=0),
            ]
            router = Router(routes, RetryPolicy(base_delay=0.001))
            async with serving_all(router, options=Options(http="127.0.0.1:0")) as ports:
                status, _, _ = await post(f"http://127.0.0.1:{ports.http}/v1")
    assert 200 == status


async def test_a_core_that_dies_hurts_the_calls_in_it_only() -> None:
    async with (
        HttpUpstream() as upstream,
        running("--upstream", upstream.url) as (core, address, _),
        running("--upstream", f"grpc://{address}") as (_, _, url),
    ):
        await upstream.answer(sse_answer(chunk("a"), HANG))
        stream = asyncio.ensure_future(read_to_the_break(url))
        await upstream.next_request()
        await upstream.answer(raw(HANG))
        unary = asyncio.ensure_future(post(url))
        await upstream.next_request()
        core.kill()
        assert [chunk("a")] == events(await within(stream))
        assert 502 == (await within(unary))[0]
        assert 503 == (await post(url))[0]
        async with running_at(address):
            assert "m" == (await found(url))["model"]


async def test_a_request_that_the_core_does_not_take() -> None:
    async with HttpUpstream() as upstream:
        small = Options(limits=Limits(max_message_bytes=1000))
        async with serving(Http(upstream.url), options=small) as port:
            edge = Router([Route("core", GrpcUpstream(f"grpc://127.0.0.1:{port}"))])
            async with serving_all(edge, options=Options(http="127.0.0.1:0")) as ports:
                status, _, _ = await post(
                    f"http://127.0.0.1:{ports.http}/v1", {**PING, "user": "x" * 2000}
                )
    assert 413 == status


async def test_one_relay_tries_again_not_both() -> None:
    policy = RetryPolicy(base_delay=0.001, retries=2)
    async with HttpUpstream() as upstream, base_url(upstream.url, 2, policy=policy) as url:
        await upstream.answer(json_answer(error_object("busy"), status=503), always=True)
        status, _, _ = await post(url)
    assert (503, 3) == (status, len(upstream.requests))


async def test_the_status_of_the_upstream_is_in_the_trailers() -> None:
    async with HttpUpstream() as upstream, serve(upstream.url, 2) as ports:
        await upstream.answer(json_answer(error_object("pay"), status=402))
        async with aio.insecure_channel(f"127.0.0.1:{ports.grpc}", OWN_CONNECTION) as channel:
            with pytest.raises(aio.AioRpcError) as caught:
                await ChatCompletionServiceStub(channel).CreateChatCompletion(create_request())
    assert StatusCode.FAILED_PRECONDITION == caught.value.code()
    assert "402" == dict(caught.value.trailing_metadata() or ())["chatpb-http-status"]
