"""The official OpenAI clients for Python and Node against the HTTP edge."""

from __future__ import annotations

import openai
import pytest
from pydantic import BaseModel

from support.build import PING, USAGE, choice, chunk, chunk_of, error_object
from support.http_edge import HEADERS, base_url, call, client, completion, post, through
from support.http_upstream import HANG, Answer, HttpUpstream, json_answer, sse_answer
from support.node import INSTALLED, node

LOGPROBS = {
    "content": [{"token": "é", "logprob": -0.5, "bytes": [195, 169], "top_logprobs": []}],
    "refusal": None,
}
TOOL_CALLS = [call("{}", id="call_1", type="function")]
UNARY: dict[str, Answer] = {
    "plain": json_answer(completion(choice("pong")), headers=HEADERS),
    "n=2": json_answer(completion(choice("a"), choice("b", 1)), headers=HEADERS),
    "tools": json_answer(completion(choice(None, tool_calls=TOOL_CALLS)), headers=HEADERS),
    "logprobs": json_answer(
        completion({**choice("é"), "logprobs": LOGPROBS}, service_tier="turbo"),
        headers=HEADERS,
    ),
}
STREAMS: dict[str, Answer] = {
    "plain": sse_answer(chunk("po", role="assistant"), chunk("ng"), chunk(None, reason="stop")),
    "n=2": sse_answer(
        chunk("a"), chunk("b", index=1), chunk(None, reason="stop"), chunk(None, "stop", index=1)
    ),
    "tools": sse_answer(
        chunk(None, tool_calls=[call("{", index=0, id="call_1", type="function")]),
        chunk(None, tool_calls=[{"index": 0, "function": {"arguments": "}"}}]),
        chunk(None, reason="tool_calls"),
    ),
    "usage": sse_answer(chunk("a", reason="stop"), chunk_of(usage=USAGE)),
    "no [DONE]": sse_answer(chunk("a", reason="stop"), done=False),
}
ERRORS: dict[int, Answer] = {
    status: json_answer(error_object(f"no {status}", code="c"), status=status, headers=headers)
    for status, headers in {
        400: {},
        401: {"x-request-id": "req_2"},
        402: {},
        404: {"x-should-retry": "false"},
        409: {},
        413: {},
        422: {},
        429: {"retry-after": "7"},
        500: {},
        503: {"retry-after-ms": "1500"},
        529: {},
    }.items()
}


@through
@pytest.mark.parametrize("name", UNARY)
async def test_openai_create(name: str, hops: int) -> None:
    answers = []
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        await upstream.answer(UNARY[name], always=True)
        for base in (upstream.url, url):
            async with client(base) as sdk:
                answer = await sdk.chat.completions.with_raw_response.create(**PING)
                answers.append((answer.parse(), answer.parse()._request_id))
                for header, value in HEADERS.items():
                    assert value == answer.headers[header]
    assert answers[0] == answers[1]


@through
@pytest.mark.parametrize("name", STREAMS)
async def test_openai_stream(name: str, hops: int) -> None:
    streams, folded = [], []
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        await upstream.answer(STREAMS[name], always=True)
        for base in (upstream.url, url):
            async with client(base) as sdk:
                stream = await sdk.chat.completions.create(**PING, stream=True)
                streams.append([part async for part in stream])
                async with sdk.chat.completions.stream(**PING) as told:
                    kinds = [item.type async for item in told]
                    folded.append((kinds, await told.get_final_completion()))
    assert streams[0] == streams[1]
    assert folded[0] == folded[1]


class Point(BaseModel):
    """What a model is to answer."""

    x: int
    y: int


@through
async def test_openai_parse(hops: int) -> None:
    parsed = []
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        answer = json_answer(completion(choice('{"x": 1, "y": 2}')), headers=HEADERS)
        await upstream.answer(answer, always=True)
        for base in (upstream.url, url):
            async with client(base) as sdk:
                result = await sdk.chat.completions.parse(**PING, response_format=Point)
                parsed.append(result.choices[0].message.parsed)
    assert [Point(x=1, y=2)] * 2 == parsed
    direct, relayed = upstream.requests
    assert direct.json == relayed.json


@through
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", ERRORS)
async def test_openai_errors(status: int, stream: bool, hops: int) -> None:
    failures: list[openai.APIStatusError] = []
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        await upstream.answer(ERRORS[status], always=True)
        for base in (upstream.url, url):
            async with client(base) as sdk:
                with pytest.raises(openai.APIStatusError) as caught:
                    await sdk.chat.completions.create(**PING, stream=stream)
                failures.append(caught.value)
    direct, relayed = failures
    assert (type(direct), direct.message) == (type(relayed), relayed.message)
    assert (direct.status_code, direct.body) == (relayed.status_code, relayed.body)
    for name in ("retry-after", "retry-after-ms", "x-should-retry"):
        assert direct.response.headers.get(name) == relayed.response.headers.get(name)
    assert direct.request_id in (None, relayed.request_id)
    assert 2 == len(upstream.requests)


@through
async def test_an_error_in_the_stream(hops: int) -> None:
    said = error_object("broke", type="server_error")
    failures = []
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        await upstream.answer(sse_answer(chunk("a"), said, done=False), always=True)
        for base in (upstream.url, url):
            async with client(base) as sdk:
                stream = await sdk.chat.completions.create(**PING, stream=True)
                parts = [(await anext(stream)).choices[0].delta.content]
                with pytest.raises(openai.APIError) as caught:
                    await anext(stream)
                failures.append((parts, caught.value.message, caught.value.body))
    assert failures[0] == failures[1]


@through
async def test_an_error_inside_200(hops: int) -> None:
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        said = error_object("slow down", code=429)
        await upstream.answer(json_answer(said), always=True)
        for stream in (False, True):
            status, _, value = await post(url, {**PING, "stream": stream})
            assert (429, said) == (status, value)


@through
async def test_openai_retries_as_the_upstream_asks(hops: int) -> None:
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        limited = json_answer(error_object("slow"), status=429, headers={"retry-after-ms": "1"})
        await upstream.answer(limited)
        await upstream.answer(UNARY["plain"])
        async with client(url, max_retries=1) as sdk:
            answer = await sdk.chat.completions.create(**PING)
    assert "pong" == answer.choices[0].message.content
    assert 2 == len(upstream.requests)


# The official client for Node; `make test-node` installs it.


@pytest.mark.skipif(not INSTALLED, reason="make test-node has not been run")
@through
async def test_node(hops: int) -> None:
    unary, streams = list(UNARY), list(STREAMS)
    errors = [f"error {status}" for status in ERRORS]
    cases = {
        "create": [f"unary {name}" for name in unary] + errors,
        "stream": [f"stream {name}" for name in streams] + [*errors, "error in the stream"],
        "helper": ["stream plain", "stream n=2", "stream tools"],
        "abort": ["hang"],
    }
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        for name, answer in UNARY.items():
            await upstream.answer(answer, model=f"unary {name}", always=True)
        for name, answer in STREAMS.items():
            await upstream.answer(answer, model=f"stream {name}", always=True)
        for status, answer in ERRORS.items():
            await upstream.answer(answer, model=f"error {status}", always=True)
        broken = sse_answer(chunk("a"), error_object("broke", type="server_error"), done=False)
        await upstream.answer(broken, model="error in the stream", always=True)
        await upstream.answer(sse_answer(chunk("a"), HANG), model="hang", always=True)
        direct = await node(upstream.url, cases)
        await upstream.next("closed")
        relayed = await node(url, cases)
        await upstream.next("closed")
    assert direct == relayed
    assert "pong" == relayed["create unary plain"]["data"]["choices"][0]["message"]["content"]
    assert "pong" == relayed["helper stream plain"]["text"]
    assert ("RateLimitError", "7") == (
        relayed["create error 429"]["failed"]["name"],
        relayed["create error 429"]["failed"]["retryAfter"],
    )
    assert [chunk("a")] == relayed["abort hang"]
