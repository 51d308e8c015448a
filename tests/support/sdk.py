"""OpenAI's SDK of both kinds with the same methods, over HTTP and over gRPC."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx2
import openai
import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient, DefaultHttpxClient, OpenAI
from pydantic import BaseModel

from chatpb.transport import AsyncGrpcTransport, GrpcTransport
from chatpb_server.running.serving import Options, serving
from chatpb_server.upstreams.http import HttpUpstream as Http
from chatpb_server.upstreams.remote import RemoteSettings
from chatpb_server.upstreams.router import RetryPolicy, Route, Router
from support.build import PING
from support.http_upstream import HttpUpstream
from support.limits import within

_NO_CERTIFICATES: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

HEADERS = {
    "x-request-id": "req_1",
    "openai-organization": "org",
    "openai-processing-ms": "12",
    "x-ratelimit-remaining-tokens": "9",
}


def value(model: BaseModel) -> Any:
    """The JSON value that an object of the SDK was made from."""
    return model.model_dump(mode="json", exclude_unset=True, by_alias=True, warnings=False)


class Sdk:
    """OpenAI's SDK of either kind.

    Args:
        is_async: Which kind.
        transport: The transport; None: HTTP.
        options: Of the SDK's client.
    """

    def __init__(self, is_async: bool, transport: Any = None, **options: Any) -> None:
        options = {"api_key": "key", "max_retries": 0, "base_url": "http://x.invalid/v1"} | options
        kind: Any = AsyncOpenAI if is_async else OpenAI
        if transport is not None:
            http: Any = httpx2.AsyncClient if is_async else httpx2.Client
            options["http_client"] = http(transport=transport)
        else:
            options["http_client"] = http_client(is_async)
        self.is_async = is_async
        self.client: Any = kind(**options)

    async def __aenter__(self) -> Sdk:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.run(lambda client: client.close())

    async def run(self, call: Callable[[Any], Any]) -> Any:
        """The result of a call."""
        if self.is_async:
            return await within(call(self.client))
        return await within(asyncio.to_thread(call, self.client))

    async def create(self, **members: Any) -> Any:
        """The result of ``chat.completions.create``."""
        return await self.run(lambda client: client.chat.completions.create(**{**PING, **members}))

    async def next(self, stream: Any) -> Any:
        """The next item of a stream, or None."""
        if self.is_async:
            return await within(anext(aiter(stream), None))
        return await within(asyncio.to_thread(next, iter(stream), None))

    async def close(self, stream: Any) -> None:
        """Closes a stream."""
        if self.is_async:
            await stream.close()
        else:
            stream.close()

    async def stream(self, **members: Any) -> tuple[list[Any], Exception | None]:
        """The chunks of a stream as JSON values, and the error at its end."""
        chunks: list[Any] = []
        try:
            stream = await self.create(stream=True, **members)
            while (part := await self.next(stream)) is not None:
                chunks.append(value(part))
        except openai.APIError as error:
            return chunks, error
        return chunks, None

    async def failure(self, **members: Any) -> openai.APIError:
        """The error that ``chat.completions.create`` raises."""
        with pytest.raises(openai.APIError) as caught:
            await self.create(**members)
        return caught.value


def http_client(is_async: bool) -> Any:
    """The SDK's own HTTP client, without the system's certificates.

    To read those takes 20 ms for each client, and the tests speak plain HTTP.
    """
    kind: Any = DefaultAsyncHttpxClient if is_async else DefaultHttpxClient
    return kind(verify=_NO_CERTIFICATES)


def grpc_transport(is_async: bool, target: str, **options: Any) -> Any:
    """A transport of either kind."""
    return (AsyncGrpcTransport if is_async else GrpcTransport)(target, **options)


@asynccontextmanager
async def relay(
    url: str, *, settings: RemoteSettings | None = None, **options: Any
) -> AsyncIterator[str]:
    """The address of a relay to an upstream. It does not retry."""
    router = Router([Route("u", Http(url, settings))], RetryPolicy(attempts=1))
    async with serving(router, options=Options(**options)) as port:
        yield f"127.0.0.1:{port}"


@asynccontextmanager
async def both(is_async: bool, **options: Any) -> AsyncIterator[tuple[HttpUpstream, Sdk, Sdk]]:
    """An upstream; the SDK over HTTP to it; and the SDK over gRPC, through a relay."""
    async with (
        HttpUpstream() as upstream,
        relay(upstream.url) as address,
        pair(is_async, upstream.url, address, **options) as (direct, through),
    ):
        yield upstream, direct, through


@asynccontextmanager
async def pair(
    is_async: bool, url: str, address: str, **options: Any
) -> AsyncIterator[tuple[Sdk, Sdk]]:
    """The SDK over HTTP to a URL, and over gRPC to an address."""
    async with (
        Sdk(is_async, base_url=url, **options) as direct,
        Sdk(is_async, grpc_transport(is_async, address), **options) as through,
    ):
        yield direct, through


def worth_having(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that callers use."""
    names = (*HEADERS, "retry-after", "retry-after-ms")
    found = {name: headers[name] for name in names if name in headers}
    return {**found, "content-type": headers["content-type"]}


def described(error: Any) -> dict[str, Any]:
    """All attributes of an error of the SDK that callers use."""
    names = ("message", "body", "code", "param", "type", "status_code", "request_id")
    said: dict[str, Any] = {name: getattr(error, name, None) for name in names}
    if isinstance(error, openai.APIStatusError):
        said["headers"] = worth_having(error.response.headers)
    return {**said, "class": type(error)}
