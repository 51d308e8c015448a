"""The parts of a file, each with its header, and the encrypted frames in them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from chatpb.log._errors import LogKeyError
from chatpb.log._frames import BadFrameError, Content, Frame, Source, read_frame
from chatpb.log._headers import digest, header_in, is_header, is_sealed
from chatpb.log._keys import KeyFile, key_of
from chatpb.v1.completion_record_pb2 import CompletionRecord, LogHeader, SealedFrame

if TYPE_CHECKING:
    from chatpb.log._sealing import Unsealer


class Segments:
    """Checks that the frames of a file are where they were written, and decrypts them.

    It is shown the frames in the order of the file, from any place on.

    Args:
        source: The file.
        path: Its name.
        keys: The keys.
    """

    def __init__(self, source: Source, path: Path, keys: KeyFile | None) -> None:
        self._source = source
        self._path = path
        self._keys = keys
        self._header_at: int | None = None  # of the part that was read last, if it is known
        self._header: tuple[bytes, LogHeader] | None = None  # there; None if it cannot be read
        self._unsealer: tuple[tuple[str, bytes], Unsealer] | None = None

    def forget(self) -> None:
        """Forgets the part, since there may have been another header in bytes that are damaged."""
        self._header_at = self._header = None

    def sealed(self, offset: int, frame: Frame) -> SealedFrame | None:
        """The encrypted frame that a frame contains, or None if it is not encrypted.

        Needs no key.

        Raises:
            BadFrameError: It is not where it was written.
            LogError: It is a header of something else.
        """
        first = frame.messages[0]
        if not is_sealed(first):
            self._pass(offset, frame.messages)
            return None
        try:
            sealed = CompletionRecord.FromString(first).sealed_frame
        except DecodeError as error:
            raise BadFrameError("an encrypted frame that is not a SealedFrame") from error
        self._locate(offset, sealed)
        if len(frame.messages) > 1:
            raise BadFrameError("an encrypted frame with other messages next to it")
        return sealed

    def opened(self, offset: int, frame: Frame) -> list[bytes]:
        """The messages of a frame, decrypted if necessary.

        Raises:
            BadFrameError: It is not where it was written, or was changed.
            LogError: It is a header of something else, or the key is not there.
        """
        sealed = self.sealed(offset, frame)
        if sealed is None:
            return frame.messages
        content = self.unsealed(sealed)
        inner = read_frame(Content(content, self._source.decompressor), 0)
        if inner is None or inner.end != len(content):
            raise BadFrameError("an encrypted frame with more in it than a frame")
        if len(inner.messages) != sealed.record_count:
            raise BadFrameError("an encrypted frame with another number of records")
        return inner.messages

    def _pass(self, offset: int, messages: list[bytes]) -> None:
        """Checks a frame that is not encrypted."""
        if any(map(is_sealed, messages)):
            raise BadFrameError("an encrypted frame with other messages next to it")
        if is_header(messages[0]):
            header = header_in(messages[0], self._path)
            assert header is not None
            if header.HasField("encryption") and len(messages) > 1:
                raise BadFrameError(
                    "records that are not encrypted, next to a header that requires it"
                )
            self._header_at, self._header = offset, (messages[0], header)
        elif self._header is not None and self._header[1].HasField("encryption"):
            raise BadFrameError("records that are not encrypted, after a header that requires it")

    def _locate(self, offset: int, sealed: SealedFrame) -> None:
        """Makes sure that a frame is where it was written: in its part, as far from the header."""
        header_at = offset - sealed.offset
        if header_at < 0 or not sealed.offset:
            raise BadFrameError("an encrypted frame that is not where it was written")
        if self._header_at is None:
            self._header_at, self._header = header_at, self._header_from(header_at)
        if self._header_at != header_at:
            raise BadFrameError("an encrypted frame that is not where it was written")
        # If the header cannot be read, that is reported; the frames do not depend on it.
        if self._header is not None:
            message, header = self._header
            if digest(message) != sealed.header_sha256 or header.encryption.key_id != sealed.key_id:
                raise BadFrameError("an encrypted frame that belongs to another header")

    def _header_from(self, offset: int) -> tuple[bytes, LogHeader] | None:
        try:
            frame = read_frame(self._source, offset)
        except BadFrameError:
            return None
        header = header_in(frame.messages[0], self._path) if frame else None
        if frame is None or header is None:
            raise BadFrameError("an encrypted frame that is not where it was written")
        return frame.messages[0], header

    def unsealed(self, sealed: SealedFrame) -> bytes:
        """The frame that was encrypted.

        Raises:
            BadFrameError: It was changed.
            LogKeyError: The key is not there.
        """
        which = (sealed.key_id, sealed.header_sha256)
        if self._unsealer is None or self._unsealer[0] != which:
            key = key_of(self._keys, sealed.key_id, self._path)
            from chatpb.log._sealing import Unsealer, key_check  # needs more, as the keys do

            if self._header is not None:
                encryption = self._header[1].encryption
                if encryption.key_check != key_check(key, encryption.salt):
                    assert self._keys is not None
                    reason = f"the key {key.id!r} of {self._keys.path} is another one than that"
                    reason += " with which it was encrypted, or its header was changed"
                    raise LogKeyError(self._path, reason, key.id)
            self._unsealer = which, Unsealer(key, sealed.header_sha256)
        return self._unsealer[1].unseal(sealed)
