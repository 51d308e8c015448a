"""Encrypting a log that is there with another key."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from chatpb._errors import path_of
from chatpb.log._errors import LockedError, LogError
from chatpb.log._frames import BadFrameError, Encoder, Frame, Source, read_frame
from chatpb.log._headers import header_in
from chatpb.log._keys import KeyFile, as_keys
from chatpb.log._locks import locked, sync_directory
from chatpb.log._repair import recover_locked
from chatpb.log._segments import Segments
from chatpb.v1.completion_record_pb2 import CompletionRecord, LogHeader

if TYPE_CHECKING:
    from chatpb.log._sealing import Sealer

_LEVELS: Final = (3, 1, 6, 9, 12, 19, -1)  # of compression that writers are likely to have
_TRIES: Final = 1000


def rekey(path: str | os.PathLike[str], keys: KeyFile | str | os.PathLike[str]) -> int:
    """Encrypts what is encrypted in a file with the last key of the file of keys, if it is not yet.

    Records stay at the same positions, since all sizes stay the same. So the name of the new key
    must be as long as that of the old one, which is true of all that `new_key` chooses. What is not
    encrypted stays as it is. A torn end is cut off. The file is replaced in one step: if the
    process dies, it is the old or the new one.

    Args:
        path: The file, not a directory.
        keys: The file of keys, which has the old one too.

    Returns:
        How many frames have another key now; 0 if the file was left as it was.

    Raises:
        LockedError: A writer has the file open, and not everything has the last key.
        LogKeyError: The old key is missing.
        LogError: The file is not a log or damaged, or the new key's name is not as long.
        OSError: It cannot be read or written.
    """
    place = path_of(path)
    found = as_keys(keys)
    assert found is not None
    try:
        with locked(place) as fd:
            recover_locked(fd, place)
            return _Rekeying(place, fd, found).run()
    except LockedError:
        if _has_last_key(place, found):
            return 0
        raise


def _has_last_key(path: Path, keys: KeyFile) -> bool:
    """Whether all of a file that has a writer is encrypted with the last key.

    The writer has that key too, so what follows will be.
    """
    with open(path, "rb") as file, contextlib.suppress(BadFrameError):
        return not _Rekeying(path, file.fileno(), keys).has_others()
    return False


def _for_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class _Rekeying:
    """A file that is encrypted with another key, frame by frame."""

    def __init__(self, path: Path, fd: int, keys: KeyFile) -> None:
        from chatpb.log import _sealing  # needs more, as the keys do

        self._path = path
        self._offset = 0  # of the frame that is read
        self._status = os.fstat(fd)
        self._source = Source(fd)
        self._segments = Segments(self._source, path, keys)
        self._key = keys.current
        self._sealing = _sealing
        self._sealer: Sealer | None = None  # of the part that is read, if it gets another key

    def run(self) -> int:
        """Writes the file anew next to itself and puts it into its place."""
        try:
            return self._run() if self.has_others() else 0
        except BadFrameError as error:
            reason = f"damaged at byte {self._offset}: {error.reason}; it was left as it is"
            raise LogError(self._path, reason) from None

    def _run(self) -> int:
        changed = 0
        target = self._path.with_name(f".{self._path.name}.rekey")
        with contextlib.ExitStack() as stack:
            target.unlink(missing_ok=True)  # of a process that was killed
            file = stack.enter_context(open(target, "xb", opener=_for_owner))
            stack.callback(target.unlink, missing_ok=True)
            if os.geteuid() == 0:  # the process that writes logs must still be able to open it
                os.fchown(file.fileno(), self._status.st_uid, self._status.st_gid)
            os.fchmod(file.fileno(), self._status.st_mode)
            for offset, frame in self._frames():
                old = self._source.read(offset, frame.end - offset)
                new = self._changed(offset, frame, len(old))
                changed += new is not None
                file.write(old if new is None else new)
            file.flush()
            os.fsync(file.fileno())
            target.replace(self._path)
        sync_directory(self._path)
        return changed

    def has_others(self) -> bool:
        """Whether a header names another key. Nothing is decrypted for that."""
        found = False
        for offset, frame in self._frames():
            self._segments.sealed(offset, frame)
            header = header_in(frame.messages[0], self._path)
            found |= header is not None and self._is_other(header)
        self._segments.forget()
        return found

    def _frames(self) -> Iterator[tuple[int, Frame]]:
        self._offset = 0
        while (frame := read_frame(self._source, self._offset)) is not None:
            yield self._offset, frame
            self._offset = frame.end

    def _is_other(self, header: LogHeader) -> bool:
        return header.HasField("encryption") and header.encryption.key_id != self._key.id

    def _changed(self, offset: int, frame: Frame, size: int) -> bytes | None:
        """The frame with the new key; None if it stays as it is."""
        sealed = self._segments.sealed(offset, frame)
        if sealed is None:
            header = header_in(frame.messages[0], self._path)
            if header is not None:
                self._sealer = None
                if self._is_other(header):
                    return self._header(header, size)
            return None
        if self._sealer is None:
            return None
        content = self._segments.unsealed(sealed)
        for _ in range(_TRIES):  # zstd may find something to compress in random bytes
            new = self._sealer.seal(content, sealed.offset, sealed.record_count)
            if len(new) == size:
                return new
        raise self._unfit()

    def _header(self, header: LogHeader, size: int) -> bytes:
        """The frame with a header for the new key, as long as the old one."""
        old = header.encryption.key_id
        if len(old) != len(self._key.id):
            reason = f"the name of the key {self._key.id!r} is not as long as {old!r}; records keep"
            reason += f" their positions, so make a key whose name has {len(old)} characters"
            raise LogError(self._path, reason)
        for level in _LEVELS:
            encoder = Encoder(level)
            for _ in range(_TRIES):
                header.encryption.CopyFrom(self._sealing.encryption(self._key))
                message = CompletionRecord(log_header=header).SerializeToString()
                new = encoder.encode([message])
                if len(new) == size:
                    self._sealer = self._sealing.Sealer(self._key, message)
                    return new
        raise self._unfit()

    def _unfit(self) -> LogError:
        return LogError(self._path, "a frame cannot get the length that it had; it is not changed")
