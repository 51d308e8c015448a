"""Walking the frames of a file of a log, whole, torn and damaged."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Generic, NamedTuple, TypeVar

from chatpb._errors import path_of
from chatpb.log._errors import Damage, DamagedLogError, LogError
from chatpb.log._frames import BadFrameError, Frame, Source, read_frame
from chatpb.log._futures import Position
from chatpb.log._headers import header_in
from chatpb.log._keys import KeyFile
from chatpb.log._locks import is_locked, log_files
from chatpb.log._repair import damage_at
from chatpb.log._segments import Segments
from chatpb.v1.completion_record_pb2 import CompletionRecord

_logger: Final = logging.getLogger("chatpb.log")
_Content = TypeVar("_Content")


class Entry(NamedTuple):
    """A record of a log.

    Attributes:
        data: The record, in binary form.
        position: Its place in the log.
    """

    data: bytes
    position: Position

    @property
    def record(self) -> CompletionRecord:
        """The record; parsed anew each time."""
        return CompletionRecord.FromString(self.data)


class FrameInfo(NamedTuple):
    """A whole frame of a log, as it is known without the key.

    Attributes:
        path: The file.
        offset: Where it begins.
        size: How many bytes it has.
        record_count: How many records it contains; a header is not one.
        key_id: The name of the key that encrypts them, or None.
    """

    path: Path
    offset: int
    size: int
    record_count: int
    key_id: str | None


class _Found(NamedTuple, Generic[_Content]):
    """A frame, and what was looked for in it."""

    offset: int
    end: int
    content: _Content


class File:
    """A file that is being read."""

    def __init__(
        self,
        path: Path,
        start: Position,
        stopped: threading.Event,
        skip_damage: bool,
        on_damage: Callable[[Damage], None],
        keys: KeyFile | None,
    ) -> None:
        self._path = path
        self._offset = start.frame_offset
        self._index = start.index
        self._stopped = stopped
        self._skip_damage = skip_damage
        self._on_damage = on_damage
        self._seen = (0, 0)
        self._fd = os.open(path, os.O_RDONLY)
        self._source = Source(self._fd)
        self._segments = Segments(self._source, path, keys)

    def close(self) -> None:
        os.close(self._fd)

    def is_left(self) -> bool:
        """Whether it had a writer, which has locked it before it wrote, and has no more."""
        had_writer = self._offset > 0 or not os.fstat(self._fd).st_nlink
        return had_writer and not is_locked(self._fd)

    def entries(self, is_final: bool) -> Iterator[Entry]:
        """The records up to the end; if that is not final, of what is there now."""
        for found in self._frames(is_final, self._segments.opened):
            first, self._index = self._index, 0
            messages, offset = found.content, found.offset
            del found
            for index in range(len(messages)):
                if header_in(messages[index], self._path) is None:
                    if not offset and not index:
                        raise LogError(self._path, "not a log: it does not begin with a header")
                    if index >= first:
                        position = Position(self._path, offset, index)
                        # The message is taken out: the caller may have no memory for two.
                        data, messages[index] = [messages[index]], b""
                        yield Entry(data.pop(), position)

    def frames(self) -> Iterator[FrameInfo]:
        """The frames up to the end. Needs no key."""
        for offset, end, (record_count, key_id) in self._frames(True, self._described):
            yield FrameInfo(self._path, offset, end - offset, record_count, key_id)

    def _described(self, offset: int, frame: Frame) -> tuple[int, str | None]:
        sealed = self._segments.sealed(offset, frame)
        if sealed is not None:
            return sealed.record_count, sealed.key_id
        headers = sum(header_in(data, self._path) is not None for data in frame.messages)
        if not offset and not headers:
            raise LogError(self._path, "not a log: it does not begin with a header")
        return len(frame.messages) - headers, None

    def _frames(
        self, is_final: bool, look: Callable[[int, Frame], _Content]
    ) -> Iterator[_Found[_Content]]:
        status = os.fstat(self._fd)
        seen, self._seen = self._seen, (status.st_size, status.st_mtime_ns)
        if seen == self._seen and not is_final:
            return
        if status.st_size < self._offset:
            raise LogError(self._path, f"it has {status.st_size} bytes, and had {self._offset}")
        while not self._stopped.is_set() and (is_final or self._offset < status.st_size):
            found = self._next(is_final, look)
            if found is None:
                return
            if isinstance(found, Damage):
                self._segments.forget()
                self._on_damage(found)
                self._offset, self._index = found.end, 0
                continue
            self._offset = found.end
            yield found

    def _next(
        self, is_final: bool, look: Callable[[int, Frame], _Content]
    ) -> _Found[_Content] | Damage | None:
        """What comes next; None if it is not there, or not wholly there yet."""
        seen = None
        while True:
            frame = None
            offset = self._offset
            try:
                frame = read_frame(self._source, offset)
                return None if frame is None else _Found(offset, frame.end, look(offset, frame))
            except BadFrameError as error:
                if frame is None:
                    damage = damage_at(self._source, self._path, offset, error)
                else:
                    size = frame.end - offset
                    damage = Damage(self._path, offset, size, error.reason, is_torn=False)
            if damage == seen:
                break
            # Meanwhile, a writer may have completed the frame, or taken it back.
            seen = damage
            self._source.forget()
        if damage.is_torn:
            return damage if is_final else None
        if self._skip_damage:
            return damage
        raise DamagedLogError(damage)


def frames(
    path: str | os.PathLike[str],
    *,
    skip_damage: bool = False,
    on_damage: Callable[[Damage], None] | None = None,
) -> Iterator[FrameInfo]:
    """Walks and checks a log without the keys: its frames, in the order of the files.

    Each frame is decompressed and its checksum compared; one that is encrypted must be where it was
    written. The arguments and errors are those of `LogReader`.
    """
    for file in log_files(path_of(path)):
        walked = File(
            file,
            Position(file, 0, 0),
            threading.Event(),
            skip_damage,
            on_damage or log_damage,
            None,
        )
        with contextlib.closing(walked):
            yield from walked.frames()


def log_damage(damage: Damage) -> None:
    """Writes damage to the log of the process."""
    _logger.warning("%s", damage)
