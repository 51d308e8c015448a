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
from functools import lru_cache, partial
from typing import Any, Final

from google.protobuf.message import DecodeError
from grpc import StatusCode

from chatpb import ConversionError, json_to_binary
from chatpb._errors import os_error_text
from chatpb._wire import embedded, varint_bytes
from chatpb.log import LogError, LogWriter, PendingFullError
from chatpb.v1.chat_completion_request_pb2 import ChatCompletionRequest
from chatpb.v1.completion_record_pb2 import CompletionRecord
from chatpb_server.core.call import Call, Recorder, Recording
from chatpb_server.core.failure import Failure
from chatpb_server.watching.record_limits import OUTCOMES, TRUNCATED, Outcome, RecordLimits

_REQUEST: Final = CompletionRecord.REQUEST_FIELD_NUMBER
_COMPLETION: Final = CompletionRecord.COMPLETION_FIELD_NUMBER
_CHUNKS: Final = CompletionRecord.CHUNKS_FIELD_NUMBER
_ERROR: Final = CompletionRecord.ERROR_FIELD_NUMBER
_CALL_ID: Final = CompletionRecord.CALL_ID_FIELD_NUMBER
# The tags of numbers.
_START_TIME: Final = varint_bytes(CompletionRecord.START_TIME_UNIX_US_FIELD_NUMBER << 3)
_DURATION: Final = varint_bytes(CompletionRecord.DURATION_US_FIELD_NUMBER << 3)
_STATUS: Final = varint_bytes(CompletionRecord.STATUS_FIELD_NUMBER << 3)
_HTTP_STATUS: Final = varint_bytes(CompletionRecord.HTTP_STATUS_FIELD_NUMBER << 3)
#: A record of more bytes takes milliseconds to put together, and is left to a thread.
_LARGE: Final = 256 * 1024
#: Beside a chunk is kept when it came.
_TIME_BYTES: Final = 8
#: At most so often, in seconds, the log says that records are lost, and a log that broke is begun
#: anew.
_SAID_EVERY: Final = 60.0
_OPENED_EVERY: Final = 5.0

_logger = logging.getLogger(__name__)


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
        self.label_fields = _labels(self.labels)
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
        loop = asyncio.get_running_loop()
        if not self._waits:
            if recording.size <= _LARGE:
                loop.call_soon(self._take_now, recording)  # once the caller has its answer
            else:
                self._hand_over(recording)
        elif recording.size > _LARGE or self._behind or not self._take_now(recording):
            # Those that wait are written in turn. A caller that goes does not take its own along.
            await asyncio.shield(self._hand_over(recording))

    def _take_now(self, recording: _Recording) -> bool:
        is_taken = self._write(recording, block=False)
        if is_taken:
            self.held -= recording.size
        return is_taken

    def _hand_over(self, recording: _Recording) -> asyncio.Future[bool]:
        """Leaves a record to the thread."""
        loop = asyncio.get_running_loop()
        writing = loop.run_in_executor(self._thread, self._write, recording, self._waits)
        self._behind += 1
        writing.add_done_callback(partial(self._caught_up, recording))
        return writing

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
            reason = os_error_text(error) if isinstance(error, OSError) else error.reason
            _logger.error("the log of records cannot be opened again: %s", reason)


class _Recording(Recording):
    """What is kept of a call.

    Args:
        recorder: Who keeps it.
        call: The call.

    Attributes:
        size: How many bytes are kept.
    """

    __slots__ = (
        "_answer",
        "_call",
        "_code",
        "_cut",
        "_duration_us",
        "_failure",
        "_failure_status",
        "_is_asked",
        "_is_begun",
        "_is_json",
        "_recorder",
        "_request",
        "_start_us",
        "_times",
        "size",
    )

    def __init__(self, recorder: LogRecorder, call: Call) -> None:
        self.size = 0
        self._recorder = recorder
        self._call = call
        self._start_us = time.time_ns() // 1000 - self._now_us()
        self._duration_us = 0
        self._request: bytes | None = None
        self._answer: bytes | bytearray = b""
        self._times: array[int] | None = None
        self._cut: tuple[str, ...] = ()
        self._code = StatusCode.UNKNOWN
        self._failure: Failure | None = None
        self._failure_status = 0
        self._is_asked = self._is_json = self._is_begun = False

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
            self._answer = embedded(_COMPLETION, (completion,))

    def came(self, chunks: Sequence[bytes]) -> None:
        """Keeps chunks, and when they came."""
        if "chunks" in self._cut:  # none after a gap
            return
        data = embedded(_CHUNKS, chunks)
        if self._has_room(len(data) + _TIME_BYTES * len(chunks), "chunks"):
            if self._times is None:
                self._answer, self._times = bytearray(), array("q")
            self._answer += data
            now = self._now_us()
            for _ in chunks:
                self._times.append(now)

    async def end(self, code: StatusCode, failure: Failure | None) -> None:
        """Gives all to the recorder."""
        self._duration_us = self._now_us()
        self._code = code
        if failure is not None:
            self._failure_status = failure.http_status
            if self._has_room(failure.response.ByteSize(), "error"):
                self._failure = failure
        self._is_begun |= code is StatusCode.OK
        await self._recorder.take(self)

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
                self._cut_off("request")
        elif request is not None and not self._is_begun and not _is_request(request):
            return None
        pieces: list[bytes | bytearray] = []
        if request is not None:
            pieces.append(embedded(_REQUEST, (request,)))
        pieces.append(self._answer)
        if self._times is not None:
            times = CompletionRecord(chunk_times_us=self._times)
            pieces.append(times.SerializeToString())
        self._add_ending(pieces)
        return b"".join(pieces)

    def _add_ending(self, pieces: list[bytes | bytearray]) -> None:
        """Adds what follows the contents."""
        call, failure, recorder = self._call, self._failure, self._recorder
        pieces += (_START_TIME, varint_bytes(self._start_us))
        pieces += (_DURATION, varint_bytes(self._duration_us))
        if call.caller:
            pieces.append(_text(CompletionRecord.CALLER_FIELD_NUMBER, call.caller))
        if call.upstream:
            pieces.append(_text(CompletionRecord.UPSTREAM_FIELD_NUMBER, call.upstream))
        pieces += (_STATUS, varint_bytes(self._code.value[0]))
        if self._is_begun:
            pieces += (_HTTP_STATUS, varint_bytes(200))
        elif self._failure_status:
            pieces += (_HTTP_STATUS, varint_bytes(self._failure_status))
        if failure is not None:
            error = failure.response.SerializeToString(deterministic=True)
            pieces.append(embedded(_ERROR, (error,)))
        if self._cut:
            truncated = {TRUNCATED: ",".join(sorted(self._cut))}
            pieces.append(_labels(recorder.labels | truncated))
        else:
            pieces.append(recorder.label_fields)
        pieces.append(embedded(_CALL_ID, (call.id.encode(),)))

    def _has_room(self, size: int, what: str) -> bool:
        """Takes room for a part of the record, or cuts it."""
        recorder, limits = self._recorder, self._recorder.limits
        if self.size + size > limits.exchange_bytes or recorder.held + size > limits.running_bytes:
            self._cut_off(what)
            return False
        self.size += size
        recorder.held += size
        return True

    def _cut_off(self, what: str) -> None:
        if what not in self._cut:
            self._cut += (what,)

    def _now_us(self) -> int:
        """The microseconds since the call came."""
        return int((time.monotonic() - self._call.started) * 1_000_000)


@lru_cache(1024)
def _text(number: int, text: str) -> bytes:
    """A field that holds one of a few texts."""
    return embedded(number, (text.encode(),))


def _labels(labels: Mapping[str, str]) -> bytes:
    return CompletionRecord(labels=labels).SerializeToString(deterministic=True)


def _is_request(data: bytes) -> bool:
    """Whether bytes that nothing was made of are the binary form of a request."""
    try:
        ChatCompletionRequest.FromString(data)
    except DecodeError:
        return False
    return True
