"""What the relay forwards requests to."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol


class UpstreamError(Exception):
    """An upstream's answer that is an error.

    Attributes:
        http_status: The HTTP status code of the answer.
        body: The body of the answer: JSON in the shape of OpenAI's error, ``{"error": {...}}``,
            unless the upstream, or a proxy on the way to it, sent something else.
    """

    def __init__(self, http_status: int, body: bytes) -> None:
        super().__init__(http_status, body)
        self.http_status = http_status
        self.body = body

    def __str__(self) -> str:
        return f"the upstream answered with HTTP status {self.http_status}"


class Upstream(Protocol):
    """A server of chat completions, which takes and gives the JSON that OpenAI's API speaks.

    A call ends early if the relay's caller goes or its deadline passes: the task that runs it is
    cancelled. Clean-up belongs into ``finally`` or a context manager, and is awaited.
    """

    async def create(self, request: bytes) -> bytes:
        """Answers a request with a whole completion.

        Args:
            request: The JSON text of the request, which does not ask for a stream.

        Returns:
            The JSON text of the completion.

        Raises:
            UpstreamError: The answer is an error.
        """
        ...

    def stream(self, request: bytes) -> AsyncGenerator[Sequence[bytes], None]:
        """Answers a request piece by piece.

        Args:
            request: The JSON text of the request, which asks for a stream.

        Returns:
            An asynchronous generator, which the relay closes when it is done with it. Each item is
            the JSON texts of all chunks that arrived since the last item, at least one: a burst
            is one item, and a lone chunk never waits for another.

        Raises:
            UpstreamError: The answer is an error, at the start or on the way. Raised when an
                item is asked for.
        """
        ...

    async def close(self) -> None:
        """Frees what the upstream holds. No call is running any more, and none follows."""
        ...
