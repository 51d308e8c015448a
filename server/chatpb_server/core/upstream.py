"""The port of an upstream: what the relay forwards requests to, and in which form.

Chunks and answers are in binary form. An upstream that speaks JSON adds the text that they came
as, so that an HTTP caller gets the same bytes; for all others the text is None.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Protocol

from chatpb import ConversionError, to_json
from chatpb._errors import param_of
from chatpb._rpc.deadline import seconds_until
from chatpb.v1.chat_completion_request_pb2 import ChatCompletionRequest
from chatpb_server.core.error import INVALID_REQUEST, error_response
from chatpb_server.core.offload import binary_to_json, json_to_binary

NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
#: The most bytes of one event of an event stream, unless the settings have another limit.
MAX_EVENT_BYTES: Final = 16 * 1024 * 1024
#: Errors with more bytes are read for their texts only.
LARGE_ERROR: Final = 16 * 1024


class RequestError(Exception):
    """A request that cannot be read, or has no form that the upstream takes.

    Attributes:
        message: The reason, for the caller.
        param: The place in the request, as OpenAI names it; None for the whole request.
    """

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(param)  # without the message, which can quote the request
        self.message = message
        self.param = param


class RequestBody:
    """A request in JSON and in binary form.

    It is given in one form. The other is made when it is first asked for, and kept: a request
    that came in binary form and goes to another relay is never converted.

    Args:
        text: The JSON text, which says whether a stream is asked for.
        binary: The binary form of a ChatCompletionRequest, which says the same.
        store: Whether it asks for the completion to be stored; None if it does not say.

    Attributes:
        store: The argument.
    """

    __slots__ = ("_binary", "_text", "store")

    def __init__(
        self,
        *,
        text: bytes | None = None,
        binary: bytes | None = None,
        store: bool | None = None,
    ) -> None:
        assert text is not None or binary is not None
        self._text = text
        self._binary = binary
        self.store = store

    @property
    def given(self) -> tuple[bytes, bool]:
        """One of the forms that it has, and whether that is the JSON text."""
        if self._binary is not None:
            return self._binary, False
        assert self._text is not None
        return self._text, True

    async def text(self) -> bytes:
        """The JSON text.

        Raises:
            RequestError: The binary form has none.
        """
        if self._text is None:
            data = self._binary
            assert data is not None
            try:
                self._text = await binary_to_json(data, ChatCompletionRequest)
            except ConversionError as error:
                message = f"The request cannot be written as JSON: {error}"
                raise RequestError(message, param_of(error.path)) from error
        return self._text

    async def binary(self) -> bytes:
        """The binary form.

        Raises:
            RequestError: The JSON text has none.
        """
        if self._binary is None:
            data = self._text
            assert data is not None
            try:
                self._binary = await json_to_binary(data, ChatCompletionRequest)
            except ConversionError as error:
                message = f"The request cannot be read: {error}"
                raise RequestError(message, param_of(error.path)) from error
        return self._binary


class AttemptObserver(Protocol):
    """Watches how a request is sent to upstreams."""

    def attempting(self, upstream: str) -> None:
        """The request goes to an upstream, given by its name."""
        ...

    def attempted(self, outcome: str, seconds: float) -> None:
        """The attempt that began last has an outcome.

        Args:
            outcome: The HTTP status, or ``connect``, ``data`` or ``timeout`` for how it failed.
            seconds: The time to the first byte of the answer.
        """
        ...


class _Unwatched:
    """Ignores attempts."""

    def attempting(self, upstream: str) -> None:
        """Does nothing."""

    def attempted(self, outcome: str, seconds: float) -> None:
        """Does nothing."""


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """A request, and what an upstream needs to know about the call that it belongs to.

    Attributes:
        body: What is asked.
        model: The model that the body names.
        headers: HTTP headers that belong to this call: trace context, and those of the caller's
            that are passed on.
        query: Query parameters that belong to this call, as they are written in a URL.
        deadline: When the call ends at the latest, in seconds of `time.monotonic`; None if it has
            no time limit.
        call_id: The id of the call; empty if there is none.
        max_event_bytes: The most bytes of one event, for an upstream that answers with an event
            stream.
        attempts: Watches the attempts.
    """

    body: RequestBody
    model: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: str = field(default="", repr=False)
    deadline: float | None = None
    call_id: str = ""
    max_event_bytes: int = MAX_EVENT_BYTES
    attempts: AttemptObserver = field(default_factory=_Unwatched, repr=False)

    def seconds_left(self) -> float | None:
        """The time until the deadline, at least 0; None if there is no deadline."""
        return seconds_until(self.deadline)


@dataclass(frozen=True, slots=True)
class UpstreamAnswer:
    """A whole completion.

    Attributes:
        binary: The binary form of a ChatCompletion.
        text: The JSON text that it came as, byte for byte; None if it did not come as JSON.
        headers: The HTTP headers of the answer, their names in lower case.
    """

    binary: bytes
    text: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UpstreamChunks:
    """The part of a stream that arrived at once.

    Attributes:
        whole: The binary form of chunks, each a ChatCompletionChunk.
        compact: The binary form of the chunks after these, each without the fields that it has in
            common with the chunk before it (section 10 of docs/mapping.md).
        text: The bytes of the event stream that they came as, byte for byte. Comments and
            unfinished events are part of it, so there can be text without a chunk. None if they
            did not come as an event stream.
        is_end: Whether the completion is complete with these chunks, as the event stream says by
            ``[DONE]``, which `text` then has.
        is_unstored: Whether another relay reports that it could not store the completion. It does
            so last, in an item without chunks and text.
    """

    whole: Sequence[bytes]
    compact: Sequence[bytes] = ()
    text: bytes | None = None
    is_end: bool = False
    is_unstored: bool = False


@dataclass(frozen=True, slots=True)
class UpstreamStream:
    """A completion that comes piece by piece.

    Attributes:
        chunks: The chunks as they arrive: each item is what has come since the last one. It ends
            when the completion is complete. Otherwise asking for an item raises `UpstreamFault`,
            after all that came before the fault.
        headers: As in an `UpstreamAnswer`.
    """

    chunks: AsyncIterator[UpstreamChunks]
    headers: Mapping[str, str] = field(default_factory=dict)


class UpstreamFault(Exception):  # noqa: N818 (its kinds have the suffix)
    """What an upstream does instead of answering."""


class UpstreamError(UpstreamFault):
    """An upstream's answer that is an error.

    Attributes:
        http_status: The HTTP status code of the answer. It can be one of success, if the error
            came instead of a completion or in the middle of a stream.
        body: The body of the answer: JSON in the shape of OpenAI's error, ``{"error": {...}}``,
            unless the upstream, or a proxy on the way to it, sent something else.
        headers: The HTTP headers of the answer, their names in lower case.
        is_final: Whether the one that answers has tried again itself, as another relay does.
        brief: What `reading.brief` makes of a body of more than `LARGE_ERROR` bytes, if it has been
            asked for where it does not hold the event loop.
    """

    def __init__(
        self,
        http_status: int,
        body: bytes,
        headers: Mapping[str, str] = NO_HEADERS,
        *,
        is_final: bool = False,
        brief: bytes | None = None,
    ) -> None:
        super().__init__(http_status, body)
        self.http_status = http_status
        self.body = body
        self.headers = headers
        self.is_final = is_final
        self.brief = brief

    def __str__(self) -> str:
        return f"the upstream answered with HTTP status {self.http_status}"


def refusal(
    http_status: int,
    message: str,
    kind: str = INVALID_REQUEST,
    param: str | None = None,
    code: str | None = None,
) -> UpstreamError:
    """The error of an upstream that has no answer to pass on, and makes one of its own.

    Args:
        http_status: The HTTP status.
        message: As for `error_response`.
        kind: As for `error_response`.
        param: As for `error_response`.
        code: As for `error_response`.
    """
    return UpstreamError(http_status, to_json(error_response(message, kind, param, code)))


class UpstreamConnectError(UpstreamFault):
    """No connection to an upstream: the request has not been sent."""


class UpstreamDataError(UpstreamFault):
    """An upstream's answer that cannot be read, or breaks off.

    Its text goes on after "The upstream's answer", such as "broke off". Callers and logs get it, so
    it quotes nothing of the answer.

    Attributes:
        headers: The HTTP headers of the answer, as far as they are known.
    """

    def __init__(self, message: str, headers: Mapping[str, str] = NO_HEADERS) -> None:
        super().__init__(message)
        self.headers = headers


class UpstreamTimeoutError(UpstreamFault):
    """An upstream that was silent for too long."""


class Upstream(Protocol):
    """A server of chat completions.

    A call ends early if the relay's caller goes or its deadline passes: the task that runs it is
    cancelled. Clean-up belongs into ``finally`` or a context manager, and is awaited.
    """

    async def create(self, request: UpstreamRequest) -> UpstreamAnswer:
        """Answers a request with a whole completion.

        Raises:
            UpstreamError: The answer is an error.
            UpstreamConnectError: There is no connection.
            UpstreamDataError: The answer cannot be read, breaks off, or is too long.
            UpstreamTimeoutError: The upstream is silent.
            RequestError: The request has no form that the upstream takes.
        """
        ...

    def stream(self, request: UpstreamRequest) -> AbstractAsyncContextManager[UpstreamStream]:
        """Answers a request piece by piece.

        Returns:
            A context manager that sends the request, gives the stream once the upstream has begun
            to answer, and at its end closes what is open. Entering it, and asking for chunks,
            raise as `create` does.
        """
        ...

    async def close(self) -> None:
        """Frees what the upstream holds. No call is running any more, and none follows."""
        ...
