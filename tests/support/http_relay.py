"""A gRPC relay in front of HTTP upstreams, and how its calls end."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc import aio

from chatpb import to_json
from chatpb.v1.chat_completion_service_pb2_grpc import ChatCompletionServiceStub
from chatpb.v1.error_pb2 import ErrorResponse
from chatpb_server.running.serving import Options, serving
from chatpb_server.upstreams.http import HttpUpstream as Http
from chatpb_server.upstreams.remote import RemoteSettings
from chatpb_server.upstreams.router import RetryPolicy, Route, Router
from support.build import create_request, stream_request
from support.limits import TIMEOUT

FAST = RetryPolicy(base_delay=0.001)


class Relay:
    """A relay in front of upstreams, and a stub that calls it."""

    def __init__(self, channel: aio.Channel) -> None:
        self.channel = channel
        self.stub = ChatCompletionServiceStub(channel)

    def create(self, timeout: float | None = TIMEOUT, **members: Any) -> Any:
        """Starts a unary call."""
        return self.stub.CreateChatCompletion(create_request(**members), timeout=timeout)

    def stream(self, timeout: float | None = TIMEOUT, **members: Any) -> Any:
        """Starts a streaming call."""
        return self.stub.StreamChatCompletion(stream_request(**members), timeout=timeout)


@asynccontextmanager
async def relay(
    *urls: str,
    settings: RemoteSettings | None = None,
    policy: RetryPolicy | None = FAST,
    options: Options | None = None,
) -> AsyncIterator[Relay]:
    """A relay in front of the upstreams at URLs, which are tried in this order."""
    routes = [
        Route(f"u{place}", Http(url, settings), weight=0 if place else 1)
        for place, url in enumerate(urls)
    ]
    router = Router(routes, policy, random.Random(1))
    large = [("grpc.max_receive_message_length", -1)]
    async with (
        serving(router, options=options) as port,
        aio.insecure_channel(f"127.0.0.1:{port}", options=large) as channel,
    ):
        yield Relay(channel)


async def read_all(call: Any, into: list[Any] | None = None) -> list[Any]:
    """The chunks of a stream, as JSON values."""
    chunks: list[Any] = [] if into is None else into
    async for response in call:
        chunks += [json.loads(to_json(part, allow_nan=True)) for part in response.chunks]
    return chunks


async def failure(call: Any) -> aio.AioRpcError:
    """The error of a unary call."""
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    return caught.value


async def stream_failure(call: Any) -> tuple[list[Any], aio.AioRpcError]:
    """The chunks of a stream before it fails, and its error."""
    chunks: list[Any] = []
    with pytest.raises(aio.AioRpcError) as caught:
        await read_all(call, chunks)
    return chunks, caught.value


def details(error: aio.AioRpcError) -> dict[type[Message], Any]:
    """The details of a status, by message type."""
    data = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
    assert isinstance(data, bytes)
    found: dict[type[Message], Any] = {}
    for detail in status_pb2.Status.FromString(data).details:
        for kind in (ErrorResponse, error_details_pb2.RetryInfo, error_details_pb2.RequestInfo):
            message = kind()
            if detail.Unpack(message):
                found[kind] = message
    return found
