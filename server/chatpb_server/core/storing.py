"""Storing: a completion is in the store before its caller has the last byte of it.

Whatever becomes of that, no completion fails for it, and none waits longer than the rules say.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from chatpb._rpc.deadline import seconds_until
from chatpb.store import Store, StoreError
from chatpb.store._errors import RowError
from chatpb_server.core.call import Call
from chatpb_server.core.kept import Kept, UnfitError
from chatpb_server.core.pausing import Pauses
from chatpb_server.core.store_rules import Outcome, StoreRules
from chatpb_server.core.upstream import RequestBody

#: How many calls of a store that took too long may be still under way.
_MOST_LEFT: Final = 64
#: Of the time until a call's deadline, storing takes at most this share.
_SHARE: Final = 0.5
#: What the log says of outcomes that nothing else explains.
_REASONS: Final = {
    "timeout": "it took too long (--store-timeout, or half of the time that was left of the call)",
    "paused": "the store has just failed several times",
    "too_large": "it is too large (--store-max-bytes)",
    "no_room": "the running calls hold too much for the store",
}

_logger = logging.getLogger(__name__)


class Storing:
    """Puts completions into a store.

    Args:
        store: The store.
        rules: Which completions are stored.
        count: Is called with what happened to each that was to be stored.
        pauses: When the store is left alone, because it fails.

    Attributes:
        rules: The argument, which can be changed.
        held: How many bytes are held of running calls.
    """

    def __init__(
        self,
        store: Store,
        rules: StoreRules | None = None,
        count: Callable[[Outcome], None] | None = None,
        pauses: Pauses | None = None,
    ) -> None:
        self.rules = rules or StoreRules()
        self.held = 0
        self.store = store
        self.pauses = pauses or Pauses()
        self._count = count or (lambda _: None)
        self._left: set[asyncio.Task[Outcome]] = set()

    def begin(self, call: Call, body: RequestBody) -> Kept | None:
        """Begins to keep a call for the store; None if its completion is not to be stored."""
        wanted = body.store
        if wanted is None:
            wanted = self.rules.all and call.wish == "all"
        return Kept(self, call, body) if wanted else None

    async def put(self, kept: Kept) -> None:
        """Puts what was kept of a call into the store, and tells the call whether that is done."""
        call = kept.call
        outcome = kept.obstacle
        if outcome is None and (len(self._left) >= _MOST_LEFT or not self.pauses.try_now()):
            outcome = "paused"
        if outcome is None:
            outcome = await self._in_time(kept)
        call.is_unstored = outcome != "stored"
        self._count(outcome)
        if outcome in _REASONS:
            _logger.warning("a completion was not stored: %s", _REASONS[outcome])

    async def _in_time(self, kept: Kept) -> Outcome:
        seconds = self.rules.timeout
        if (left := seconds_until(kept.call.deadline)) is not None:
            seconds = min(seconds, left * _SHARE)
        task = asyncio.ensure_future(self._outcome(kept))
        try:
            await asyncio.wait((task,), timeout=seconds)
        except asyncio.CancelledError:  # the caller went
            self._leave(task)
            self.pauses.left()
            raise
        if task.done():
            return task.result()
        self._leave(task)
        if kept.is_handed_over:
            self.pauses.failed()
        else:
            self.pauses.left()
        return "timeout"

    def _leave(self, task: asyncio.Task[Outcome]) -> None:
        """Ends a task without waiting for it: a store can take its time to give up."""
        task.cancel()
        self._left.add(task)
        task.add_done_callback(self._left.discard)

    async def _outcome(self, kept: Kept) -> Outcome:
        outcome: Outcome = "failed"
        was_paused = self.pauses.is_paused
        try:
            completion = await kept.completion()
            kept.is_handed_over = True
            await self.store.put(kept.call.caller, completion)
        except (UnfitError, RowError) as error:
            kept.is_handed_over = False  # that it does not take this one says nothing of others
            _logger.warning("a completion was not stored: %s", error)
            outcome = "unfit"
        except StoreError as error:
            _logger.warning("a completion was not stored: %s", error)
        except Exception as error:  # a fault here must not fail the call
            _logger.error("a completion was not stored", exc_info=error)
        else:
            self.pauses.succeeded()
            if was_paused:
                _logger.info("completions are stored again")
            return "stored"
        if kept.is_handed_over:
            self.pauses.failed()
        else:
            self.pauses.left()
        return outcome
