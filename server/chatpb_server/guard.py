"""What stands around every rpc: admission, the deadline, and how errors become statuses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, Final

from grpc import Status, StatusCode

from chatpb import ConversionError
from chatpb_server.call import Call, Observer, current_call
from chatpb_server.gate import Gate, OverloadError
from chatpb_server.secret import HeaderError
from chatpb_server.service import CallerGoneError, RequestError, Respond
from chatpb_server.status import fixed_status, request_status, upstream_status
from chatpb_server.upstream import (
    UpstreamConnectError,
    UpstreamDataError,
    UpstreamError,
    UpstreamTimeoutError,
)

Authenticate = Callable[[Call, Any], str]
"""From a call and its context to the caller's name; raises `AuthenticationError`."""

#: Clients allow 8 KiB of trailers, and a status takes most of it.
_MAX_TRAILERS: Final = 2000
_OVERLOAD_RETRY_AFTER: Final = 1.0


class AuthenticationError(Exception):
    """A caller that does not say, or does not prove, who it is. The text is for the caller."""


class Guard:
    """Lets calls in, bounds them, and tells their callers and the observer how they ended.

    Args:
        observer: Watches the calls.
        gate: Bounds how many run.
        limit: How many seconds a call may last whose caller sets no deadline, or a later one.
        headers: The names of the upstream's headers that become trailing metadata, in lower case;
            ``*`` stands for any text.
        authenticate: Says who calls. None: everybody may.
    """

    def __init__(
        self,
        observer: Observer,
        gate: Gate,
        *,
        limit: float | None,
        headers: tuple[str, ...],
        authenticate: Authenticate | None = None,
    ) -> None:
        self._observer = observer
        self._gate = gate
        self._limit = limit
        self._authenticate = authenticate
        self._running: set[asyncio.Task[Any]] = set()
        self._stopping = False
        # gRPC keeps names with this beginning for itself; those with that end are binary.
        self._is_passed_on = lru_cache(1024)(
            lambda name: (
                any(fnmatchcase(name, pattern) for pattern in headers)
                and not name.startswith("grpc-")
                and not name.endswith("-bin")
            )
        )

    def __call__(self, method: str, respond: Respond) -> Respond:
        """What the server is to call in place of an rpc."""

        async def guarded(data: bytes, context: Any) -> Any:
            task = asyncio.current_task()
            assert task is not None
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            call = Call(method, dict(context.invocation_metadata() or ()))
            current_call.set(call)
            self._observer.began(call)
            cause: BaseException
            try:
                response = await self._respond(respond, data, context, call)
            except asyncio.CancelledError as error:
                left = context.time_remaining()
                is_late = left is not None and left <= 0
                if is_late or not self._stopping:
                    code = StatusCode.DEADLINE_EXCEEDED if is_late else StatusCode.CANCELLED
                    self._observer.ended(call, code, error)
                    raise
                task.uncancel()
                text = "The relay is stopping; call again."
                status, cause = fixed_status(StatusCode.UNAVAILABLE, text, call.id), error
            except CallerGoneError as error:
                self._observer.ended(call, StatusCode.CANCELLED, error)
                raise asyncio.CancelledError from error
            except Exception as error:
                status, cause = self._status(error, call), error
            else:
                context.set_trailing_metadata(self._trailers(call.headers))
                self._observer.ended(call, StatusCode.OK, None)
                return response
            self._observer.ended(call, status.code, cause)
            trailers = (*status.trailing_metadata, *self._trailers(call.headers))
            await context.abort(status.code, status.details, trailers)

        return guarded

    async def stop(self, grace: float | None) -> None:
        """Waits until the running calls are over.

        Args:
            grace: After so many seconds those that still run are cancelled, and say so. None: at
                once.
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

    async def _respond(self, respond: Respond, data: bytes, context: Any, call: Call) -> Any:
        """What the rpc answers, in its turn and in time."""
        if self._authenticate is not None:
            call.caller = self._authenticate(call, context)
        limits = [self._limit, context.time_remaining()]
        limit = min((limit for limit in limits if limit is not None), default=None)
        if limit is not None:
            call.deadline = call.started + limit
        try:
            async with asyncio.timeout(limit) as scope:
                async with self._gate.turn(lambda waiting: self._observer.queued(call, waiting)):
                    return await respond(data, context)
        except TimeoutError as error:
            if scope.expired():
                raise _DeadlineError from error
            raise

    def _trailers(self, headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        """The headers that are passed on, as far as there is room."""
        trailers, room = [], _MAX_TRAILERS
        for name, value in headers.items():
            if self._is_passed_on(name) and value.isascii() and value.isprintable():
                room -= len(name) + len(value) + 32
                if room < 0:
                    break
                trailers.append((name, value))
        return tuple(trailers)

    def _status(self, error: Exception, call: Call) -> Status:
        """The status for what an rpc raised."""
        if isinstance(error, UpstreamError):
            call.headers = error.headers
            return upstream_status(error, call.id)
        if isinstance(error, ConversionError):
            return request_status(error, call.id)
        for kind, code, text in _TEXTS:
            if isinstance(error, kind):
                return fixed_status(code, f"{text} The relay's log says more: {call.id}", call.id)
        match error:
            case RequestError():
                text = "The request is not the binary form of a message."
                return fixed_status(StatusCode.INVALID_ARGUMENT, text, call.id)
            case HeaderError():
                text = f"The metadata cannot be passed on: {error}."
                return fixed_status(StatusCode.INVALID_ARGUMENT, text, call.id)
            case AuthenticationError():
                return fixed_status(StatusCode.UNAUTHENTICATED, str(error), call.id)
            case _DeadlineError():
                return fixed_status(StatusCode.DEADLINE_EXCEEDED, "The time is up.", call.id)
            case OverloadError():
                text = "The relay has no room for more calls now."
                return fixed_status(
                    StatusCode.RESOURCE_EXHAUSTED, text, call.id, _OVERLOAD_RETRY_AFTER
                )
        text = f"The relay failed; its log says more: {call.id}"
        return fixed_status(StatusCode.INTERNAL, text, call.id)


class _DeadlineError(Exception):
    """The call took longer than it may."""


_TEXTS: Final = (
    (UpstreamDataError, StatusCode.DATA_LOSS, "The upstream's answer could not be read."),
    (UpstreamConnectError, StatusCode.UNAVAILABLE, "The upstream cannot be reached."),
    (UpstreamTimeoutError, StatusCode.UNAVAILABLE, "The upstream was silent for too long."),
)
