"""Several upstreams as one: by model, by weight, and the next where one fails."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, ClassVar, Final

from pydantic import Field

from chatpb_server.core.explain import retry_after
from chatpb_server.core.frames import without_frames
from chatpb_server.core.models import ListedModel, ModelsRequest
from chatpb_server.core.setting import Count, Seconds, Setting, Table
from chatpb_server.core.stored import StoredRequest, passes_stored
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
from chatpb_server.upstreams.catalog import ModelsTable
from chatpb_server.upstreams.route_models import RouteModels, united

#: OpenAI's word for an error that waiting does not cure. It can be anywhere in the error.
_USED_UP_QUOTA: Final = b"insufficient_quota"
OUTCOMES: Final[Mapping[type[UpstreamFault], str]] = {
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
        return "*" in self.models or any(fnmatchcase(model, pattern) for pattern in self.models)


class RetryPolicy(Table):
    """When a request is sent again. That never happens once the answer has begun.

    The callers retry too: SDKs do by default. So an answer goes to the caller at once, unless
    another upstream can be asked; only a request that no upstream has received is sent again.
    """

    title: ClassVar[str] = "Retries"

    retries: Annotated[
        int,
        Field(ge=0),
        Setting(
            "How many more requests one call can send to upstreams that have already answered it"
            " with one of `http_statuses`. They multiply with the callers' own retries: if a"
            " caller sends a call up to 3 times, as OpenAI's SDKs do, one upstream gets up to"
            " 3 x (1 + RETRIES) requests. An upstream that answered with `x-should-retry: false`"
            " or the error `insufficient_quota` is never asked again.",
            flag="--retries",
            unit="retries",
        ),
    ] = 0
    attempts: Annotated[
        Count,
        Setting(
            "How many times a request that no upstream has received, because there was no"
            " connection, can be sent in all. Each upstream of its model is asked once even if"
            " this number is lower.",
            unit="attempts",
        ),
    ] = 3
    http_statuses: Annotated[
        frozenset[Annotated[int, Field(ge=300, le=599)]],
        Setting(
            "The answers after which the next upstream of the model is asked, and the same one"
            " again if `retries` allows it."
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
            "How many retries there can be for each call, on average. The first request to each"
            " upstream is not a retry.",
            unit="retries per call",
        ),
    ] = 0.2
    burst: Annotated[
        float,
        Field(ge=0),
        Setting("How many retries there can be beyond that average.", unit="retries"),
    ] = 10

    def allows_another(self, error: UpstreamError) -> bool:
        """Whether another upstream may be asked after an answer."""
        return error.http_status in self.http_statuses and not error.is_final


class Router:
    """An `Upstream` that asks one of several.

    Args:
        routes: The upstreams; at least one.
        policy: When a request is sent again.
        rng: Where chance comes from.
        models: How long what the upstreams list can take, and is kept.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        policy: RetryPolicy | None = None,
        rng: random.Random | None = None,
        models: ModelsTable | None = None,
    ) -> None:
        self._routes = routes
        self._policy = policy or RetryPolicy()
        self._rng = rng or random.Random()
        self._budget = self._policy.burst
        asking = models or ModelsTable()
        self._lists = [
            RouteModels(route.name, route.upstream, route.models, asking) for route in routes
        ]

    async def models(self, request: ModelsRequest) -> Sequence[ListedModel]:
        """Lists the models of all routes, as `ListsModels.models` says."""
        return await united(self._lists, request)

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
                    yield UpstreamStream(_All(first, stream.chunks), stream.headers)
                    return
            await attempts.failed(failure)

    @property
    def passes_stored(self) -> bool:
        """Whether one of them is a relay, as `PassesStored.passes_stored` says."""
        return any(passes_stored(route.upstream) for route in self._routes)

    async def stored(self, request: StoredRequest) -> bytes:
        """The response of an rpc from the first that is a relay, as `PassesStored.stored` says."""
        relays = [route.upstream for route in self._routes if passes_stored(route.upstream)]
        return await relays[0].stored(request)

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


class _Attempts:
    """The attempts to get one answer.

    Args:
        router: The router.
        routes: The upstreams, in the order in which they are asked.
        request: The request.
    """

    def __init__(self, router: Router, routes: Sequence[Route], request: UpstreamRequest) -> None:
        self._router = router
        self._request = request
        self._waiting = [*routes]
        self._fewest = len(routes)
        self._count = 0
        self._retries = router._policy.retries
        self._started = 0.0
        self._answer: UpstreamError | None = None

    def begin(self) -> Upstream:
        """Picks the upstream to ask."""
        self._asked = self._waiting.pop(0)
        self._count += 1
        self._request.attempts.attempting(self._asked.name)
        self._started = time.monotonic()
        return self._asked.upstream

    def succeeded(self) -> None:
        """Reports an answer."""
        self._attempted("200")

    async def failed(self, error: UpstreamFault) -> None:
        """Reports a failure, and waits until the next attempt.

        Raises:
            UpstreamFault: The error, if there is no other attempt. The last answer of an upstream
                takes precedence over a failure to connect to another one.
        """
        if isinstance(error, UpstreamError):
            self._attempted(str(error.http_status))
        else:
            self._attempted(OUTCOMES[type(error)])
        if not self._may_go_on(error):
            raise error
        last = self._answer or error
        delay = self._delay(error)
        left = self._request.seconds_left()
        is_late = left is not None and delay is not None and left <= delay
        if not self._waiting or delay is None or is_late:
            raise last
        is_failover = self._count < self._fewest  # to an upstream that this call has not asked
        if not is_failover and not self._router._spend():
            raise last
        without_frames(error)  # it stays in `_answer`, and here
        if delay:
            await asyncio.sleep(delay)

    def _may_go_on(self, error: UpstreamFault) -> bool:
        """Whether the request may be sent again at all; if so, the upstream may get a new turn."""
        policy = self._router._policy
        if isinstance(error, UpstreamConnectError):
            is_unheard = self._answer is None
            if is_unheard and self._count + len(self._waiting) < policy.attempts:
                self._waiting.append(self._asked)
            return True
        if not isinstance(error, UpstreamError) or not policy.allows_another(error):
            return False
        if self._answer is None:  # so no upstream is tried a second time for a connection
            del self._waiting[max(0, self._fewest - self._count) :]
        self._answer = error
        if self._retries and not _is_asked_once(error):
            self._retries -= 1
            self._waiting.append(self._asked)
        return True

    def _delay(self, error: UpstreamFault) -> float | None:
        """How long to wait before the next attempt; None for too long."""
        round_number = self._count // self._fewest
        if not round_number:
            return 0
        policy = self._router._policy
        longest: float = min(policy.max_delay, policy.base_delay * 2.0 ** (round_number - 1))
        delay = longest * self._router._rng.random()
        asked = retry_after(error.headers) if isinstance(error, UpstreamError) else None
        if asked is not None:
            delay = asked + policy.base_delay * self._router._rng.random()
            return delay if asked <= policy.max_delay else None
        return delay

    def _attempted(self, outcome: str) -> None:
        self._request.attempts.attempted(outcome, time.monotonic() - self._started)


def _is_asked_once(error: UpstreamError) -> bool:
    """Whether the answer tells that the same upstream would not answer otherwise."""
    if error.headers.get("x-should-retry", "").strip().lower() == "false":
        return True
    return _USED_UP_QUOTA in error.body


class _All:
    """The items of a stream of which the first was taken."""

    __slots__ = ("_first", "_rest")

    def __init__(self, first: UpstreamChunks | None, rest: AsyncIterator[UpstreamChunks]) -> None:
        self._first = first
        self._rest = rest

    def __aiter__(self) -> AsyncIterator[UpstreamChunks]:
        return self

    def __anext__(self) -> Awaitable[UpstreamChunks]:
        first, self._first = self._first, None
        return self._rest.__anext__() if first is None else _made(first)


async def _made(chunks: UpstreamChunks) -> UpstreamChunks:
    return chunks
