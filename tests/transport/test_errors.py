"""OpenAI's SDK over gRPC, and the same SDK over HTTP, with the same upstream: what they raise."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest

from support.build import choice, chunk, completion, error_object
from support.http_upstream import (
    CLOSE,
    RESET,
    WAIT,
    json_answer,
    sse_answer,
)
from support.sdk import (
    HEADERS,
    both,
    described,
)

ERRORS = [
    pytest.param(400, openai.BadRequestError, {}, id="400"),
    pytest.param(401, openai.AuthenticationError, {}, id="401"),
    pytest.param(403, openai.PermissionDeniedError, {}, id="403"),
    pytest.param(404, openai.NotFoundError, {}, id="404"),
    pytest.param(408, openai.APIStatusError, {}, id="408"),
    pytest.param(409, openai.ConflictError, {}, id="409"),
    pytest.param(413, openai.APIStatusError, {}, id="413"),
    pytest.param(418, openai.APIStatusError, {}, id="418"),
    pytest.param(422, openai.UnprocessableEntityError, {}, id="422"),
    pytest.param(429, openai.RateLimitError, {"retry-after": "7"}, id="429"),
    pytest.param(429, openai.RateLimitError, {"retry-after-ms": "70"}, id="429 ms"),
    pytest.param(500, openai.InternalServerError, {}, id="500"),
    pytest.param(502, openai.InternalServerError, {}, id="502"),
    pytest.param(503, openai.InternalServerError, {"retry-after": "1"}, id="503"),
    pytest.param(504, openai.InternalServerError, {}, id="504"),
    pytest.param(529, openai.InternalServerError, {}, id="529"),
]


@pytest.mark.parametrize("stream", [False, True], ids=["create", "stream"])
@pytest.mark.parametrize(("status", "kind", "headers"), ERRORS)
async def test_errors(is_async: bool, stream: bool, status: int, kind: Any, headers: Any) -> None:
    body = error_object(
        "no", type="invalid", param="messages[0].x", code="bad", x_more=[1.50, None]
    )
    answer = json_answer(body, status=status, headers={**headers, "x-request-id": "req_1"})
    async with both(is_async) as (upstream, direct, through):
        await upstream.answer(answer, always=True)
        expected = await direct.failure(stream=stream)
        actual = await through.failure(stream=stream)
    assert kind is type(actual)
    assert described(expected) == described(actual)
    assert (status, body["error"], "req_1") == (
        described(actual)["status_code"],
        actual.body,
        described(actual)["request_id"],
    )


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"detail": [{"loc": ["body"], "msg": "no"}]}, id="detail"),
        pytest.param({"error": "text"}, id="text"),
        pytest.param({"object": "error", "message": "no", "code": 400}, id="flat"),
    ],
)
async def test_errors_of_other_shapes(is_async: bool, body: Any) -> None:
    async with both(is_async) as (upstream, direct, through):
        await upstream.answer(json_answer(body, status=400, headers=HEADERS), always=True)
        expected = described(await direct.failure())
        actual = described(await through.failure())
    # The text contains the body as a dict, whose order may differ.
    assert {**expected, "message": ""} == {**actual, "message": ""}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(error_object("late", code="x"), id="openai"),
        pytest.param({"error": "text"}, id="text"),
    ],
)
async def test_an_error_in_the_middle_of_a_stream(is_async: bool, body: Any) -> None:
    async with both(is_async) as (upstream, direct, through):
        await upstream.answer(sse_answer(chunk("a"), WAIT, body), always=True)
        outcomes = []
        for sdk in (direct, through):
            reading = asyncio.ensure_future(sdk.stream())
            await upstream.next("waiting")
            await upstream.go()
            chunks, raised = await reading
            outcomes.append((chunks, described(raised)))
    expected, actual = outcomes
    assert ([chunk("a")], openai.APIError) == (actual[0], actual[1]["class"])
    assert expected == actual


@pytest.mark.parametrize("end", [RESET, CLOSE], ids=["reset", "close"])
async def test_a_stream_that_breaks_off(is_async: bool, end: Any) -> None:
    async with both(is_async) as (upstream, direct, through):
        await upstream.answer(sse_answer(chunk("a"), WAIT, end), always=True)
        for sdk in (direct, through):
            reading = asyncio.ensure_future(sdk.stream())
            await upstream.next("waiting")
            await upstream.go()
            chunks, raised = await reading
            assert ([chunk("a")], openai.APIConnectionError) == (chunks, type(raised))


@pytest.mark.parametrize("stream", [False, True], ids=["create", "stream"])
async def test_the_sdk_tries_again(is_async: bool, stream: bool) -> None:
    refusal = json_answer(error_object("slow"), status=429, headers={"retry-after-ms": "1"})
    unavailable = json_answer(error_object("busy"), status=503, headers={"retry-after-ms": "1"})
    done = sse_answer(chunk("a")) if stream else json_answer(completion(choice("pong")))
    async with both(is_async, max_retries=2) as (upstream, direct, through):
        for sdk in (direct, through):
            for answer in (refusal, unavailable, done):
                await upstream.answer(answer)
            if stream:
                assert ([chunk("a")], None) == await sdk.stream()
            else:
                assert "pong" == (await sdk.create()).choices[0].message.content
    assert 6 == len(upstream.requests)


async def test_the_sdk_gives_up(is_async: bool) -> None:
    """After as many requests as over HTTP: the transport does not retry."""
    refusal = json_answer(error_object("busy"), status=503, headers={"retry-after-ms": "1"})
    async with both(is_async, max_retries=1) as (upstream, direct, through):
        await upstream.answer(refusal, always=True)
        for sdk in (direct, through):
            assert openai.InternalServerError is type(await sdk.failure())
    assert 4 == len(upstream.requests)
