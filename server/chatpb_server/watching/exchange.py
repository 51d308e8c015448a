"""What is kept of one running call, and the record that is made of it.

The parts of a record are the bytes that the relay has anyway; no message is parsed for it, unless
only metadata is kept.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from grpc import StatusCode

from chatpb import ConversionError
from chatpb._metadata import without_contents
from chatpb._rpc.offload import LARGE
from chatpb._wire import begun
from chatpb.v1.chat_completion_request_pb2 import ChatCompletionRequest
from chatpb.v1.completion_record_pb2 import (
    RECORD_KEPT_METADATA,
    RECORD_KEPT_REDACTED,
    CompletionRecord,
    RecordKept,
)
from chatpb_server.core.apart import Job
from chatpb_server.core.call import Call, Recording
from chatpb_server.core.failure import Failure
from chatpb_server.core.keeping import Keep, least
from chatpb_server.core.offload import SHORT, json_to_binary_in_thread
from chatpb_server.core.record_fields import ending, is_request, kept_fields, label_fields
from chatpb_server.watching.keeper import Keeper
from chatpb_server.watching.kept_answer import KeptAnswer, room_for
from chatpb_server.watching.record_limits import TRUNCATED

if TYPE_CHECKING:
    from chatpb_server.watching.redacting import Redaction

_REQUEST: Final = CompletionRecord.REQUEST_FIELD_NUMBER


class Exchange(Recording):
    """What is kept of a call.

    Args:
        keeper: What bounds it, and takes it at the end.
        call: The call.

    Attributes:
        size: How many bytes are held.
        keep: How much of the call is kept.
        redaction: What redacts the record; None if nothing does.
        ended: When the call was over, in seconds of `time.monotonic`.
    """

    __slots__ = (
        "_answer",
        "_answer_size",
        "_call",
        "_code",
        "_cut",
        "_duration_us",
        "_failure",
        "_failure_status",
        "_is_begun",
        "_is_json",
        "_is_known",
        "_keeper",
        "_request",
        "_request_size",
        "_start_us",
        "ended",
        "keep",
        "redaction",
        "size",
    )

    def __init__(self, keeper: Keeper, call: Call) -> None:
        self.size = 0
        self.keep: Keep = "all"
        self.redaction: Redaction | None = None
        self.ended = 0.0
        self._keeper = keeper
        self._call = call
        self._start_us = time.time_ns() // 1000 - self._now_us()
        self._duration_us = 0
        self._request: bytes | None = None
        self._request_size: int | None = None
        self._answer_size: int | None = None
        self._answer = KeptAnswer()
        self._cut: tuple[str, ...] = ()
        self._code = StatusCode.UNKNOWN
        self._failure: Failure | None = None
        self._failure_status = 0
        self._is_known = self._is_json = self._is_begun = False

    @property
    def is_cut(self) -> bool:
        """Whether something is missing in the record because there was no room for it."""
        return bool(self._cut)

    @property
    def may_end_anywhere(self) -> bool:
        """Whether the chunks may be not all, so that a text may end within a word."""
        return self.is_cut or self._code is not StatusCode.OK

    @property
    def is_unwanted(self) -> bool:
        """Whether the call could be recorded, and is not to be."""
        return self._is_known and self.keep == "none"

    @property
    def is_heavy(self) -> bool:
        """Whether it takes milliseconds to make the record."""
        return self.redaction is not None or self.size > (LARGE if self.keep == "all" else SHORT)

    def asked(self, request: bytes, *, is_json: bool = False) -> None:
        """Keeps the request."""
        self._is_known = True
        self._is_json = is_json
        self.keep = self._keeper.keep_of(self._call)
        self._request_size = len(request)
        if self._has_room(len(request), "request"):
            self._request = request

    def refused(self) -> None:
        """Keeps that there is no room for the call, whatever it asks."""
        self._is_known = True

    def begun(self) -> None:
        """Keeps that the answer has begun."""
        self._is_begun = True

    def answered(self, completion: bytes) -> None:
        """Keeps the completion."""
        self._answer_size = len(completion)
        if self._has_room(len(completion), "completion"):
            self._answer.complete(completion)

    def came(self, chunks: Sequence[bytes]) -> None:
        """Keeps chunks, and when they came."""
        size = sum(map(len, chunks))
        self._answer_size = (self._answer_size or 0) + size
        if self.keep == "none" or "chunks" in self._cut:  # none after a gap
            return
        if self._has_room(room_for(chunks, size), "chunks"):
            self._answer.add(chunks, size, self._now_us())

    async def end(self, code: StatusCode, failure: Failure | None) -> None:
        """Gives all to the keeper."""
        self._duration_us = self._now_us()
        self._code = code
        self.keep = least(self.keep, self._keeper.keep_of(self._call))
        self.redaction = self._keeper.redaction if self.keep == "all" else None
        self.ended = time.monotonic()
        if failure is not None:
            self._failure_status = failure.http_status
            if self._has_room(failure.response.ByteSize(), "error"):
                self._failure = failure
        self._is_begun |= code is StatusCode.OK
        await self._keeper.take(self)

    def record(self) -> bytes | None:
        """The record in binary form, as it is written unless it is redacted.

        None if what was asked cannot be read, or nothing is kept.
        """
        if not self._is_known or self.keep == "none":
            return None
        request = self._request
        if request is not None and self._is_json:
            try:
                request = json_to_binary_in_thread(request, ChatCompletionRequest)
                self._request_size = len(request)
            except ConversionError:
                request = None
                self._cut_off("request")
        elif request is not None and not self._is_begun and not is_request(request):
            return None
        pieces: list[bytes] = []
        if request is not None:
            pieces += (begun(_REQUEST, len(request)), request)
        pieces += self._answer.fields()
        pieces += self._ending()
        record = b"".join(pieces)
        return self.reduced(record) if self.keep == "metadata" else record

    def reduced(self, record: bytes) -> bytes:
        """The record as it is written if only its metadata is kept.

        Raises:
            ConversionError: The process that reduces it was ended.
        """
        if len(record) > LARGE:  # a thread would take Python's lock from the loop again and again
            reduced = Job(without_contents, record, CompletionRecord).run()
        else:
            reduced = without_contents(record, CompletionRecord)
        return b"".join((reduced, self._kept(RECORD_KEPT_METADATA)))  # without Python's lock

    def redacted(self, record: bytes) -> bytes:
        """The record as it is written after its texts were redacted."""
        return b"".join((record, self._kept(RECORD_KEPT_REDACTED)))

    def _kept(self, kept: RecordKept.ValueType) -> bytes:
        return kept_fields(kept, self._request_size, self._answer_size)

    def _ending(self) -> list[bytes]:
        """What follows the contents."""
        http_status = 200 if self._is_begun else self._failure_status
        labels = self._keeper.label_fields
        if self._cut:
            truncated = {TRUNCATED: ",".join(sorted(self._cut))}
            labels = label_fields(self._keeper.labels | truncated)
        return ending(
            self._call,
            times_us=(self._start_us, self._duration_us),
            status=self._code.value[0],
            http_status=http_status,
            error=None if self._failure is None else self._failure.response,
            labels=labels,
        )

    def _has_room(self, size: int, what: str) -> bool:
        """Takes room for a part of the record, or cuts it."""
        if self.keep == "none":
            return False
        keeper, limits = self._keeper, self._keeper.limits
        if self.size + size > limits.exchange_bytes or keeper.held + size > limits.running_bytes:
            self._cut_off(what)
            return False
        self.size += size
        keeper.held += size
        return True

    def _cut_off(self, what: str) -> None:
        if what not in self._cut:
            self._cut += (what,)

    def _now_us(self) -> int:
        """The microseconds since the call came."""
        return int((time.monotonic() - self._call.started) * 1_000_000)
