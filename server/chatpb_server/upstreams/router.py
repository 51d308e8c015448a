"""Several upstreams as one: by model, by weight, and the next where one fails."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, ClassVar, Final

from pydantic import Field

from chatpb_server.core.explain import retry_after
from chatpb_server.core.setting import Count, Seconds, Setting, Table
from chatpb_server.core.upstream import (
    Upstream,
    UpstreamAnswer,
    UpstreamChunks,
    UpstreamConnectError,
    UpstreamDataError,
    UpstreamError,
    UpstreamFault,
    UpstreamRequest,
    UpstreamStream,
    UpstreamTimeoutError,
    refusal,
)

_OUTCOMES: Final[Mapping[type[UpstreamFault], str]] = {
    UpstreamConnectError: "connect",
    UpstreamDataError: "data",
    UpstreamTimeoutError: "timeout",
}


@dataclass(frozen=True, slots=True)
class Route:
    """A named upstream.

    Attributes:
        name: Its name, in logs and metrics.
        upstream: The upstream.
        models: The models that it answers; ``*`` matches any text.
        weight: Its share of the calls among those that answer a model. 0: only where others fail.
    """

    name: str
    upstream: Upstream
    models: Sequence[str] = ("*",)
    weight: float = 1

    def answers(self, model: str) -> bool:
        """Whether it answers a model."""
        return any(fnmatchcase(model, pattern) for pattern in self.models)


class RetryPolicy(Table):
    """When a request is sent again. That never happens once the answer has begun."""

    title: ClassVar[str] = "Retries"

    attempts: Annotated[
        Count,
        Setting(
            "How many times a request can be sent in all. Each upstream of its model is asked once"
            " even if this number is lower.",
            unit="attempts",
        ),
    ] = 3
    http_statuses: Annotated[
        frozenset[Annotated[int, Field(ge=300, le=599)]],
        Setting(
            "The answers after which a request can be sent again. A failure to connect is always"
            " one of them.",
        ),
    ] = frozenset((429, 502, 503, 504))
    base_delay: Annotated[
        Seconds,
        Setting(
            "The longest wait before an upstream is asked for the second time. It doubles each"
            " time; the wait is a random part of it, or what Retry-After asks for.",
            unit="seconds",
        ),
    ] = 0.25
    max_delay: Annotated[
        Seconds,
        Setting(
            "The longest wait. An upstream that asks for a longer one is not asked again.",
            unit="seconds",
        ),
    ] = 8
    budget: Annotated[
        float,
        Field(ge=0),
        Setting(
            "How many retries there can be for each call, on average.",
            unit="retries per call",
        ),
    ] = 0.2
    burst: Annotated[
        float,
        Field(ge=0),
        Setting("How many retries there can be beyond that average.", unit="retries"),
    ] = 10

    def allows(self, error: UpstreamFault) -> bool:
        """Whether a request that failed with this error may be sent again."""
        if isinstance(error, UpstreamError):
            return error.http_status in self.http_statuses and not error.is_final
        return isinstance(error, UpstreamConnectError)


class Router:
    """An `Upstream` that asks one of several.

    Args:
        routes: The upstreams; at least one.
        policy: When a request is sent again.
        rng: Where chance comes from.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        policy: RetryPolicy | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._routes = routes
        self._policy = policy or RetryPolicy()
        self._rng = rng or random.Random()
        self._budget = self._policy.burst

    async def create(self, request: UpstreamRequest) -> UpstreamAnswer:
        """Answers with a whole completion, as `Upstream.create` says."""
        attempts = self._attempts(request)
        while True:
            upstream = attempts.begin()
            try:
                answer = await upstream.create(request)
            except UpstreamFault as error:
                await attempts.failed(error)
            else:
                attempts.succeeded()
                return answer

    @asynccontextmanager
    async def stream(self, request: UpstreamRequest) -> AsyncIterator[UpstreamStream]:
        """Answers piece by piece, as `Upstream.stream` says."""
        attempts = self._attempts(request)
        while True:
            upstream = attempts.begin()
            async with AsyncExitStack() as stack:
                try:
                    stream = await stack.enter_async_context(upstream.stream(request))
                    first = await anext(stream.chunks, None)
                except UpstreamFault as error:
                    failure = error
                else:
                    attempts.succeeded()
                    chunks = await stack.enter_async_context(aclosing(_all(first, stream.chunks)))
                    yield UpstreamStream(chunks, stream.headers)
                    return
            await attempts.failed(failure)

    async def close(self) -> None:
        """Closes the upstreams."""
        for route in self._routes:
            await route.upstream.close()

    def _attempts(self, request: UpstreamRequest) -> _Attempts:
        routes = [route for route in self._routes if route.answers(request.model)]
        if not routes:
            text = f"The model `{request.model}` does not exist here: no upstream answers it."
            raise refusal(404, text, param="model", code="model_not_found")
        if len(routes) > 1:
            # The order of a draw without replacement (Efraimidis and Spirakis, 2006).
            def draw(route: Route) -> float:
                return self._rng.random() ** (1 / route.weight) if route.weight > 0 else 0

            routes.sort(key=draw, reverse=True)
        self._budget = min(self._policy.burst, self._budget + self._policy.budget)
        return _Attempts(self, routes, request)

    def _spend(self) -> bool:
        """Takes a retry from the budget, if there is one."""
        if self._budget < 1:
            return False
        self._budget -= 1
        return True


@dataclass(slots=True)
class _Attempts:
    """The attempts to get one answer."""

    router: Router
    routes: Sequence[Route]
    request: UpstreamRequest
    count: int = 0
    started: float = 0

    def begin(self) -> Upstream:
        """Picks the upstream to ask."""
        route = self.routes[self.count % len(self.routes)]
        self.count += 1
        self.request.attempts.attempting(route.name)
        self.started = time.monotonic()
        return route.upstream

    def succeeded(self) -> None:
        """Reports an answer."""
        self._attempted("200")

    async def failed(self, error: UpstreamFault) -> None:
        """Reports a failure, and waits until the next attempt.

        Raises:
            UpstreamFault: The error, if there is no other attempt.
        """
        if isinstance(error, UpstreamError):
            self._attempted(str(error.http_status))
        else:
            self._attempted(_OUTCOMES[type(error)])
        policy = self.router._policy
        is_last = self.count >= max(policy.attempts, len(self.routes))
        if is_last or not policy.allows(error):
            raise error
        delay = self._delay(error)
        left = self.request.seconds_left()
        is_late = left is not None and delay is not None and left <= delay
        if delay is None or is_late or not self.router._spend():
            raise error
        if delay:
            await asyncio.sleep(delay)

    def _delay(self, error: UpstreamFault) -> float | None:
        """How long to wait before the next attempt; None for too long."""
        round_number = self.count // len(self.routes)
        if not round_number:
            return 0
        policy = self.router._policy
        longest: float = min(policy.max_delay, policy.base_delay * 2.0 ** (round_number - 1))
        delay = longest * self.router._rng.random()
        asked = retry_after(error.headers) if isinstance(error, UpstreamError) else None
        if asked is not None:
            delay = asked + policy.base_delay * self.router._rng.random()
            return delay if asked <= policy.max_delay else None
        return delay

    def _attempted(self, outcome: str) -> None:
        self.request.attempts.attempted(outcome, time.monotonic() - self.started)


async def _all(
    first: UpstreamChunks | None, rest: AsyncIterator[UpstreamChunks]
) -> AsyncGenerator[UpstreamChunks, None]:
    if first is not None:
        yield first
    async for chunks in rest:
        yield chunks
