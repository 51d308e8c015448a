"""An upstream, and a fallback, that can be replaced while they are asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Generic, Protocol, TypeVar

from chatpb_server.core.models import ListedModel, ModelsRequest, models_of
from chatpb_server.core.passing import Fallback, PassedAnswer, PassedRequest
from chatpb_server.core.stored import PassesStored, StoredRequest, passes_stored
from chatpb_server.core.upstream import (
    Upstream,
    UpstreamAnswer,
    UpstreamConnectError,
    UpstreamRequest,
    UpstreamStream,
)


class CurrentUpstream:
    """An `Upstream` that asks another one, which can be replaced.

    Args:
        upstream: The first one.
    """

    def __init__(self, upstream: Upstream) -> None:
        self._current = _Used(upstream)
        self._leaving: set[asyncio.Task[None]] = set()

    def replace(self, upstream: Upstream) -> None:
        """Asks another one from now on. The one before is closed after its last call."""
        leaving = asyncio.ensure_future(self._current.leave())
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)
        self._current = _Used(upstream)

    async def create(self, request: UpstreamRequest) -> UpstreamAnswer:
        """Answers with a whole completion, as `Upstream.create` says."""
        with self._current as upstream:
            return await upstream.create(request)

    @asynccontextmanager
    async def stream(self, request: UpstreamRequest) -> AsyncIterator[UpstreamStream]:
        """Answers piece by piece, as `Upstream.stream` says."""
        with self._current as upstream:
            async with upstream.stream(request) as stream:
                yield stream

    async def models(self, request: ModelsRequest) -> Sequence[ListedModel]:
        """Lists its models, as `ListsModels.models` says, if it can."""
        with self._current as upstream:
            return await models_of(upstream, request)

    @property
    def passes_stored(self) -> bool:
        """Whether it is a relay, as `PassesStored.passes_stored` says."""
        return passes_stored(self._current.upstream)

    async def stored(self, request: StoredRequest) -> bytes:
        """The response of an rpc, as `PassesStored.stored` says."""
        with self._current as upstream:
            assert isinstance(upstream, PassesStored)
            return await upstream.stored(request)

    async def close(self) -> None:
        """Closes all of them."""
        await asyncio.gather(self._current.leave(), *self._leaving)


class CurrentFallback:
    """A `Fallback` that passes requests to another one, which can be replaced.

    Args:
        fallback: The first one. None: there is none, and nothing is passed.
    """

    def __init__(self, fallback: Fallback | None) -> None:
        self._current = None if fallback is None else _Used(fallback)
        self._leaving: set[asyncio.Task[None]] = set()

    def replace(self, fallback: Fallback | None) -> None:
        """Passes to another one from now on. The one before is closed after its last call."""
        if self._current is not None:
            leaving = asyncio.ensure_future(self._current.leave())
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)
        self._current = None if fallback is None else _Used(fallback)

    @asynccontextmanager
    async def send(self, request: PassedRequest) -> AsyncIterator[PassedAnswer]:
        """Sends a request, as `Fallback.send` says."""
        if self._current is None:  # it was taken away while the call waited for its turn
            raise UpstreamConnectError("no fallback")
        with self._current as fallback:
            async with fallback.send(request) as answer:
                yield answer

    async def close(self) -> None:
        """Closes all of them."""
        self.replace(None)
        await asyncio.gather(*self._leaving)


class _Closable(Protocol):
    async def close(self) -> None: ...


_Closing = TypeVar("_Closing", bound=_Closable)


class _Used(Generic[_Closing]):
    """An upstream or a fallback, and how many calls use it."""

    def __init__(self, upstream: _Closing) -> None:
        self.upstream = upstream
        self._calls = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def __enter__(self) -> _Closing:
        """Keeps it open for as long as the context lasts."""
        self._calls += 1
        self._idle.clear()
        return self.upstream

    def __exit__(self, *_: object) -> None:
        self._calls -= 1
        if not self._calls:
            self._idle.set()

    async def leave(self) -> None:
        """Closes it as soon as no call uses it."""
        await self._idle.wait()
        await self.upstream.close()
