"""OpenAI clients, unchanged: the HTTP API of one relay, and of one that feeds another over gRPC."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
import trustme
from grpc import StatusCode, aio
from openai import AsyncOpenAI
from pydantic import BaseModel

from chatpb.sse import DONE, Decoder
from chatpb.v1.chat_completion_service_pb2_grpc import ChatCompletionServiceStub
from chatpb_server.access.tokens import new_token
from chatpb_server.core.explain import AuthenticationError
from chatpb_server.running.serving import Limits, Options, Ports, serving, serving_all
from chatpb_server.upstreams.http import HttpUpstream as Http
from chatpb_server.upstreams.relay import GrpcUpstream
from chatpb_server.upstreams.router import RetryPolicy, Route, Router
from support import build, recordings
from support.build import PING, USAGE, choice, chunk, chunk_of, create_request, error_object
from support.http_upstream import (
    CLOSE,
    HANG,
    RESET,
    WAIT,
    Answer,
    HttpUpstream,
    Repeat,
    json_answer,
    raw,
    refusing,
    sse_answer,
)
from support.limits import TIMEOUT, within
from support.relay_process import (
    end,
    finish,
    listening,
    start,
)

ONCE = RetryPolicy(attempts=1)
THROUGH = ["edge", "edge and core"]

through = pytest.mark.parametrize("hops", [1, 2], ids=THROUGH)


#: A completion that has token counts, and a member that no schema knows.
completion = partial(build.completion, usage=USAGE, x_vendor={"a": [1.50, None, 10**30]})


def call(arguments: str, **members: Any) -> dict[str, Any]:
    return {**members, "function": {"name": "f", "arguments": arguments}}


LOGPROBS = {
    "content": [{"token": "é", "logprob": -0.5, "bytes": [195, 169], "top_logprobs": []}],
    "refusal": None,
}
TOOL_CALLS = [call("{}", id="call_1", type="function")]
HEADERS = {"x-request-id": "req_1", "x-ratelimit-remaining-tokens": "9", "openai-model": "m-1"}
UNARY: dict[str, Answer] = {
    "plain": json_answer(completion(choice("pong")), headers=HEADERS),
    "n=2": json_answer(completion(choice("a"), choice("b", 1)), headers=HEADERS),
    "tools": json_answer(completion(choice(None, tool_calls=TOOL_CALLS)), headers=HEADERS),
    "logprobs": json_answer(
        completion({**choice("é"), "logprobs": LOGPROBS}, service_tier="on_demand"),
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


@asynccontextmanager
async def serve(
    url: str, hops: int, policy: RetryPolicy = ONCE, options: Options | None = None
) -> AsyncIterator[Ports]:
    """An edge before the upstream at a URL, or, for two hops, before a core before that."""
    http = Options(http="127.0.0.1:0") if options is None else options
    core = Router([Route("upstream", Http(url))], policy)
    if hops == 1:
        async with serving_all(core, options=http) as ports:
            yield ports
        return
    async with serving(core) as port:
        between = GrpcUpstream(f"grpc://127.0.0.1:{port}")
        edge = Router([Route("core", between)], RetryPolicy(base_delay=0.001))
        async with serving_all(edge, options=http) as ports:
            yield ports


@asynccontextmanager
async def base_url(url: str, hops: int, **how: Any) -> AsyncIterator[str]:
    """The base URL of such an edge; for no hop, the upstream's own."""
    if hops == 0:
        yield url
        return
    async with serve(url, hops, **how) as ports:
        yield f"http://127.0.0.1:{ports.http}/v1"


@asynccontextmanager
async def posting(url: str, body: Any, **how: Any) -> AsyncIterator[aiohttp.ClientResponse]:
    """The answer to a POST of JSON, or of bytes."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    timeout = aiohttp.ClientTimeout(TIMEOUT)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.post(f"{url}/chat/completions", data=data, **how) as response,
    ):
        yield response


async def post(url: str, body: Any = PING, **how: Any) -> tuple[int, Any, Any]:
    """The status, the headers and the JSON of an answer."""
    async with posting(url, body, **how) as response:
        text = await response.read()
        return response.status, response.headers, json.loads(text)


def events(data: bytes) -> list[Any]:
    """The values of the events of a stream; DONE as it is."""
    decoder = Decoder()
    found = [*decoder.feed(data), *decoder.close()]
    return [DONE if item.data == DONE else json.loads(item.data) for item in found]


async def read_to_the_break(url: str, **how: Any) -> bytes:
    """What comes of a stream that breaks off."""
    data = bytearray()

    async def read(response: aiohttp.ClientResponse) -> None:
        async for piece in response.content.iter_any():
            data.extend(piece)

    async with posting(url, {**PING, "stream": True}, **how) as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            await read(response)
    return bytes(data)


def client(url: str, **how: Any) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=url, api_key="k", **{"max_retries": 0, "timeout": TIMEOUT, **how})


# What the client gets is what the upstream sent.


@through
@pytest.mark.parametrize("recording", recordings.parameters(recordings.completions))
async def test_recorded_completions(recording: recordings.Recording, hops: int) -> None:
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        await upstream.answer(recording.answer("random"))
        async with posting(url, PING) as response:
            body = await response.read()
    assert (200, "application/json") == (response.status, response.content_type)
    assert json.loads(recording.body) == json.loads(body)


@through
@pytest.mark.parametrize("recording", recordings.parameters(recordings.streams))
async def test_recorded_streams(recording: recordings.Recording, hops: int) -> None:
    texts = [json.loads(text) for text in recording.texts]
    is_error = [isinstance(text, dict) and "error" in text for text in texts]
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        await upstream.answer(recording.answer("random"))
        async with posting(url, {**PING, "stream": True}) as response:
            body = await response.read()
    assert (200, "text/event-stream") == (response.status, response.content_type)
    values = [value for value in events(body) if value != DONE]
    if any(is_error):  # over two hops it comes last
        key = lambda value: "error" in value and "choices" not in value  # noqa: E731
        texts, values = sorted(texts, key=key), sorted(values, key=key)
    assert texts == values


@through
@pytest.mark.parametrize("recording", recordings.parameters(recordings.errors))
async def test_recorded_errors(recording: recordings.Recording, hops: int) -> None:
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        await upstream.answer(recording.answer(), always=True)
        for stream in (False, True):
            status, _, value = await post(url, {**PING, "stream": stream})
            assert (recording.status, json.loads(recording.body)) == (status, value)
    assert 2 == len(upstream.requests)


@pytest.mark.parametrize("hops", [1])
async def test_bytes_are_not_touched(hops: int) -> None:
    body = b' {"id" : "c",\n "object": "chat.completion", "choices":[]}\n'
    stream = (
        b": hello\r\n\r\ndata: " + json.dumps(chunk("a")).encode() + b"\r\n\r\ndata: [DONE]\n\n"
    )
    request = b'{"messages": [ ], "model":"m", "top_p": 1.0 }'
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        await upstream.answer(json_answer(body))
        async with posting(url, request) as response:
            assert body == await response.read()
        await upstream.answer(sse_answer(stream, done=False))
        streamed = b'{"stream" :true, "model":"m"}'
        async with posting(url, streamed) as response:
            assert stream == await response.read()
    assert [request, streamed] == [asked.body for asked in upstream.requests]


@through
async def test_the_request_is_the_clients(hops: int) -> None:
    members: Any = {**PING, "temperature": 0.5, "x_top_k": {"a": [1, None, 10**30]}, "seed": None}
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        await upstream.answer(json_answer(completion()))
        await post(url, members)
        await upstream.answer(sse_answer(chunk("a")))
        async with posting(url.removesuffix("/v1"), {**members, "stream": True}) as response:
            await response.read()
    assert [members, {**members, "stream": True}] == [asked.json for asked in upstream.requests]


@through
async def test_pieces_come_at_once(hops: int) -> None:
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        answer = sse_answer(chunk("a"), WAIT, chunk("b"), WAIT, chunk("c"), headers=HEADERS)
        await upstream.answer(answer)
        async with posting(url, {**PING, "stream": True}) as response:
            for text in "abc":
                [value, *rest] = events(await response.content.readany())
                assert chunk(text) == value
                await upstream.go()
            assert [DONE] == rest or [DONE] == events(await response.content.read())
    for name, value in HEADERS.items():
        assert value == response.headers[name]


# The official client.


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


NODE = Path(__file__).parents[1] / "polyglot" / "node"


async def node(url: str, cases: dict[str, list[str]]) -> dict[str, Any]:
    """What the client for Node gives in each case."""
    process = await asyncio.create_subprocess_exec(
        *("node", NODE / "client.mjs", url, json.dumps(cases)), stdout=PIPE, stderr=PIPE
    )
    code, output, errors = await finish(process)
    assert (0, "") == (code, errors)
    results: dict[str, Any] = json.loads(output)
    return results


@pytest.mark.skipif(not (NODE / "node_modules").exists(), reason="make test-node has not been run")
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


# Cancel, deadline and back-pressure pass through both hops.


@through
async def test_openai_abort_in_the_stream(hops: int) -> None:
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        await upstream.answer(sse_answer(chunk("a"), HANG))
        async with client(url) as sdk:
            stream = await sdk.chat.completions.create(**PING, stream=True)
            await anext(stream)
            await stream.close()
            await upstream.next("closed")


@through
@pytest.mark.parametrize("stream", [False, True])
async def test_openai_timeouts(stream: bool, hops: int) -> None:
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        await upstream.answer(raw(HANG))
        async with client(url, timeout=0.2) as sdk:
            with pytest.raises(openai.APITimeoutError):
                await sdk.chat.completions.create(**PING, stream=stream)
            await upstream.next("closed")


@through
@pytest.mark.parametrize("stream", [False, True])
async def test_the_deadline_of_the_header(stream: bool, hops: int) -> None:
    headers = {"x-request-timeout-ms": "300"}
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        await upstream.answer(raw(HANG))
        status, _, value = await post(url, {**PING, "stream": stream}, headers=headers)
        assert (504, "The time is up.") == (status, value["error"]["message"])
        await upstream.next("closed")
    [request] = upstream.requests
    assert 0 < int(request.headers["x-request-timeout-ms"]) <= 400


@through
async def test_the_deadline_in_the_stream(hops: int) -> None:
    headers = {"x-request-timeout-ms": "300"}
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        await upstream.answer(sse_answer(chunk("a"), HANG))
        data = await read_to_the_break(url, headers=headers)
        first, error = events(data)
        assert chunk("a") == first
        assert "The time is up." == error["error"]["message"]
        await upstream.next("closed")


@through
async def test_a_slow_reader_stops_the_reading(hops: int) -> None:
    endless = Repeat(b"data: " + json.dumps(chunk("x" * 1000)).encode() + b"\n\n")
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        await upstream.answer(sse_answer(endless))
        async with posting(url, {**PING, "stream": True}) as response:
            await response.content.readany()
            blocked = await upstream.next("blocked")
            assert blocked.sent < 30_000_000
        await upstream.next("closed")


@through
@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_vanishes_takes_its_request_with_it(stream: bool, hops: int) -> None:
    async with HttpUpstream() as upstream, serve(upstream.url, hops) as ports:
        await upstream.answer(raw(HANG))
        reader, writer = await asyncio.open_connection("127.0.0.1", ports.http)
        body = json.dumps({**PING, "stream": stream}).encode()
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n")
        writer.write(b"content-length: %d\r\n\r\n" % len(body) + body)
        await upstream.next_request()
        writer.transport.abort()
        await upstream.next("closed")
        assert b"" == await reader.read()


# What breaks off does not look complete.


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
    policy = RetryPolicy(base_delay=0.001, attempts=3)
    async with HttpUpstream() as upstream, base_url(upstream.url, 2, policy=policy) as url:
        await upstream.answer(json_answer(error_object("busy"), status=503), always=True)
        status, _, _ = await post(url)
    assert (503, 3) == (status, len(upstream.requests))


async def test_the_status_of_the_upstream_is_in_the_trailers() -> None:
    async with HttpUpstream() as upstream, serve(upstream.url, 2) as ports:
        await upstream.answer(json_answer(error_object("pay"), status=402))
        async with aio.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel:
            with pytest.raises(aio.AioRpcError) as caught:
                await ChatCompletionServiceStub(channel).CreateChatCompletion(create_request())
    assert StatusCode.FAILED_PRECONDITION == caught.value.code()
    assert "402" == dict(caught.value.trailing_metadata() or ())["chatpb-http-status"]


# Hostile and mistaken requests.


BAD: list[Any] = [
    pytest.param(b"", id="nothing"),
    pytest.param(b"{", id="cut"),
    pytest.param(b"[]", id="no object"),
    pytest.param(b"\xff", id="no text"),
    pytest.param(b"[" * 100_000, id="deep"),
]


@pytest.mark.parametrize("body", BAD)
async def test_what_is_no_json_is_refused(body: bytes) -> None:
    async with HttpUpstream() as upstream, base_url(upstream.url, 1) as url:
        status, _, value = await post(url, body)
    assert (400, "invalid_request_error") == (status, value["error"]["type"])
    assert value["error"]["message"].startswith("We could not parse the JSON body")
    assert [] == upstream.requests


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_huge_body_is_refused(is_chunked: bool) -> None:
    options = Options(http="127.0.0.1:0", limits=Limits(max_message_bytes=100_000))
    async with HttpUpstream() as upstream, base_url(upstream.url, 1, options=options) as url:
        body = json.dumps({**PING, "user": "x" * 200_000}).encode()
        status, _, value = await post(url, body, chunked=is_chunked or None)
        assert (413, "The request has more than 100000 bytes.") == (
            status,
            value["error"]["message"],
        )
        await upstream.answer(UNARY["plain"])
        assert 200 == (await post(url))[0]
    assert 1 == len(upstream.requests)


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 100_000, id="many headers"),
        pytest.param(b"GET / HTTP/1.1\r\nx: " + b"y" * 1_000_000, id="a long header"),
        pytest.param(b"GET /" + b"y" * 1_000_000, id="a long line"),
        pytest.param(b"\x16\x03\x01\x00\xa5", id="TLS"),
    ],
)
async def test_a_flood_of_headers_is_cut_off(head: bytes) -> None:
    async with HttpUpstream() as upstream, serve(upstream.url, 1) as ports:
        reader, writer = await asyncio.open_connection("127.0.0.1", ports.http)
        writer.write(head)
        with suppress(ConnectionError):
            await writer.drain()
            answer = await within(reader.read())
            assert b"" == answer or answer.startswith(b"HTTP/1.")
            assert b" 400 " in answer or not answer
        writer.transport.abort()


async def test_a_head_that_does_not_come_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chatpb_server.edges.http._IDLE", 0.2)
    async with HttpUpstream() as upstream, serve(upstream.url, 1) as ports:
        reader, writer = await asyncio.open_connection("127.0.0.1", ports.http)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost:")
        assert b"" == await within(reader.read())
        writer.close()


async def test_a_body_that_does_not_come_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chatpb_server.edges.answering._SILENCE", 0.2)
    async with HttpUpstream() as upstream, serve(upstream.url, 1) as ports:
        reader, writer = await asyncio.open_connection("127.0.0.1", ports.http)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n{")
        assert (await within(reader.readline())).startswith(b"HTTP/1.1 408 ")
        writer.close()


async def test_a_client_may_ask_before_it_sends_the_body() -> None:
    body = json.dumps(PING).encode()
    async with HttpUpstream() as upstream, serve(upstream.url, 1) as ports:
        await upstream.answer(UNARY["plain"])
        reader, writer = await asyncio.open_connection("127.0.0.1", ports.http)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\n")
        writer.write(b"content-length: %d\r\n\r\n" % len(body))
        assert b"HTTP/1.1 100 Continue\r\n\r\n" == await within(reader.readuntil(b"\r\n\r\n"))
        writer.write(body)
        assert (await within(reader.readline())).startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_an_unknown_caller_sends_no_body() -> None:
    def nobody(_call: Any, _peer: Any) -> str:
        raise AuthenticationError("who?")

    options = Options(http="127.0.0.1:0", authenticate=nobody)
    async with (
        HttpUpstream() as upstream,
        serve(upstream.url, 1, options=options) as ports,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", ports.http)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n")
        assert (await within(reader.readline())).startswith(b"HTTP/1.1 401 ")
        writer.close()


async def test_other_paths_and_methods() -> None:
    async with (
        HttpUpstream() as upstream,
        base_url(upstream.url, 1) as url,
        aiohttp.ClientSession() as session,
    ):
        async with session.post(f"{url}/embeddings") as response:
            error = (await response.json())["error"]
            assert (404, "Invalid URL (POST /v1/embeddings)") == (response.status, error["message"])
        async with session.get(f"{url}/chat/completions") as response:
            error = (await response.json())["error"]
            assert (405, "method_not_supported") == (response.status, error["code"])
        async with session.get(f"{url.removesuffix('/v1')}/healthz") as response:
            assert 200 == response.status
    assert [] == upstream.requests


async def test_models() -> None:
    options = Options(http="127.0.0.1:0", models={"gpt-x": "openai", "llama": "vllm"})
    async with (
        HttpUpstream() as upstream,
        base_url(upstream.url, 1, options=options) as url,
        client(url) as sdk,
    ):
        names = [(model.id, model.owned_by) async for model in sdk.models.list()]
        assert [("gpt-x", "openai"), ("llama", "vllm")] == names
        assert "llama" == (await sdk.models.retrieve("llama")).id
        with pytest.raises(openai.NotFoundError):
            await sdk.models.retrieve("no")


async def test_overload_is_said_at_once() -> None:
    options = Options(http="127.0.0.1:0", limits=Limits(max_running=1, max_waiting=0))
    async with HttpUpstream() as upstream, base_url(upstream.url, 1, options=options) as url:
        await upstream.answer(raw(WAIT, *UNARY["plain"].steps))
        first = asyncio.ensure_future(post(url))
        await upstream.next_request()
        status, headers, _ = await post(url)
        assert (429, "1") == (status, headers["retry-after"])
        await upstream.go()
        assert 200 == (await first)[0]


async def test_headers_of_the_caller_are_passed_on() -> None:
    options = Options(http="127.0.0.1:0", passed_on=("x-tenant",))
    async with HttpUpstream() as upstream, base_url(upstream.url, 1, options=options) as url:
        await upstream.answer(UNARY["plain"])
        await post(url, headers={"X-Tenant": "a b", "x-other": "c"})
        request = await upstream.next_request()
    assert "a b" == request.headers["x-tenant"]
    assert "x-other" not in request.headers


async def test_a_bad_deadline_is_refused() -> None:
    async with HttpUpstream() as upstream, base_url(upstream.url, 1) as url:
        status, _, _ = await post(url, headers={"x-request-timeout-ms": "soon"})
    assert 400 == status


# The process.


@asynccontextmanager
async def running(*arguments: object) -> AsyncIterator[tuple[Process, str, str]]:
    """The relay, its address, and the base URL of its HTTP API."""
    process = await start("--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", *arguments)
    try:
        address = await listening(process)
        assert process.stdout is not None
        line = (await within(process.stdout.readline())).decode()
        assert line.startswith("http on http"), line
        yield process, address, line.removeprefix("http on ").rstrip()
    finally:
        await end(process)


@asynccontextmanager
async def running_at(address: str) -> AsyncIterator[None]:
    """A relay with the builtin model at an address."""
    process = await start("--listen", address)
    try:
        await listening(process)
        yield
    finally:
        await end(process)


async def found(url: str) -> Any:
    """The completion of a relay that looks for its core again."""
    async with asyncio.timeout(TIMEOUT):
        while True:
            status, _, value = await post(url)
            if status == 200:
                return value


async def refusing_connections(url: str) -> None:
    """Waits until nobody listens at a URL."""
    host, _, port = url.removeprefix("http://").removesuffix("/v1").rpartition(":")
    async with asyncio.timeout(TIMEOUT):
        while True:
            try:
                _, writer = await asyncio.open_connection(host, int(port))
            except ConnectionRefusedError:
                return
            writer.transport.abort()


@through
async def test_calls_finish_after_sigterm(hops: int) -> None:
    async with (
        HttpUpstream() as upstream,
        running("--upstream", upstream.url) as (core, address, core_url),
        running("--upstream", f"grpc://{address}") as (edge, _, edge_url),
    ):
        process, url = (core, core_url) if hops == 1 else (edge, edge_url)
        await upstream.answer(sse_answer(chunk("a"), WAIT, chunk("b")))
        host, _, port = url.removeprefix("http://").removesuffix("/v1").rpartition(":")
        idle, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
        assert (await idle.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        async with posting(url, {**PING, "stream": True}) as response:
            assert [chunk("a")] == events(await response.content.readany())
            process.send_signal(signal.SIGTERM)
            assert b"" == await within(idle.read())
            await refusing_connections(url)
            await upstream.go()
            assert [chunk("b"), DONE] == events(await response.content.read())
        assert 0 == (await finish(process))[0]
        writer.close()


async def test_calls_that_outlast_the_grace_period_are_told() -> None:
    async with (
        HttpUpstream() as upstream,
        running("--upstream", upstream.url, "--grace", "0.2") as (process, _, url),
    ):
        await upstream.answer(sse_answer(chunk("a"), HANG))
        await upstream.answer(raw(HANG))
        stream = asyncio.ensure_future(read_to_the_break(url))
        await upstream.next_request()
        unary = asyncio.ensure_future(post(url))
        await upstream.next_request()
        process.send_signal(signal.SIGTERM)
        first, error = events(await within(stream))
        assert chunk("a") == first
        assert "The relay is stopping; call again." == error["error"]["message"]
        status, _, value = await within(unary)
        assert (503, error) == (status, value)
        assert 0 == (await finish(process))[0]


async def test_workers_share_the_port() -> None:
    async with running("--workers", "2") as (process, _, url):
        for _ in range(10):
            async with client(url) as sdk:
                answer = await sdk.chat.completions.create(**PING)
                assert "m" == answer.model
        process.send_signal(signal.SIGTERM)
        code, _, errors = await finish(process)
    assert (0, 10) == (code, errors.count("method=chat.completions"))


async def test_tls_and_tokens(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    mine = authority.issue_cert("127.0.0.1")
    mine.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    mine.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    secret, line = new_token("alice")
    (tmp_path / "tokens.txt").write_text(line)
    (tmp_path / "secret").write_text(secret)
    files = (
        *("--tls-cert", tmp_path / "cert.pem", "--tls-key", tmp_path / "key.pem"),
        *("--tokens", tmp_path / "tokens.txt"),
    )
    async with running(*files) as (process, address, url):
        assert url.startswith("https://")
        context = ssl.create_default_context(cafile=tmp_path / "ca.pem")
        for headers, expected in (
            ({}, 401),
            ({"authorization": "Bearer x"}, 401),
            ({"authorization": f"Bearer {secret}"}, 200),
        ):
            status, _, _ = await post(url, headers=headers, ssl=context)
            assert expected == status
        config = tmp_path / "edge.toml"
        config.write_text(f"""
            [upstreams.core]
            url = "grpcs://{address}"
            ca_file = "ca.pem"
            api_key_file = "secret"
            models = ["m", "gpt-*"]
            """)
        async with running("--config", config) as (_, _, edge), client(edge) as sdk:
            assert "m" == (await sdk.chat.completions.create(**PING)).model
            assert ["m"] == [model.id async for model in sdk.models.list()]
        process.send_signal(signal.SIGTERM)
        code, _, errors = await finish(process)
    assert (0, 2) == (code, errors.count("caller=alice"))


async def test_mutual_tls_names_the_caller(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    own = authority.issue_cert("127.0.0.1")
    own.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    own.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    files = (
        *("--tls-cert", tmp_path / "cert.pem", "--tls-key", tmp_path / "key.pem"),
        *("--tls-client-ca", tmp_path / "ca.pem"),
    )
    async with running(*files) as (process, _, url):
        context = ssl.create_default_context(cafile=tmp_path / "ca.pem")
        with pytest.raises(aiohttp.ClientError):
            await post(url, ssl=context)
        authority.issue_cert("batch.test").configure_cert(context)
        assert 200 == (await post(url, ssl=context))[0]
        # The files are read again.
        renewed = authority.issue_cert("127.0.0.1", "renewed.test")
        renewed.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
        renewed.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
        host, _, port = url.removeprefix("https://").removesuffix("/v1").rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port), ssl=context)
        shown = writer.get_extra_info("peercert")["subjectAltName"]
        assert ("DNS", "renewed.test") in shown
        writer.close()
        process.send_signal(signal.SIGTERM)
        assert "caller=batch.test" in (await finish(process))[2]


MISTAKES: list[Any] = [
    pytest.param(
        ("--http", "0.0.0.0:0"),
        "--http: will not listen on 0.0.0.0, beyond loopback, without TLS (--tls-cert and"
        " --tls-key) and authentication (--tokens or --tls-client-ca)",
        id="exposed",
    ),
    pytest.param(
        ("--upstream", "grpc://127.0.0.1"),
        "--upstream: expected grpc://HOST:PORT alone",
        id="no port",
    ),
    pytest.param(
        ("--upstream", "grpcs://127.0.0.1:1/v1"),
        "--upstream: expected grpcs://HOST:PORT alone",
        id="a path",
    ),
]


@pytest.mark.parametrize(("arguments", "expected"), MISTAKES)
async def test_mistakes_in_the_settings(arguments: tuple[str, ...], expected: str) -> None:
    process = await start(*arguments)
    code, output, errors = await finish(process)
    assert (2, "") == (code, output)
    assert expected in errors
