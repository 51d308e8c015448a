"""What the relay forwards requests to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Protocol

NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """A request, as OpenAI's API takes it.

    Attributes:
        body: The JSON text, which says whether a stream is asked for.
        model: The model that it names.
        headers: HTTP headers that belong to this call: trace context, and the caller's own
            authorization where it is passed on.
    """

    body: bytes
    model: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class UpstreamAnswer:
    """A whole completion.

    Attributes:
        body: Its JSON text.
        headers: The HTTP headers of the answer, their names in lower case.
    """

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UpstreamStream:
    """A completion that comes piece by piece.

    Attributes:
        data: The bytes of the event stream, as they arrive: each item is all that has come since
            the last one. Asking for an item may raise `UpstreamError`.
        headers: As in an `UpstreamAnswer`.
    """

    data: AsyncIterator[bytes]
    headers: Mapping[str, str] = field(default_factory=dict)


class UpstreamFault(Exception):  # noqa: N818 (its kinds have the suffix)
    """What an upstream does instead of answering."""


class UpstreamError(UpstreamFault):
    """An upstream's answer that is an error.

    Attributes:
        http_status: The HTTP status code of the answer. One that says success stands before an
            error that came in place of a completion, or in the middle of a stream.
        body: The body of the answer: JSON in the shape of OpenAI's error, ``{"error": {...}}``,
            unless the upstream, or a proxy on the way to it, sent something else.
        headers: The HTTP headers of the answer, their names in lower case.
        is_final: Whether the one that answers has tried again itself, as another relay does.
    """

    def __init__(
        self,
        http_status: int,
        body: bytes,
        headers: Mapping[str, str] = NO_HEADERS,
        *,
        is_final: bool = False,
    ) -> None:
        super().__init__(http_status, body)
        self.http_status = http_status
        self.body = body
        self.headers = headers
        self.is_final = is_final

    def __str__(self) -> str:
        return f"the upstream answered with HTTP status {self.http_status}"


class UpstreamConnectError(UpstreamFault):
    """No connection to an upstream: the request has not been sent."""


class UpstreamDataError(UpstreamFault):
    """An upstream's answer that cannot be read, or breaks off."""


class UpstreamTimeoutError(UpstreamFault):
    """An upstream that was silent for longer than it may be."""


class Upstream(Protocol):
    """A server of chat completions, which takes and gives what OpenAI's API speaks.

    A call ends early if the relay's caller goes or its deadline passes: the task that runs it is
    cancelled. Clean-up belongs into ``finally`` or a context manager, and is awaited.
    """

    async def create(self, request: UpstreamRequest) -> UpstreamAnswer:
        """Answers a request with a whole completion.

        Raises:
            UpstreamError: The answer is an error.
            UpstreamConnectError: There is no connection.
            UpstreamDataError: The answer breaks off, or is longer than it may be.
            UpstreamTimeoutError: The upstream is silent.
        """
        ...

    def stream(self, request: UpstreamRequest) -> AbstractAsyncContextManager[UpstreamStream]:
        """Answers a request piece by piece.

        Returns:
            A context manager that sends the request, gives the stream once the upstream has said
            that it answers, and at its end closes what is open. Entering it, and asking for data,
            raise as `create` does.
        """
        ...

    async def close(self) -> None:
        """Frees what the upstream holds. No call is running any more, and none follows."""
        ...


def event(data: bytes) -> bytes:
    """An event of an event stream that holds one line of data."""
    return b"data: " + data + b"\n\n"
