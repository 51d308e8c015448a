"""Recording: every exchange becomes a `CompletionRecord` in a log, without slowing calls.

The parts of a record are the bytes that the relay has anyway; no message is parsed for it. What a
running exchange keeps is bounded, alone and with the others, and so is what waits to be written.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from google.protobuf.message import DecodeError
from grpc import StatusCode

from chatpb import ConversionError, json_to_binary
from chatpb._log_errors import LogError, PendingFullError
from chatpb._wire import embedded
from chatpb.v1.chat_completion_request_pb2 import ChatCompletionRequest
from chatpb.v1.completion_record_pb2 import CompletionRecord
from chatpb_server.call import Call, Recorder, Recording
from chatpb_server.status import Failure

if TYPE_CHECKING:
    from chatpb.log import LogWriter

Overload = Literal["drop", "wait"]
Outcome = Literal["written", "truncated", "dropped", "failed"]

#: What became of a record, in metrics. One that is truncated is written, with `TRUNCATED`.
OUTCOMES: Final[tuple[Outcome, ...]] = ("written", "truncated", "dropped", "failed")
#: Labels that begin so are the relay's own.
OWN_LABELS: Final = "chatpb."
#: The label of a record that lacks something: ``request``, ``completion``, ``chunks`` (the last
#: ones), ``error``, or several of them with commas.
TRUNCATED: Final = "chatpb.truncated"

_REQUEST: Final = CompletionRecord.REQUEST_FIELD_NUMBER
_COMPLETION: Final = CompletionRecord.COMPLETION_FIELD_NUMBER
_CHUNKS: Final = CompletionRecord.CHUNKS_FIELD_NUMBER
#: A record of more bytes takes milliseconds to put together, and is left to a thread.
_LARGE: Final = 256 * 1024
#: Beside a chunk is kept when it came.
_TIME_BYTES: Final = 8
#: At most so often, in seconds, the log says that records are lost, and a log that broke is begun
#: anew.
_SAID_EVERY: Final = 60.0
_OPENED_EVERY: Final = 5.0

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RecordLimits:
    """What bounds recording, in each process.

    Attributes:
        overload: What happens to a record that finds the queue full: ``drop``, or ``wait``, and
            with it the end of its call.
        exchange_bytes: The most bytes that are kept of one exchange. The record of a longer one is
            cut, and has the label `TRUNCATED`.
        running_bytes: The most bytes that are kept of all exchanges that run; likewise.
    """

    overload: Overload = "drop"
    exchange_bytes: int = 64 * 1024 * 1024
    running_bytes: int = 256 * 1024 * 1024


class LogRecorder(Recorder):
    """Writes the record of each exchange to a log.

    Args:
        open_writer: Opens the log, at once and again after it broke; its `max_pending_bytes` bound
            what waits to be written.
        limits: What bounds the rest.
        labels: Those of every record.
        count: Is told what became of each record, in any thread.

    Raises:
        LogError: From `open_writer`; OSError likewise.
    """

    def __init__(
        self,
        open_writer: Callable[[], LogWriter],
        limits: RecordLimits | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        count: Callable[[Outcome], None] | None = None,
    ) -> None:
        self.limits = limits or RecordLimits()
        self.labels = dict(labels or {})
        self.held = 0  # by the exchanges that run; the event loop's alone
        self._waits = self.limits.overload == "wait"
        self._open = open_writer
        self._count = count or (lambda _: None)
        self._settle = {outcome: partial(self._settled, outcome) for outcome in OUTCOMES}
        self._lock = threading.Lock()
        self._losses: Counter[Outcome] = Counter()
        self._say_at = self._open_at = 0.0
        # Puts large records together, waits for room, and opens the log again.
        self._thread = ThreadPoolExecutor(1, "chatpb.record")
        self._behind = 0  # records that were given to the thread; the event loop's alone
        self._writer = open_writer()

    def begin(self, call: Call) -> Recording:
        """Begins to record a call."""
        return _Recording(self, call)

    async def take(self, recording: _Recording) -> None:
        """Takes what was recorded of a call that is over."""
        # Those that wait are written in turn.
        if recording.size <= _LARGE and not (self._waits and self._behind):
            is_taken = self._write(recording, block=False)
            if is_taken:
                self._release(recording)
                return
        writing = asyncio.get_running_loop().run_in_executor(
            self._thread, self._write, recording, self._waits
        )
        self._behind += 1
        writing.add_done_callback(partial(self._caught_up, recording))
        if self._waits:  # a caller that goes does not take the record along
            await asyncio.shield(writing)

    def close(self) -> None:
        """Writes all that waits, and ends the log. It blocks, and raises nothing."""
        self._thread.shutdown()
        try:
            self._writer.close()
        except LogError as error:  # its records have said so
            _logger.error("the log of records did not end well: %s", error)
        if self._losses:
            self._say("the last")

    def _write(self, recording: _Recording, block: bool) -> bool:
        """Appends a record to the log; false if there is no room and it has to wait."""
        try:
            record = recording.record()
            if record is None:
                return True
            written = self._writer.append(record, block=block)
        except PendingFullError as error:
            if self._waits and not block:
                return False
            self._lose("dropped", str(error))
        except LogError as error:
            self._lose("failed", str(error))
            self._mend()
        except Exception as error:  # a fault here is none of the call's
            self._lose("failed", type(error).__qualname__)
        else:
            outcome: Outcome = "truncated" if recording.is_cut else "written"
            written.add_done_callback(self._settle[outcome])
        return True

    def _caught_up(self, recording: _Recording, _: asyncio.Future[bool]) -> None:
        self._behind -= 1
        self._release(recording)

    def _release(self, recording: _Recording) -> None:
        self.held -= recording.size

    def _settled(self, outcome: Outcome, written: Future[Any]) -> None:
        error = written.exception()
        if error is None:
            self._count(outcome)
        else:
            self._lose("failed", str(error))

    def _lose(self, outcome: Outcome, reason: str) -> None:
        """Counts a record that is lost, and says so once in a while."""
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

    def _mend(self) -> None:
        """Opens the log again that can write no more, in the thread and not too often."""
        with self._lock:
            now = time.monotonic()
            if now < self._open_at:
                return
            self._open_at = now + _OPENED_EVERY
        with suppress(RuntimeError):  # at the end there is no thread any more
            self._thread.submit(self._reopen)

    def _reopen(self) -> None:
        with suppress(LogError):
            self._writer.close()
        try:
            self._writer = self._open()
        except (LogError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error.reason
            _logger.error("the log of records cannot be opened again: %s", reason)


@dataclass(slots=True, eq=False)
class _Recording(Recording):
    """What is kept of a call.

    Attributes:
        recorder: Who keeps it.
        call: The call.
        size: How many bytes are kept.
    """

    recorder: LogRecorder
    call: Call
    size: int = 0
    _start_us: int = field(init=False)
    _duration_us: int = 0
    _request: bytes | None = None
    _is_json: bool = False
    _is_asked: bool = False
    _is_begun: bool = False
    _answer: bytearray = field(default_factory=bytearray)
    _times: array[int] = field(default_factory=lambda: array("q"))
    _cut: set[str] = field(default_factory=set)
    _code: StatusCode = StatusCode.UNKNOWN
    _failure: Failure | None = None

    def __post_init__(self) -> None:
        self._start_us = time.time_ns() // 1000 - self._now_us()

    @property
    def is_cut(self) -> bool:
        """Whether something is not in the record for want of room."""
        return bool(self._cut)

    def asked(self, request: bytes, *, is_json: bool = False) -> None:
        """Keeps the request."""
        self._is_asked = True
        self._is_json = is_json
        if self._has_room(len(request), "request"):
            self._request = request

    def begun(self) -> None:
        """Keeps that the answer has begun."""
        self._is_begun = True

    def answered(self, completion: bytes) -> None:
        """Keeps the completion."""
        if self._has_room(len(completion), "completion"):
            self._answer += embedded(_COMPLETION, (completion,))

    def came(self, chunks: Sequence[bytes]) -> None:
        """Keeps chunks, and when they came."""
        if self._cut and "chunks" in self._cut:  # none after a gap
            return
        data = embedded(_CHUNKS, chunks)
        if self._has_room(len(data) + _TIME_BYTES * len(chunks), "chunks"):
            self._answer += data
            now = self._now_us()
            for _ in chunks:
                self._times.append(now)

    async def end(self, code: StatusCode, failure: Failure | None) -> None:
        """Gives all to the recorder."""
        self._duration_us = self._now_us()
        self._code = code
        if failure is not None and self._has_room(failure.response.ByteSize(), "error"):
            self._failure = failure
        self._is_begun |= code is StatusCode.OK
        await self.recorder.take(self)

    def record(self) -> bytes | None:
        """The record in binary form, as it is written; None if it is not known what was asked."""
        if not self._is_asked:
            return None
        request = self._request
        if request is not None and self._is_json:
            try:
                request = json_to_binary(request, ChatCompletionRequest, allow_nan=True)
            except ConversionError:
                request = None
                self._cut.add("request")
        elif request is not None and not self.call.attempts and not _is_request(request):
            return None
        head = b"" if request is None else embedded(_REQUEST, (request,))
        return b"".join((head, self._answer, self._rest()))

    def _rest(self) -> bytes:
        """What follows the contents."""
        call, failure = self.call, self._failure
        labels = self.recorder.labels
        if self._cut:
            labels = {**labels, TRUNCATED: ",".join(sorted(self._cut))}
        http_status = 200 if self._is_begun else None
        if failure is not None and http_status is None:
            http_status = failure.http_status
        rest = CompletionRecord(
            chunk_times_us=self._times,
            start_time_unix_us=self._start_us,
            duration_us=self._duration_us,
            caller=call.caller or None,
            upstream=call.upstream or None,
            status=self._code.value[0],
            http_status=http_status,
            error=None if failure is None else failure.response,
            labels=labels,
            call_id=call.id,
        )
        return rest.SerializeToString(deterministic=True)

    def _has_room(self, size: int, what: str) -> bool:
        """Takes room for a part of the record, or cuts it."""
        recorder, limits = self.recorder, self.recorder.limits
        if self.size + size > limits.exchange_bytes or recorder.held + size > limits.running_bytes:
            self._cut.add(what)
            return False
        self.size += size
        recorder.held += size
        return True

    def _now_us(self) -> int:
        """The microseconds since the call came."""
        return int((time.monotonic() - self.call.started) * 1_000_000)


def _is_request(data: bytes) -> bool:
    """Whether bytes that nothing was made of are the binary form of a request."""
    try:
        ChatCompletionRequest.FromString(data)
    except DecodeError:
        return False
    return True
