"""A call leaves no circles of objects, which would keep its request until they are collected."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from grpc import aio

from chatpb_server.core.upstream import RequestBody
from chatpb_server.upstreams.router import RetryPolicy
from relay.test_http_service_failures import REFUSED
from support.build import COMPLETION, chunk, error_object
from support.http_relay import Relay, relay
from support.http_upstream import (
    CLOSE,
    HANG,
    Answer,
    HttpUpstream,
    json_answer,
    raw,
    refusing,
    sse_answer,
)


@contextmanager
def collecting_nothing() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.fixture(autouse=True)
def _logging_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "chatpb_server.watching.logs")  # pytest keeps what is logged


def kept() -> int:
    """How many requests are kept."""
    return sum(type(item) is RequestBody for item in gc.get_objects())


AGAIN = RetryPolicy(base_delay=0.001, retries=2)
ONCE = RetryPolicy(attempts=1)


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize(
    ("answers", "policy"),
    [
        pytest.param((json_answer(COMPLETION),), AGAIN, id="answer"),
        pytest.param((sse_answer(chunk("a")),), AGAIN, id="stream"),
        pytest.param((json_answer(REFUSED, status=400),), AGAIN, id="error"),
        pytest.param((json_answer(REFUSED, status=503),), ONCE, id="overload"),
        pytest.param((json_answer(REFUSED, status=503),) * 3, AGAIN, id="attempts"),
        pytest.param((json_answer(b"busy", status=400),), AGAIN, id="no JSON in an error"),
        pytest.param(
            (json_answer(REFUSED, status=503), json_answer(COMPLETION)), AGAIN, id="again"
        ),
        pytest.param(
            (json_answer(REFUSED, status=503), sse_answer(chunk("a"))), AGAIN, id="stream again"
        ),
        pytest.param((json_answer(b"<html>"),), AGAIN, id="no JSON"),
        pytest.param((json_answer(b"{", CLOSE, framing="chunked"),), AGAIN, id="cut"),
        pytest.param((raw(CLOSE),), AGAIN, id="no answer"),
        pytest.param((raw(b"SSH\r\n\r\n", CLOSE),), AGAIN, id="no HTTP"),
        pytest.param((sse_answer(chunk("a"), error_object("x")),), AGAIN, id="error event"),
        pytest.param((sse_answer(chunk("a"), CLOSE),), AGAIN, id="cut stream"),
        pytest.param((raw(HANG),), AGAIN, id="deadline"),
    ],
)
async def test_a_call_leaves_no_circles(
    is_stream: bool, answers: tuple[Answer, ...], policy: RetryPolicy
) -> None:
    async with HttpUpstream() as upstream, relay(upstream.url, policy=policy) as client:
        with collecting_nothing():
            for answer in answers:
                await upstream.answer(answer)
            await asked(client, is_stream, 0.3 if answers[0] == raw(HANG) else 10.0)
            assert not kept()


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_call_that_meets_no_upstream_leaves_no_circles(is_stream: bool) -> None:
    with refusing() as url:
        async with relay(url, policy=AGAIN) as client:
            with collecting_nothing():
                await asked(client, is_stream)
                assert not kept()


async def asked(client: Relay, is_stream: bool, seconds: float = 10.0) -> None:
    try:
        if is_stream:
            async for _ in client.stream(timeout=seconds):
                pass
        else:
            await client.create(timeout=seconds)
    except aio.AioRpcError:
        pass
    await asyncio.sleep(0.05)  # the relay ends the call
