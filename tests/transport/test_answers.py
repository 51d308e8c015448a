"""OpenAI's SDK over gRPC, and the same SDK over HTTP, with the same upstream: what they return."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from support.build import PING, USAGE, choice, chunk, chunk_of, completion, delta
from support.http_upstream import (
    WAIT,
    json_answer,
    sse_answer,
)
from support.sdk import (
    HEADERS,
    both,
    value,
    worth_having,
)

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


TOKEN = {"token": "pong", "logprob": -0.25, "bytes": [112, 111, 110, 103]}


LOGPROBS = {"content": [{**TOKEN, "top_logprobs": [TOKEN]}], "refusal": None}


CALLED = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


COMPLETIONS = [
    pytest.param({}, completion(choice("pong", annotations=[])), id="text"),
    pytest.param(
        {"tools": [TOOL], "tool_choice": "auto"},
        completion(choice(None, tool_calls=[CALLED])),
        id="tools",
    ),
    pytest.param(
        {"logprobs": True, "top_logprobs": 1},
        completion({**choice("pong"), "logprobs": LOGPROBS}),
        id="logprobs",
    ),
    pytest.param(
        {"n": 2}, completion(choice("a"), choice("b", index=1), usage=USAGE), id="two choices"
    ),
    pytest.param(
        {"extra_body": {"top_k": 1.50, "x": {"y": [None, 10**30]}}, "stream": False},
        completion(
            {**choice("é\U0001f600", x=1.50), "finish_reason": "eos"},
            usage=None,
            service_tier="turbo",
            x_vendor={"a": [1.50, None]},
        ),
        id="undocumented",
    ),
    pytest.param({"user": "x" * 300_000}, completion(choice("y" * 300_000)), id="large"),
]


@pytest.mark.parametrize(("members", "answer"), COMPLETIONS)
async def test_completions(is_async: bool, members: Any, answer: Any) -> None:
    async with both(is_async) as (upstream, direct, through):
        await upstream.answer(json_answer(answer), always=True)
        expected = await direct.create(**members)
        actual = await through.create(**members)
    assert answer == value(actual)
    assert expected == actual
    first, second = upstream.requests
    assert first.json == second.json


async def test_a_stream_without_a_chunk_is_not_an_answer(is_async: bool) -> None:
    async with both(is_async) as (upstream, direct, through):
        await upstream.answer(sse_answer(), always=True)
        assert ([], None) == await direct.stream()
        chunks, raised = await through.stream()
    assert [] == chunks
    assert openai.InternalServerError is type(raised)


STREAMS = [
    pytest.param({}, [chunk("", role="assistant"), chunk("po"), chunk("ng")]),
    pytest.param(
        {"stream_options": {"include_usage": True}},
        [
            chunk_of(delta("a"), usage=None),
            chunk_of(delta(None, "stop"), usage=None),
            chunk_of(usage=USAGE),
        ],
        id="usage",
    ),
    pytest.param(
        {"tools": [TOOL]},
        [
            chunk(None, tool_calls=[{"index": 0, **CALLED}]),
            chunk(None, tool_calls=[{"index": 0, "function": {"arguments": "x"}}]),
            chunk(None, "tool_calls"),
        ],
        id="tools",
    ),
    pytest.param({"n": 2}, [chunk_of(delta("a"), delta("b", index=1, x=1.50))], id="two"),
]


@pytest.mark.parametrize(("members", "chunks"), STREAMS)
async def test_streams(is_async: bool, members: Any, chunks: list[Any]) -> None:
    async with both(is_async) as (upstream, direct, through):
        await upstream.answer(sse_answer(*chunks), always=True)
        expected = await direct.stream(**members)
        actual = await through.stream(**members)
    assert (chunks, None) == expected == actual
    first, second = upstream.requests
    assert first.json == second.json


async def test_chunks_come_as_they_are_sent(is_async: bool) -> None:
    async with both(is_async) as (upstream, _, through):
        await upstream.answer(sse_answer(chunk("a"), WAIT, chunk("b"), chunk("c")))
        stream = await through.create(stream=True)
        assert chunk("a") == value(await through.next(stream))
        await upstream.next("waiting")
        await upstream.go()
        assert chunk("b") == value(await through.next(stream))
        assert chunk("c") == value(await through.next(stream))
        assert None is await through.next(stream)


async def test_the_stream_helper(is_async: bool) -> None:
    async def events(client: Any) -> tuple[list[Any], Any]:
        async with client.chat.completions.stream(**PING) as stream:
            found = [value(item) async for item in stream]
            return found, value(await stream.get_final_completion())

    def plain_events(client: Any) -> tuple[list[Any], Any]:
        with client.chat.completions.stream(**PING) as stream:
            found = [value(item) for item in stream]
            return found, value(stream.get_final_completion())

    parts = [chunk("po", role="assistant"), chunk("ng"), chunk(None, "stop")]
    async with both(is_async) as (upstream, direct, through):
        await upstream.answer(sse_answer(*parts), always=True)
        run = events if is_async else plain_events
        expected = await direct.run(run)
        actual = await through.run(run)
    assert expected == actual
    assert "pong" == actual[1]["choices"][0]["message"]["content"]


async def test_parsing_into_a_model(is_async: bool) -> None:
    class Answer(BaseModel):
        word: str

    def parse(client: Any) -> Any:
        return client.chat.completions.parse(**PING, response_format=Answer)

    async with both(is_async) as (upstream, direct, through):
        await upstream.answer(json_answer(completion(choice('{"word":"pong"}'))), always=True)
        expected = await direct.run(parse)
        actual = await through.run(parse)
    assert Answer(word="pong") == actual.choices[0].message.parsed
    assert expected == actual
    first, second = upstream.requests
    assert first.json == second.json


@pytest.mark.parametrize("stream", [False, True], ids=["create", "stream"])
async def test_headers(is_async: bool, stream: bool) -> None:
    answer = sse_answer(chunk("a"), headers=HEADERS)
    if not stream:
        answer = json_answer(completion(choice("pong")), headers=HEADERS)

    def call(client: Any) -> Any:
        return client.chat.completions.with_raw_response.create(**PING, stream=stream)

    async with both(is_async) as (upstream, direct, through):
        await upstream.answer(answer, always=True)
        expected = await direct.run(call)
        actual = await through.run(call)
        assert 200 == actual.status_code == actual.http_response.status_code
        assert worth_having(expected.headers) == worth_having(actual.headers)
        assert {**worth_having(actual.headers), **HEADERS} == worth_having(actual.headers)
        assert "req_1" == actual.request_id
        if stream:
            assert chunk("a") == value(await through.next(actual.parse()))
        else:
            assert expected.parse() == actual.parse()
            assert "req_1" == actual.parse()._request_id


def _values(lines: list[str]) -> list[Any]:
    """The JSON values in the lines of an answer."""
    texts = [line.removeprefix("data: ") for line in lines]
    return [json.loads(text) for text in texts if text not in {"", "[DONE]"}]


@pytest.mark.parametrize(
    ("stream", "reading"),
    [(False, "parse"), (False, "lines"), (False, None), (True, "lines"), (True, None)],
)
async def test_a_streaming_response_is_open_until_it_is_left(
    is_async: bool, stream: bool, reading: str | None
) -> None:
    def read(client: Any) -> Any:
        found: list[Any] = []
        call = client.chat.completions.with_streaming_response.create(**PING, stream=stream)
        with call as response:
            found += [response.is_closed, "content-length" in response.headers]
            if reading == "parse":
                found.append(value(response.parse()))
            elif reading == "lines":
                found.append(_values(list(response.iter_lines())))
        return [*found, response.is_closed]

    async def read_async(client: Any) -> Any:
        found: list[Any] = []
        call = client.chat.completions.with_streaming_response.create(**PING, stream=stream)
        async with call as response:
            found += [response.is_closed, "content-length" in response.headers]
            if reading == "parse":
                found.append(value(await response.parse()))
            elif reading == "lines":
                found.append(_values([line async for line in response.iter_lines()]))
        return [*found, response.is_closed]

    answer = sse_answer(chunk("pong", "stop")) if stream else json_answer(completion(choice("a")))
    async with both(is_async) as (upstream, direct, through):
        await upstream.answer(answer, always=True)
        expected, actual = [
            await sdk.run(read_async if is_async else read) for sdk in (direct, through)
        ]
    assert expected == actual
    assert (False, True) == (actual[0], actual[-1])
