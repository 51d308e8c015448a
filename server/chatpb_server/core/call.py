"""One call of the relay, and the protocols of those that watch and record calls."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from grpc import StatusCode

from chatpb_server.core.failure import Failure
from chatpb_server.core.keeping import Keep

if TYPE_CHECKING:
    from chatpb_server.core.upstream import RequestBody


@dataclass(slots=True)
class Call:
    """What is known about a call. The parts of the relay fill in what they learn.

    Attributes:
        method: The full name of the rpc, such as ``/chatpb.v1.ChatCompletionService/...``; over
            HTTP a name that begins with ``/openai.v1/``.
        metadata: The caller's metadata, or headers in lower case; the last value of each key.
        id: A name for the call, in logs and in the errors that its caller gets.
        caller: The name of the caller, if callers have names.
        model: The model that the request names.
        is_stream: Whether a stream was asked for.
        passed: The HTTP method of a request that is passed on as it is; empty for all others.
        upstream: The name of the upstream that answers, or was tried last.
        attempts: How many times an upstream was asked.
        headers: The HTTP headers of the upstream's answer, their names in lower case.
        chunks: How many chunks were sent to the caller.
        tokens_in: The number of the prompt's tokens, if the upstream has sent it.
        tokens_out: The number of the completion's tokens, if the upstream has sent it.
        response_model: The model that answered, as the upstream named it.
        response_id: The name that the upstream gave its answer.
        trace_id: The name of the trace that the call belongs to, if calls are traced.
        started: When the call came, in seconds of `time.monotonic`.
        first_sent: When the first answer or chunk was sent, in the same clock; None before.
        last_sent: When the last one was sent, in the same clock; None before.
        deadline: When the call ends at the latest, in the same clock; None without a time limit.
        query: The query of the caller's URL, as it was written.
        wish: How much of the call its caller wishes to be recorded at most.
        is_kept: Whether its completion is to be stored here.
        is_unstored: Whether the completion was to be stored, and was not.
        body: What the upstreams are asked; None before.
        ends: The binary form of the completion, or of the first chunk and the last ones, from which
            observers read what ended the answer; empty before the answer is over.
        recording: Keeps what is asked and answered; None if nobody does.
    """

    method: str
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False)
    id: str = field(default_factory=lambda: os.urandom(8).hex())
    caller: str = ""
    model: str = ""
    is_stream: bool = False
    passed: str = ""
    upstream: str = ""
    attempts: int = 0
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    chunks: int = 0
    tokens_in: int | None = None
    tokens_out: int | None = None
    response_model: str = ""
    response_id: str = ""
    trace_id: str = ""
    started: float = field(default_factory=time.monotonic)
    first_sent: float | None = None
    last_sent: float | None = None
    deadline: float | None = None
    query: str = field(default="", repr=False)
    wish: Keep = "all"
    is_kept: bool = False
    is_unstored: bool = False
    body: RequestBody | None = field(default=None, repr=False)
    ends: Sequence[bytes] = field(default=(), repr=False)
    recording: Recording | None = field(default=None, repr=False)


class Observer(Protocol):
    """Watches calls: metrics, traces and logs. Must not raise or block.

    What it keeps of contents must be bounded, and be asked for by the operator.
    """

    def began(self, call: Call) -> None:
        """A call came; it can still be refused, or have to wait for its turn."""
        ...

    def queued(self, call: Call, waiting: int) -> None:
        """The number of calls that wait for their turn changed: this one joined or left them."""
        ...

    def upstream_headers(self, call: Call) -> Mapping[str, str]:
        """HTTP headers to send to the upstream, such as trace context."""
        ...

    def attempted(self, call: Call, outcome: str, seconds: float) -> None:
        """An upstream, `call.upstream`, was asked.

        Args:
            call: The call.
            outcome: The HTTP status, or ``connect``, ``data`` or ``timeout`` for how it failed.
            seconds: The time to the first byte of the answer.
        """
        ...

    def sent(self, call: Call, chunks: int, seconds: float) -> None:
        """Chunks that arrived together, or a whole completion, went to the caller.

        Args:
            call: The call.
            chunks: How many; 1 for a completion.
            seconds: The time since the last ones, or since the call began for the first.
        """
        ...

    def ended(self, call: Call, code: StatusCode, error: BaseException | None) -> None:
        """The call is over. `error` is what made it fail, None if the status is OK."""
        ...


class Recording(Protocol):
    """Keeps what a call asks and gets, contents included. Must not raise; only `end` may wait."""

    def asked(self, request: bytes, *, is_json: bool = False) -> None:
        """The call asks this: a request in binary form, or in JSON."""
        ...

    def refused(self) -> None:
        """There is no room for the call. What it asks may not have been read."""
        ...

    def begun(self) -> None:
        """The answer has begun; a failure comes too late to be its HTTP status."""
        ...

    def answered(self, completion: bytes) -> None:
        """The upstream has answered with a completion, in binary form."""
        ...

    def came(self, chunks: Sequence[bytes]) -> None:
        """These chunks, in binary form, have come from the upstream, and are sent next."""
        ...

    async def end(self, code: StatusCode, failure: Failure | None) -> None:
        """The call is over. `failure` is what its caller gets; None if it gets none."""
        ...


class Recorder(Protocol):
    """Records calls."""

    def begin(self, call: Call) -> Recording:
        """Starts recording a call of a known caller.

        Nothing is written unless `asked` or `refused` is called.
        """
        ...
