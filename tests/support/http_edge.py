"""Relays with the HTTP edge, and HTTP clients of them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import aiohttp
import pytest
from openai import AsyncOpenAI

from chatpb.sse import DONE, Decoder
from chatpb_server.running.serving import Options, Ports, serving, serving_all
from chatpb_server.upstreams.http import HttpUpstream as Http
from chatpb_server.upstreams.relay import GrpcUpstream
from chatpb_server.upstreams.router import RetryPolicy, Route, Router
from support import build
from support.build import PING, USAGE
from support.limits import TIMEOUT
from support.sdk import http_client

ONCE = RetryPolicy(attempts=1)
THROUGH = ["edge", "edge and core"]

through = pytest.mark.parametrize("hops", [1, 2], ids=THROUGH)

#: A completion with token counts and a member that the schema does not know.
completion = partial(build.completion, usage=USAGE, x_vendor={"a": [1.50, None, 10**30]})


def call(arguments: str, **members: Any) -> dict[str, Any]:
    """A tool call; `members` are its own, not its function's."""
    return {**members, "function": {"name": "f", "arguments": arguments}}


HEADERS = {"x-request-id": "req_1", "x-ratelimit-remaining-tokens": "9", "openai-model": "m-1"}


@asynccontextmanager
async def serve(
    url: str, hops: int, policy: RetryPolicy = ONCE, options: Options | None = None
) -> AsyncIterator[Ports]:
    """A relay with the HTTP edge before the upstream at `url`; with two hops, a core between."""
    http = Options(http="127.0.0.1:0") if options is None else options
    core = Router([Route("upstream", Http(url))], policy)
    if hops == 1:
        async with serving_all(core, options=http) as ports:
            yield ports
        return
    async with serving(core) as port:
        between = GrpcUpstream(f"grpc://127.0.0.1:{port}")
        edge = Router([Route("core", between)], RetryPolicy(base_delay=0.001, retries=2))
        async with serving_all(edge, options=http) as ports:
            yield ports


@asynccontextmanager
async def base_url(url: str, hops: int, **how: Any) -> AsyncIterator[str]:
    """The base URL of such a relay (see `serve`); with no hops, the upstream's own."""
    if hops == 0:
        yield url
        return
    async with serve(url, hops, **how) as ports:
        yield f"http://127.0.0.1:{ports.http}/v1"


@asynccontextmanager
async def posting(url: str, body: Any, **how: Any) -> AsyncIterator[aiohttp.ClientResponse]:
    """The answer to a POST; the body is bytes, or a value to send as JSON."""
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
    """The values of the events of a stream; DONE remains DONE."""
    decoder = Decoder()
    found = [*decoder.feed(data), *decoder.close()]
    return [DONE if item.data == DONE else json.loads(item.data) for item in found]


async def read_to_the_break(url: str, **how: Any) -> bytes:
    """The bytes that arrive of a stream that breaks off."""
    data = bytearray()

    async def read(response: aiohttp.ClientResponse) -> None:
        async for piece in response.content.iter_any():
            data.extend(piece)

    async with posting(url, {**PING, "stream": True}, **how) as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            await read(response)
    return bytes(data)


def client(url: str, **how: Any) -> AsyncOpenAI:
    """OpenAI's client, which does not retry."""
    given = {"max_retries": 0, "timeout": TIMEOUT, "http_client": http_client(True), **how}
    return AsyncOpenAI(base_url=url, api_key="k", **given)
