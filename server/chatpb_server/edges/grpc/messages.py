"""The messages of calls over gRPC: read and written within bounds, those of all services.

gRPC gives a message when it has all of it, and reports neither how long it is nor how much of it
has come. As long as a message is not asked for, gRPC takes no more of it than the first window of
its stream (64 KiB). So a message is asked for after its caller is known, and while it comes, it
counts as the largest message. Those that come have three quarters of the room, so that requests
that are complete find some.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, NoReturn, Self

from grpc import aio

from chatpb_server.core.budget import Budget
from chatpb_server.core.explain import RefusalError, StoppingError
from chatpb_server.core.failure import Failure
from chatpb_server.core.gate import MemoryLimitError
from chatpb_server.core.guard import CallerGoneError
from chatpb_server.core.limits import Limits
from chatpb_server.core.upstream import RequestError
from chatpb_server.core.waits import Wait, Waits
from chatpb_server.edges.grpc.runtime import follow_handlers, reset_call

#: For how many seconds a message can come without counting. What comes in one go takes less, so
#: slow callers do not hold up the others.
_QUICK_SECONDS: Final = 0.3
#: How many messages can do so at once. Others wait for their turn.
_QUICK: Final = 4
#: How many seconds the writing of a message can take when the relay stops.
_LAST: Final = 5.0


class Messages:
    """Reads and writes the messages of all calls of a server.

    Args:
        budget: Counts the bytes of requests.
        limits: Bounds the size of a message, and how long it can take.
        quick: How many messages can come at once without counting, for a moment.
    """

    def __init__(self, budget: Budget, limits: Limits, *, quick: int = _QUICK) -> None:
        self._budget = budget
        size = limits.max_message_bytes
        rooms = (limits.held_bytes, limits.connection_bytes)
        self._coming = Budget(*(max(size, room * 3 // 4) for room in rooms))
        self._most_reading = limits.max_running + limits.max_waiting
        self._size = size
        self._quick = asyncio.Semaphore(quick)
        follow_handlers()
        self._coming_now = Waits(_QUICK_SECONDS, CallMessages._is_slow)
        self._reading = Waits(limits.body_timeout or None, Wait.end)
        self._writing = Waits(limits.body_timeout or None, Wait.end)
        self._is_stopping = False

    def of(self, context: Any) -> CallMessages:
        """Those of one call, which is the context of its handler.

        Args:
            context: gRPC's context of the call.
        """
        return CallMessages(self, context)

    def stop(self) -> None:
        """Refuses calls whose request has not come, and soon ends those that read no answer."""
        self._is_stopping = True
        self._reading.shorten(0.0)
        self._writing.shorten(_LAST)


class CallMessages:
    """The messages of one call. At the end of the context its request no longer counts.

    Args:
        owner: Those of all calls.
        context: gRPC's context of the call.
    """

    def __init__(self, owner: Messages, context: Any) -> None:
        self._owner = owner
        self._context = context
        connection = context.peer()
        self._share = owner._budget.share(connection)
        self._coming = owner._coming.share(connection)
        self._is_writing = False
        self._is_quick = False
        self._is_refused = False
        self._wait: Wait

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._share.give_back()
        self._coming.give_back()

    async def read(self) -> bytes:
        """The only message of the request.

        Raises:
            RequestError: There is none.
            MemoryLimitError, RefusalError, StoppingError: As in `next`.
        """
        data = await self.next()
        if data is None:
            raise RequestError("The request has no message.")
        return data

    async def next(self) -> bytes | None:
        """The next message of the request; None after the last one.

        Raises:
            MemoryLimitError: There is no room for it.
            RefusalError: It did not come in time.
            StoppingError: The relay stops, and it has not come.
        """
        owner = self._owner
        if len(owner._reading) >= owner._most_reading:
            raise MemoryLimitError
        self._wait = wait = Wait(owner._reading)
        try:
            with wait:
                data = await self._arrived()
        except TimeoutError:
            if not wait.is_over:
                raise
            if self._is_refused:
                raise MemoryLimitError from None
            if owner._is_stopping:
                raise StoppingError from None
            raise RefusalError(408, "The request did not come in time.") from None
        if data is aio.EOF:
            return None
        self._share.take(len(data))
        return bytes(data)

    async def write(self, data: bytes) -> None:
        """Writes a message of the answer, until the last of it is taken, except the last 64 KiB.

        Raises:
            CallerGoneError: The caller is gone, or did not take it in time.
        """
        owner = self._owner
        wait = Wait(owner._writing)
        try:
            with wait:
                self._is_writing = True
                await self._context.write(data)
                self._is_writing = False
        except aio.InternalError as error:
            self._is_writing = False
            raise CallerGoneError from error
        except TimeoutError as error:
            if not wait.is_over:
                raise
            raise CallerGoneError("did not read the answer in time") from error

    async def fail(self, failure: Failure, *trailers: tuple[str, str]) -> NoReturn:
        """Ends the call with a failure, in the task of its handler.

        Args:
            failure: The failure.
            trailers: More trailing metadata.
        """
        self.leave()
        await self._context.abort(failure.code, failure.details, (*failure.trailers(), *trailers))
        raise AssertionError  # abort raises

    def leave(self) -> None:
        """Ends the call if it has a message that the caller did not take.

        Nothing can be sent after that message, not even a status.

        Raises:
            CancelledError: It has one.
        """
        if self._is_writing:
            reset_call()
            raise asyncio.CancelledError

    async def _arrived(self) -> Any:
        """The message, or gRPC's sign that there is none."""
        owner = self._owner
        await owner._quick.acquire()
        self._is_quick = True
        owner._coming_now.add(self)
        try:
            return await self._context.read()
        finally:
            owner._coming_now.discard(self)
            self._end_quickness()
            self._coming.give_back()
            self._share.give_back()

    def _is_slow(self) -> None:
        """The message does not come at once: from now on it counts, and others have a turn."""
        self._end_quickness()
        try:
            self._coming.take(self._owner._size)
            self._share.take(self._owner._size)
        except MemoryLimitError:
            self._is_refused = True
            self._wait.end()

    def _end_quickness(self) -> None:
        if self._is_quick:
            self._is_quick = False
            self._owner._quick.release()
