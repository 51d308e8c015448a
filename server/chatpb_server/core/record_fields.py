"""The fields of a record that are not contents, as bytes in the order of their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from google.protobuf.message import DecodeError

from chatpb._wire import embedded, varint_bytes
from chatpb.v1.chat_completion_request_pb2 import ChatCompletionRequest
from chatpb.v1.completion_record_pb2 import CompletionRecord, RecordKept
from chatpb.v1.error_pb2 import ErrorResponse
from chatpb_server.core.call import Call

# The tags of numbers.
_START_TIME: Final = varint_bytes(CompletionRecord.START_TIME_UNIX_US_FIELD_NUMBER << 3)
_DURATION: Final = varint_bytes(CompletionRecord.DURATION_US_FIELD_NUMBER << 3)
_STATUS: Final = varint_bytes(CompletionRecord.STATUS_FIELD_NUMBER << 3)
_HTTP_STATUS: Final = varint_bytes(CompletionRecord.HTTP_STATUS_FIELD_NUMBER << 3)


def ending(
    call: Call,
    *,
    times_us: tuple[int, int],
    status: int,
    http_status: int,
    error: ErrorResponse | None,
    labels: bytes,
) -> list[bytes]:
    """The fields that follow the contents of a record.

    Args:
        call: The call.
        times_us: When it began, since the Unix epoch, and how long it took.
        status: How it ended, as a code of gRPC.
        http_status: The HTTP status of the answer; 0 if there was none.
        error: The error that was answered.
        labels: The fields of the labels.
    """
    pieces = [_START_TIME, varint_bytes(times_us[0]), _DURATION, varint_bytes(times_us[1])]
    if call.caller:
        pieces.append(_text(CompletionRecord.CALLER_FIELD_NUMBER, call.caller))
    if call.upstream:
        pieces.append(_text(CompletionRecord.UPSTREAM_FIELD_NUMBER, call.upstream))
    pieces += (_STATUS, varint_bytes(status))
    if http_status:
        pieces += (_HTTP_STATUS, varint_bytes(http_status))
    if error is not None:
        data = error.SerializeToString(deterministic=True)
        pieces.append(embedded(CompletionRecord.ERROR_FIELD_NUMBER, (data,)))
    pieces += (labels, embedded(CompletionRecord.CALL_ID_FIELD_NUMBER, (call.id.encode(),)))
    return pieces


def label_fields(labels: Mapping[str, str]) -> bytes:
    """The fields that hold labels."""
    return CompletionRecord(labels=labels).SerializeToString(deterministic=True)


def kept_fields(
    kept: RecordKept.ValueType, request_size: int | None, answer_size: int | None
) -> bytes:
    """The last fields of a record of which not all is kept."""
    fields = CompletionRecord(kept=kept, request_bytes=request_size, answer_bytes=answer_size)
    return fields.SerializeToString(deterministic=True)


def is_request(data: bytes) -> bool:
    """Whether bytes are the binary form of a request, if no upstream has answered to them."""
    try:
        ChatCompletionRequest.FromString(data)
    except DecodeError:
        return False
    return True


@lru_cache(1024)
def _text(number: int, text: str) -> bytes:
    """A field that holds one of a few texts."""
    return embedded(number, (text.encode(),))
