"""Both clients with the same methods: those of the one for asyncio."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chatpb.client import ChatCompletionError, ChatCompletionStream, Client
from chatpb.v1 import ChatCompletion
from support.build import PING
from support.limits import within


class Twin:
    """The client without asyncio; each call runs in a thread."""

    def __init__(self, target: str, **options: Any) -> None:
        self.client = Client(target, **options)

    async def create(self, *args: Any, **call: Any) -> Any:
        """The same as the client's."""
        return await asyncio.to_thread(self.client.create, *args, **call)

    async def create_with_metadata(self, *args: Any, **call: Any) -> Any:
        """The same as the client's."""
        return await asyncio.to_thread(self.client.create_with_metadata, *args, **call)

    async def list_models(self, **call: Any) -> Any:
        """The same as the client's."""
        return await asyncio.to_thread(self.client.list_models, **call)

    async def get_model(self, *args: Any, **call: Any) -> Any:
        """The same as the client's."""
        return await asyncio.to_thread(self.client.get_model, *args, **call)

    def __getattr__(self, name: str) -> Any:
        """Those for stored completions."""

        async def call(*args: Any, **options: Any) -> Any:
            return await asyncio.to_thread(getattr(self.client, name), *args, **options)

        return call

    async def wait_until_ready(self, *args: Any, **call: Any) -> None:
        """The same as the client's."""
        await asyncio.to_thread(self.client.wait_until_ready, *args, **call)

    def stream(self, *args: Any, **call: Any) -> TwinStream:
        """The same as the client's."""
        return TwinStream(self.client.stream(*args, **call))

    async def close(self) -> None:
        """The same as the client's, by its context manager."""
        with self.client as client:
            assert client is self.client

    async def __aenter__(self) -> Twin:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class TwinStream:
    """The stream without asyncio; each step runs in a thread."""

    def __init__(self, stream: ChatCompletionStream) -> None:
        self.stream = stream

    @property
    def metadata(self) -> Any:
        """The same as the stream's."""
        return self.stream.metadata

    async def fold(self) -> Any:
        """The same as the stream's."""
        return await asyncio.to_thread(self.stream.fold)

    def __aiter__(self) -> TwinStream:
        return self

    async def __anext__(self) -> Any:
        chunk = await asyncio.to_thread(next, iter(self.stream), None)
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    async def __aenter__(self) -> TwinStream:
        assert self.stream.__enter__() is self.stream
        return self

    async def __aexit__(self, *reason: object) -> None:
        self.stream.__exit__(*reason)


both_calls = pytest.mark.parametrize("stream", [False, True], ids=["create", "stream"])


async def asked(client: Any, stream: bool, **call: Any) -> ChatCompletion:
    """The completion that a unary or a streaming call returns."""
    made = client.stream(PING, **call).fold() if stream else client.create(PING, **call)
    completion: ChatCompletion = await within(made)
    return completion


async def failure(client: Any, stream: bool = False, **call: Any) -> ChatCompletionError:
    """The error that a call fails with."""
    with pytest.raises(ChatCompletionError) as caught:
        await asked(client, stream, **call)
    return caught.value
