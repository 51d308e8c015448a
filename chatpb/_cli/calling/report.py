"""What ``-v`` reports of a call: its times, and what the server sent with the answer."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import click

from chatpb._cli.failure import printable
from chatpb.v1 import ChatCompletion, ChatCompletionChunk


class Report:
    """A call, as it goes on.

    Args:
        is_wanted: Whether it will be written.

    Attributes:
        metadata: The trailing metadata, or the headers, of the answer.
        request_id: The server's name for the call.
        connect: How many seconds it took to connect. None: unknown.
        is_wanted: The argument.
        retry_after: After how many seconds the server asks for another try. None: it does not.
    """

    def __init__(self, *, is_wanted: bool) -> None:
        self.is_wanted = is_wanted
        self.metadata: Mapping[str, str | bytes] = {}
        self.request_id: str | None = None
        self.connect: float | None = None
        self.retry_after: float | None = None
        self._began = self._asked = time.monotonic()
        self._first: float | None = None
        self._last = self._began
        self._total: float | None = None
        self._chunks = 0
        self._tokens = 0

    def begin(self) -> None:
        """Begins, after a wait for the server that does not count."""
        self._began = self._asked = self._last = time.monotonic()

    def end(self) -> None:
        """Takes that the call is over; what is left is closing the connection."""
        self._total = self.elapsed

    @property
    def elapsed(self) -> float:
        """How many seconds the call has taken until now."""
        return time.monotonic() - self._began

    def connected(self) -> None:
        """Takes that there is a connection now."""
        self._asked = time.monotonic()
        self.connect = self._asked - self._began

    def arrived(self, message: ChatCompletion | ChatCompletionChunk) -> None:
        """Takes a completion or a chunk that has arrived."""
        self._last = time.monotonic()
        if self._first is None:
            self._first = self._last
        self._chunks += isinstance(message, ChatCompletionChunk)
        if message.HasField("usage"):
            self._tokens = message.usage.completion_tokens

    def write(self) -> None:
        """Writes the report to standard error, if it is wanted."""
        if not self.is_wanted:
            return
        lines = [*self._lines()]
        width = max(len(name) for name, _ in lines)
        for name, value in lines:
            click.echo(f"{name:{width}}  {value}", err=True)

    def _lines(self) -> Iterator[tuple[str, str]]:
        if self.connect is not None:
            yield "connect", _seconds(self.connect)
        if self._first is not None and self._chunks:
            yield "first chunk", _seconds(self._first - self._asked)
        yield "total", _seconds(self.elapsed if self._total is None else self._total)
        if self._chunks:
            yield "chunks", str(self._chunks)
        if self._tokens:
            # A stream is as fast as what comes after its first chunk.
            start = self._first if self._chunks > 1 and self._first is not None else self._asked
            seconds = self._last - start
            rate = f", {self._tokens / seconds:.1f} per second" if seconds > 0 else ""
            yield "tokens", f"{self._tokens}{rate}"
        if self.retry_after is not None:
            yield "retry after", f"{self.retry_after:g} s"
        if self.request_id is not None:
            yield "request id", printable(self.request_id)
        yield from (("metadata", f"{name}: {_plain(value)}") for name, value in self._shown())

    def _shown(self) -> Iterable[tuple[str, Any]]:
        return sorted((name, value) for name, value in self.metadata.items() if name not in _HIDDEN)


#: What comes with every answer and tells nothing, is shown as the error already, or is a secret.
_HIDDEN = ("grpc-status-details-bin", "chatpb-http-body-bin", "set-cookie")


def _plain(value: str | bytes) -> str:
    return f"{len(value)} bytes" if isinstance(value, bytes) else printable(value)


def _seconds(value: float) -> str:
    return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.3f} s"
