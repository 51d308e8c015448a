"""Recording: every exchange becomes a `CompletionRecord` in a log, without slowing calls.

What a running exchange keeps is bounded, alone and together with the others, and so is what waits
to be written.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, Final, Literal

from chatpb._errors import os_error_text
from chatpb.log import LogError, LogWriter, PendingFullError
from chatpb_server.core.call import Call, Recorder, Recording
from chatpb_server.core.keeping import Keep
from chatpb_server.core.record_fields import label_fields
from chatpb_server.watching.exchange import Exchange
from chatpb_server.watching.record_limits import OUTCOMES, Outcome, RecordLimits
from chatpb_server.watching.record_policy import KEPT, Kept, RecordPolicy
from chatpb_server.watching.redacting import Failure, Redaction

#: The least time, in seconds, between two messages about lost records, and between two attempts of
#: one kind to open a log again that broke.
_SAID_EVERY: Final = 60.0
_OPENED_EVERY: Final = 5.0

_logger = logging.getLogger(__name__)


class LogRecorder(Recorder):
    """Writes the record of each exchange to a log.

    Args:
        open_writer: Opens the log, at once and again after it broke; its `max_pending_bytes` bound
            what waits to be written.
        limits: What bounds the rest.
        policy: How much is recorded of which calls.
        redaction: What redacts the records of which all is kept; it is closed with the recorder.
        labels: Those of every record.
        count: Is called with what happened to each record, in any thread.
        count_kept: Is called with what was kept of each exchange that is written, or that is not to
            be recorded, in any thread.
        count_failure: Is called with why a record could not be redacted, in any thread.

    Attributes:
        policy: The argument.
        redaction: The argument.

    Raises:
        LogError: From `open_writer`.
        OSError: From `open_writer`.
    """

    def __init__(
        self,
        open_writer: Callable[[], LogWriter],
        limits: RecordLimits | None = None,
        *,
        policy: RecordPolicy | None = None,
        redaction: Redaction | None = None,
        labels: Mapping[str, str] | None = None,
        count: Callable[[Outcome], None] | None = None,
        count_kept: Callable[[Kept], None] | None = None,
        count_failure: Callable[[Failure], None] | None = None,
    ) -> None:
        self.limits = limits or RecordLimits()
        self.policy = policy or RecordPolicy()
        self.redaction = redaction
        self.labels = dict(labels or {})
        self.label_fields = label_fields(self.labels)
        self.held = 0  # by the exchanges that run; the event loop's alone
        self._waits = self.limits.overload == "wait"
        self._open = open_writer
        self._count = count or (lambda _: None)
        self._count_kept = count_kept or (lambda _: None)
        self._count_failure = count_failure or (lambda _: None)
        self._settle = {
            (outcome, kept): partial(self._settled, outcome, kept)
            for outcome in OUTCOMES
            for kept in KEPT
        }
        self._lock = threading.Lock()
        self._losses: Counter[Outcome] = Counter()
        self._say_at = 0.0
        self._open_at = {"at once": 0.0, "later": 0.0}
        # Puts large records together, waits for room, and opens the log again.
        self._thread = ThreadPoolExecutor(1, "chatpb.record")
        self._behind = 0  # records that were given to the thread; the event loop's alone
        self._writer = open_writer()

    def load(self) -> Mapping[str, float]:
        """What is kept and waits now, by the names in `vitals.GAUGES`."""
        return {
            "record_running_bytes": self.held,
            "record_queue_bytes": self._writer.pending_bytes,
        }

    def begin(self, call: Call) -> Recording:
        """Begins to record a call."""
        return Exchange(self, call)

    def keep_of(self, call: Call) -> Keep:
        """How much is kept of a call."""
        return self.policy.keep_of(call)

    def renew(self, policy: RecordPolicy, redaction: Redaction | None) -> None:
        """Changes what is kept of the calls that end from now on."""
        before, self.policy, self.redaction = self.redaction, policy, redaction
        if before is not None and before is not redaction:
            self._thread.submit(before.close)  # after the records that it has to redact

    async def take(self, exchange: Exchange) -> None:
        """Takes what was recorded of a call that is over."""
        loop = asyncio.get_running_loop()
        if not self._waits:
            if not exchange.is_heavy:
                loop.call_soon(self._take_now, exchange)  # once the caller has its answer
            else:
                self._hand_over(exchange)
        elif exchange.is_heavy or self._behind or not self._take_now(exchange):
            # Those that wait are written in turn, even if the caller has gone.
            await asyncio.shield(self._hand_over(exchange))

    def _take_now(self, exchange: Exchange) -> bool:
        is_taken = self._write(exchange, block=False)
        if is_taken:
            self.held -= exchange.size
        return is_taken

    def _hand_over(self, exchange: Exchange) -> asyncio.Future[bool]:
        """Leaves a record to the thread."""
        loop = asyncio.get_running_loop()
        writing = loop.run_in_executor(self._thread, self._write, exchange, self._waits)
        self._behind += 1
        writing.add_done_callback(partial(self._caught_up, exchange))
        return writing

    def close(self) -> None:
        """Writes all that waits, and ends the log. It blocks, and raises nothing."""
        self._thread.shutdown()
        if self.redaction is not None:
            self.redaction.close()
        try:
            self._writer.close()
        except LogError as error:  # reported for each record already
            _logger.error("the log of records was not closed properly: %s", error)
        if self._losses:
            self._say("the last")

    def _write(self, exchange: Exchange, block: bool) -> bool:
        """Appends a record to the log; false if there is no room and it has to wait."""
        try:
            record = exchange.record()
            if record is None:
                if exchange.is_unwanted:
                    self._count_kept("none")
                return True
            kept: Kept = exchange.keep
            if exchange.redaction is not None:
                record, kept = self._redact(exchange, exchange.redaction, record)
            written = self._writer.append(record, block=block)
        except PendingFullError as error:
            if self._waits and not block:
                return False
            self._lose("dropped", str(error))
        except LogError as error:
            self._lose("failed", str(error))
            self._mend("later")
        except Exception as error:  # a fault here must not fail the call
            self._lose("failed", type(error).__qualname__)
        else:
            outcome: Outcome = "truncated" if exchange.is_cut else "written"
            written.add_done_callback(self._settle[outcome, kept])
        return True

    def _redact(
        self, exchange: Exchange, redaction: Redaction, record: bytes
    ) -> tuple[bytes, Kept]:
        """A record that is redacted, or reduced to its metadata if that fails."""
        until = exchange.ended + redaction.seconds
        result = redaction.redacted(record, until, is_cut=exchange.may_end_anywhere)
        if isinstance(result, bytes):
            return exchange.redacted(result), "redacted"
        self._count_failure(result)
        _logger.error("only the metadata of a record is kept: its redaction failed: %s", result)
        return exchange.reduced(record), "metadata"

    def _caught_up(self, exchange: Exchange, _: asyncio.Future[bool]) -> None:
        self._behind -= 1
        self.held -= exchange.size

    def _settled(self, outcome: Outcome, kept: Kept, written: Future[Any]) -> None:
        error = written.exception()
        if error is None:
            self._count(outcome)
            self._count_kept(kept)
        else:
            self._lose("failed", str(error))
            if self._writer.is_broken:
                self._mend("at once")

    def _lose(self, outcome: Outcome, reason: str) -> None:
        """Counts a lost record, and logs that from time to time."""
        self._count(outcome)
        with self._lock:
            self._losses[outcome] += 1
            now = time.monotonic()
            if now < self._say_at:
                return
            self._say_at = now + _SAID_EVERY
        self._say(reason)

    def _say(self, reason: str) -> None:
        with self._lock:
            losses, self._losses = self._losses, Counter()
        counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(losses.items()))
        _logger.error("records are lost (%s): %s", counts, reason)

    def _mend(self, when: Literal["at once", "later"]) -> None:
        """Opens a log again that has failed, in the thread and not too often.

        Args:
            when: When the log has just broken, or when it has refused a record since. An attempt
                that came too early does not put off the later ones.
        """
        with self._lock:
            now = time.monotonic()
            if now < self._open_at[when]:
                return
            self._open_at[when] = now + _OPENED_EVERY
        with suppress(RuntimeError):  # the thread has ended
            self._thread.submit(self._reopen)

    def _reopen(self) -> None:
        with suppress(LogError):
            self._writer.close()
        try:
            self._writer = self._open()
        except (LogError, OSError) as error:
            reason = os_error_text(error) if isinstance(error, OSError) else error.reason
            _logger.error("the log of records cannot be opened again: %s", reason)
        else:
            _logger.warning("the log of records was opened again: %s", self._writer.path)
