"""The messages of a log that are not records: headers, and frames that are encrypted."""

from __future__ import annotations

import functools
import hashlib
import secrets
import time
from importlib import metadata, resources
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError

from chatpb._wire import WireError, field_at, varint_bytes
from chatpb.log._errors import LogError
from chatpb.log._frames import BadFrameError, Source, read_frame
from chatpb.v1.completion_record_pb2 import CompletionRecord, LogHeader

SEALED_TAG: Final = varint_bytes(CompletionRecord.SEALED_FRAME_FIELD_NUMBER << 3 | 2)
CIPHER: Final = "AES-256-GCM"
SALT_BYTES: Final = 16
_HEADER_TAG: Final = varint_bytes(CompletionRecord.LOG_HEADER_FIELD_NUMBER << 3 | 2)
_TYPE: Final = CompletionRecord.DESCRIPTOR.full_name


class DamagedHeaderError(LogError):
    """A file whose first frame is damaged; it may be a log."""


def wall_clock_us() -> int:
    """The time of day, in microseconds since the Unix epoch. It may go backwards."""
    return time.time_ns() // 1000


def is_header(message: bytes) -> bool:
    """Whether a message has the field of the header and no other."""
    return _has_only(message, _HEADER_TAG)


def is_sealed(message: bytes) -> bool:
    """Whether a message has the field of an encrypted frame and no other."""
    return _has_only(message, SEALED_TAG)


def header_in(message: bytes, path: Path) -> LogHeader | None:
    """The header that a message is, or None if it is a record.

    Raises:
        LogError: It is the header of a log of something else, or encrypted in an unknown way.
    """
    if not is_header(message):
        return None
    try:
        header = CompletionRecord.FromString(message).log_header
    except DecodeError as error:
        raise LogError(path, "the header is not a LogHeader") from error
    if header.message_type != _TYPE:
        raise LogError(path, f"a log of {header.message_type!r}; expected one of {_TYPE}")
    cipher = header.encryption.cipher
    if header.HasField("encryption") and cipher != CIPHER:
        raise LogError(path, f"encrypted with {cipher!r}; this version knows {CIPHER}")
    return header


def first_header(source: Source, path: Path) -> LogHeader:
    """The header with which a file begins.

    Raises:
        LogError: There is none.
    """
    try:
        frame = read_frame(source, 0)
    except BadFrameError as error:
        raise DamagedHeaderError(
            path, f"not a log, or its beginning is damaged: {error}"
        ) from error
    found = header_in(frame.messages[0], path) if frame else None
    if found is None:
        raise LogError(path, "not a log: it does not begin with the header of one")
    return found


def new_header() -> LogHeader:
    """The header of a file that is begun now."""
    return LogHeader(
        message_type=_TYPE,
        schema_sha256=_schema_sha256(),
        writer=f"chatpb {metadata.version('chatpb')}",
        create_time_unix_us=wall_clock_us(),
        file_id=secrets.token_hex(16),
    )


def digest(header: bytes) -> bytes:
    """The digest of a message with a header, which encrypted frames name."""
    return hashlib.sha256(header).digest()


@functools.cache
def _schema_sha256() -> bytes:
    descriptor_set = resources.files("chatpb.v1") / "descriptor_set.binpb"
    return hashlib.sha256(descriptor_set.read_bytes()).digest()


def _has_only(message: bytes, tag: bytes) -> bool:
    if not message.startswith(tag):
        return False
    try:
        return field_at(message, 0)[2] == len(message)
    except WireError:
        return False
