"""Calls of other paths than the relay's own: they are passed to a fallback as they are, both ways.

The fallback is a port, as an upstream is. Nothing here, and nothing that implements it, reads what
is passed: neither what is asked nor what is answered.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

from chatpb._rpc.deadline import seconds_until
from chatpb_server.core.call import Call, Observer
from chatpb_server.core.service import Attempts
from chatpb_server.core.upstream import AttemptObserver

Headers = Sequence[tuple[str, str]]
"""Names and values, in their order. A name can be there several times."""

#: What metrics and logs call a path: the first of its parts that is one of these, or `OTHER`.
PATH_CLASSES: Final = frozenset(
    (
        *("assistants", "audio", "batches", "chat", "completions", "containers", "conversations"),
        *("embeddings", "evals", "files", "fine_tuning", "images", "messages", "models"),
        *("moderations", "organization", "realtime", "rerank", "responses", "score", "skills"),
        *("threads", "tokenize", "uploads", "vector_stores", "videos"),
    )
)
OTHER: Final = "other"
#: How many parts of a path are looked at: Azure's begins with ``openai/deployments/NAME``.
_MOST_PARTS: Final = 4


def path_class(path: str) -> str:
    """What metrics and logs call a path."""
    parts = path.strip("/").split("/", _MOST_PARTS)[:_MOST_PARTS]
    if parts[:2] == ["openai", "deployments"]:
        del parts[:3]  # the name is the caller's
    return next((part for part in parts[:2] if part in PATH_CLASSES), OTHER)


class PassedBody(Protocol):
    """The body of a request, as it comes from the caller.

    Attributes:
        fault: Why the rest of it does not come, if that is the caller's doing, or its end.
    """

    fault: Exception | None

    @property
    def is_whole(self) -> bool:
        """Whether all of it is in memory, so that it can be sent a second time."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Its bytes."""
        ...


@dataclass(frozen=True, slots=True)
class PassedRequest:
    """A request that is passed on.

    Attributes:
        method: Its method.
        path: Its path as it was sent. It stays below the URL that it is added to.
        query: What follows the question mark, as it was sent.
        headers: Those that are meant for the other end, and the caller's own authorization, which
            most fallbacks do not get.
        body: Its body; None if it has none.
        deadline: When the call ends at the latest, in seconds of `time.monotonic`; None if it has
            no time limit.
        attempts: Watches the attempts.
    """

    method: str
    path: str
    query: str = field(repr=False)
    headers: Headers = field(repr=False)
    body: PassedBody | None
    deadline: float | None
    attempts: AttemptObserver = field(repr=False)

    def seconds_left(self) -> float | None:
        """The time until the deadline, at least 0; None if there is no deadline."""
        return seconds_until(self.deadline)


@dataclass(frozen=True, slots=True)
class PassedAnswer:
    """An answer that is passed back, errors and redirects included.

    Attributes:
        status: The HTTP status.
        reason: The text after it.
        headers: Its headers.
        body: Its bytes as they come, in the content encoding that the headers name. It ends when
            the answer is complete; otherwise asking for more raises `UpstreamFault`.
    """

    status: int
    reason: str
    headers: Headers
    body: AsyncIterator[bytes]


class Fallback(Protocol):
    """Where requests are passed to."""

    def send(self, request: PassedRequest) -> AbstractAsyncContextManager[PassedAnswer]:
        """Sends a request.

        Returns:
            A context manager that gives the answer once its head is there, even if the body of the
            request has not been sent in full. At its end what is open is closed.

        Raises:
            UpstreamConnectError: There is no connection.
            UpstreamDataError: There is no answer, or it cannot be read.
            UpstreamTimeoutError: The fallback is silent.
            Exception: The fault of the body of the request.
        """
        ...

    async def close(self) -> None:
        """Frees what it holds. No call is running any more, and none follows."""
        ...


class Passing:
    """Passes calls on.

    Args:
        fallback: Where to.
        observer: Watches the calls, and has headers for the fallback.
    """

    def __init__(self, fallback: Fallback, observer: Observer) -> None:
        self._fallback = fallback
        self._observer = observer

    @asynccontextmanager
    async def answer(
        self, call: Call, method: str, target: str, headers: Headers, body: PassedBody | None
    ) -> AsyncIterator[PassedAnswer]:
        """The answer to a call, as `Fallback.send` gives it.

        Args:
            call: The call.
            method: Its method.
            target: Its path and query, as they were sent.
            headers: As in a `PassedRequest`.
            body: As in a `PassedRequest`.
        """
        ours = self._observer.upstream_headers(call)
        path, _, query = target.partition("?")
        request = PassedRequest(
            method,
            path,
            query,
            [*((name, value) for name, value in headers if name not in ours), *ours.items()],
            body,
            call.deadline,
            Attempts(call, self._observer),
        )
        async with self._fallback.send(request) as answer:
            call.headers = dict(answer.headers)
            yield answer

    def began(self, call: Call) -> None:
        """The first bytes of an answer are sent."""
        now = call.first_sent = call.last_sent = time.monotonic()
        self._observer.sent(call, 0, now - call.started)
