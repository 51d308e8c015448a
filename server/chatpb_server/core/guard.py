"""The guard of every call: admission, the deadline, and the failure of a call that fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, Protocol, TypeVar

from grpc import StatusCode

from chatpb._rpc.deadline import ends_early_by
from chatpb_server.core.call import Call, Observer, Recorder
from chatpb_server.core.explain import STOPPING, DeadlineError, failure_of
from chatpb_server.core.failure import Failure, own_failure
from chatpb_server.core.frames import without_frames
from chatpb_server.core.gate import Gate, OverloadError
from chatpb_server.core.headers import NOT_STORED, STORED_HEADER, matcher
from chatpb_server.core.keeping import RECORD_HEADER, wished

_Out = TypeVar("_Out")


class Peer(Protocol):
    """Who is at the other end of a call. The context of an rpc is one."""

    def invocation_metadata(self) -> Iterable[tuple[str, str | bytes]] | None:
        """What came with the call: metadata, or headers."""
        ...

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """What is known about the other end of the connection, by gRPC's names."""
        ...

    def time_remaining(self) -> float | None:
        """How many seconds the peer still waits; None if it does not say."""
        ...


Authenticate = Callable[[Call, Peer], str]
"""From a call and its peer to the caller's name; raises `AuthenticationError`."""

#: Clients allow 8 KiB of trailers, and a status takes most of it.
_MAX_TRAILERS: Final = 2000


class CallerGoneError(Exception):
    """The caller went while it was written to, before the runtime noticed."""


class CallError(Exception):
    """A call that failed. The observer knows about it already.

    Attributes:
        failure: What its caller gets.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.code)
        self.failure = failure


class Guard:
    """Admits calls, bounds them, and reports to their callers and the observer how they ended.

    Args:
        observer: Watches the calls.
        gate: Bounds how many run.
        limit: How many seconds a call may last whose caller sets no deadline, or a later one.
        headers: The names of the upstream's headers that are passed back, in lower case; ``*``
            matches any text.
        authenticate: Says who calls. None: everybody may.
        recorder: Records the calls of known callers. None: nobody does.
    """

    def __init__(
        self,
        observer: Observer,
        gate: Gate,
        *,
        limit: float | None,
        headers: tuple[str, ...],
        authenticate: Authenticate | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self._observer = observer
        self._gate = gate
        self._limit = limit
        self._authenticate = authenticate
        self._recorder = recorder
        self._running: set[asyncio.Task[Any]] = set()
        self._stopping = False
        self._is_passed_back = matcher(headers)

    def renew(
        self,
        most_running: int,
        most_waiting: int,
        *,
        limit: float | None,
        headers: tuple[str, ...],
        authenticate: Authenticate | None,
    ) -> None:
        """Changes what applies to the calls that begin from now on. See the class, and `Gate`."""
        self._gate.resize(most_running, most_waiting)
        self._limit = limit
        self._authenticate = authenticate
        self._is_passed_back = matcher(headers)

    async def serve(
        self,
        call: Call,
        peer: Peer,
        respond: Callable[[], Awaitable[_Out]],
        read: Callable[[], Awaitable[None]] | None = None,
    ) -> _Out:
        """Serves a call, in a task that is the call's own.

        Args:
            call: The call.
            peer: Who calls.
            respond: Gives the answer, in the call's turn.
            read: Reads the rest of the request, before the call waits for its turn.

        Raises:
            CallError: It failed.
            CancelledError: The caller went, or its deadline passed.
        """
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        self._observer.began(call)
        cause: BaseException
        try:
            response = await self._respond(call, peer, respond, read)
        except asyncio.CancelledError as error:
            if call.deadline is not None and time.monotonic() >= call.deadline:
                late = DeadlineError()  # the runtime was faster
                self._observer.ended(call, StatusCode.DEADLINE_EXCEEDED, late)
                await _record(call, StatusCode.DEADLINE_EXCEEDED, failure_of(late, call.id))
                raise
            if not self._stopping:
                self._observer.ended(call, StatusCode.CANCELLED, error)
                await _record(call, StatusCode.CANCELLED)
                raise
            task.uncancel()
            failure, cause = own_failure(StatusCode.UNAVAILABLE, STOPPING, call.id), error
        except CallerGoneError as error:
            self._observer.ended(call, StatusCode.CANCELLED, error)
            await _record(call, StatusCode.CANCELLED)
            raise asyncio.CancelledError from error
        except Exception as error:
            failure, cause = failure_of(error, call.id), error
            if isinstance(error, OverloadError) and call.recording is not None:
                call.recording.refused()
        else:
            self._observer.ended(call, StatusCode.OK, None)
            if call.recording is not None:
                await call.recording.end(StatusCode.OK, None)
            return response
        call.headers = failure.headers or call.headers
        self._observer.ended(call, failure.code, cause)
        await _record(call, failure.code, failure)
        try:
            raise CallError(failure) from cause
        finally:
            without_frames(cause)
            del cause

    def passed_back(self, headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        """The headers of an upstream's answer that its caller gets, as far as there is room."""
        passed, room = [], _MAX_TRAILERS
        for name, value in headers.items():
            if self._is_passed_back(name) and value.isascii() and value.isprintable():
                room -= len(name) + len(value) + 32
                if room < 0:
                    break
                passed.append((name, value))
        return tuple(passed)

    def trailers(self, call: Call) -> tuple[tuple[str, str], ...]:
        """What the caller of a call that is over gets in addition, as headers or metadata."""
        passed = self.passed_back(call.headers)
        return (*passed, (STORED_HEADER, NOT_STORED)) if call.is_unstored else passed

    async def stop(self, grace: float | None) -> None:
        """Waits until the running calls are over.

        Args:
            grace: After how many seconds those that still run are cancelled, which their callers
                see as UNAVAILABLE. None: at once.
        """
        now = asyncio.get_running_loop().time
        until = now() + (grace or 0)
        while self._running and (left := until - now()) > 0:
            await asyncio.wait(self._running, timeout=left)
        self._stopping = True
        for task in self._running:
            task.cancel()
        while self._running:
            await asyncio.wait(self._running)

    async def _respond(
        self,
        call: Call,
        peer: Peer,
        respond: Callable[[], Awaitable[_Out]],
        read: Callable[[], Awaitable[None]] | None,
    ) -> _Out:
        """The answer to a call, in its turn and in time."""
        if self._authenticate is not None:
            call.caller = self._authenticate(call, peer)
        if RECORD_HEADER in call.metadata:
            call.wish = wished(peer.invocation_metadata())
        if self._recorder is not None:
            call.recording = self._recorder.begin(call)
        limit = self._limit
        if (left := peer.time_remaining()) is not None:
            # So that the caller, who waits for so long, still gets the error.
            left -= ends_early_by(left)
            limit = left if limit is None else min(limit, left)
        if limit is not None:
            call.deadline = call.started + limit
        try:
            async with asyncio.timeout(limit) as scope:
                if read is not None:
                    self._gate.check()  # what is refused anyway is not read
                    await read()
                async with self._gate.turn(lambda waiting: self._observer.queued(call, waiting)):
                    return await respond()
        except TimeoutError as error:
            if scope.expired():
                raise DeadlineError from error
            raise


async def _record(call: Call, code: StatusCode, failure: Failure | None = None) -> None:
    if call.recording is not None:
        await call.recording.end(code, failure)
