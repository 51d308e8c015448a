"""OpenAI's SDK over gRPC, and the same SDK over HTTP, with the same upstream: recorded traffic."""

from __future__ import annotations

import json

import pytest

from support import recordings
from support.http_upstream import (
    HttpUpstream,
    json_answer,
)
from support.sdk import (
    HEADERS,
    both,
    described,
    pair,
    relay,
    value,
)


@pytest.mark.parametrize("recording", recordings.parameters(recordings.completions))
async def test_recorded_completions(recording: recordings.Recording) -> None:
    async with HttpUpstream() as upstream, relay(upstream.url) as address:
        await upstream.answer(recording.answer(), always=True)
        for is_async in (False, True):
            async with pair(is_async, upstream.url, address) as (direct, through):
                expected, actual = await direct.create(), await through.create()
            assert json.loads(recording.body) == value(actual)
            assert expected == actual


@pytest.mark.parametrize("recording", recordings.parameters(recordings.streams))
async def test_recorded_streams(recording: recordings.Recording) -> None:
    async with HttpUpstream() as upstream, relay(upstream.url) as address:
        await upstream.answer(recording.answer(), always=True)
        for is_async in (False, True):
            async with pair(is_async, upstream.url, address) as (direct, through):
                expected, expected_error = await direct.stream()
                actual, actual_error = await through.stream()
            assert expected == actual
            assert described(expected_error) == described(actual_error)


@pytest.mark.parametrize("recording", recordings.parameters(recordings.errors))
async def test_recorded_errors(recording: recordings.Recording) -> None:
    async with both(is_async=False) as (upstream, direct, through):
        answer = json_answer(recording.body, status=recording.status, headers=HEADERS)
        await upstream.answer(answer, always=True)
        expected, actual = described(await direct.failure()), described(await through.failure())
    # The text contains the body as a dict, whose order may differ.
    assert {**expected, "message": ""} == {**actual, "message": ""}
