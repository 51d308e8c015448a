"""Reading a log."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Final, NamedTuple, Self

from chatpb._errors import path_of
from chatpb.log._errors import Damage, DamagedLogError, LogError
from chatpb.log._files import damage_at, header_in, is_locked, log_files
from chatpb.log._frames import BadFrameError, Frame, Source, read_frame
from chatpb.log._futures import Position
from chatpb.v1.completion_record_pb2 import CompletionRecord

_logger: Final = logging.getLogger("chatpb.log")


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


class LogReader:
    """The records of a log, in the order in which they were appended.

    Reads one frame at a time. The beginnings of files (`LogHeader`) are checked and left out.

    Args:
        path: The file, or a directory whose files are read in the order of their names.
        start: Where to begin: at a record; or, in a file, at the offset of a frame. None is the
            beginning. If the record's file is no longer in the directory, the next one follows.
            Files before it are left out, also those that another writer had at the same time.
        follow: Whether to wait for more at the end, until `stop`; also for more files, in a
            directory. Files that several writers write at a time are read side by side.
        skip_damage: Whether to go on behind damage, at the next whole frame.
        on_damage: What is called with damage that is skipped, or a torn end; by default, it is
            logged. Of a file that has a writer, the end may look torn, and is not in the log yet.
        poll_seconds: How long to wait between looks at the files.

    Raises:
        DamagedLogError: There is damage other than a torn end, and `skip_damage` is false.
        LogError: The file is not a log, or became shorter.
        OSError: It cannot be read.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        start: Position | int | None = None,
        follow: bool = False,
        skip_damage: bool = False,
        on_damage: Callable[[Damage], None] | None = None,
        poll_seconds: float = 0.2,
    ) -> None:
        self._path = path_of(path)
        self._is_directory = self._path.is_dir()
        if isinstance(start, int):
            if self._is_directory:
                raise ValueError(f"{self._path} is a directory; expected a Position to start at")
            start = Position(self._path, start, 0)
        if start is not None and not self._is_directory:
            start = start._replace(path=self._path)  # it may have been moved
        self._start = start
        self._skip_damage = skip_damage
        self._on_damage = on_damage or _log
        self._poll_seconds = poll_seconds
        self._stopped = threading.Event()
        self._entries: Generator[Entry, None, None] = self._follow() if follow else self._read()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Entry:
        return next(self._entries)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def stop(self) -> None:
        """Ends the iteration after the frame that is being read. Any thread may call it."""
        self._stopped.set()

    def close(self) -> None:
        """Ends the iteration at once. To be called by the thread that reads."""
        self._stopped.set()
        self._entries.close()

    def _read(self) -> Generator[Entry, None, None]:
        for path in self._paths():
            with contextlib.closing(self._open(path)) as file:
                yield from file.entries(is_final=True)

    def _follow(self) -> Generator[Entry, None, None]:
        known: set[Path] = set()
        files: dict[Path, _File] = {}
        try:
            while not self._stopped.is_set():
                paths = self._paths()
                for path in paths:
                    if path in known:
                        continue
                    known.add(path)
                    try:
                        files[path] = self._open(path)
                    except FileNotFoundError:  # it was taken away after it was listed
                        if not self._is_directory:
                            raise
                has_more = False
                for path, file in list(files.items()):
                    # Once it has no writer, what is there now is all there will be.
                    is_newest = not self._is_directory or [path] == paths[-1:]
                    is_final = not is_newest and file.is_left()
                    for entry in file.entries(is_final):
                        has_more = True
                        yield entry
                    if is_final:
                        del files[path]
                        file.close()
                if not has_more:
                    self._stopped.wait(self._poll_seconds)
        finally:
            for file in files.values():
                file.close()

    def _paths(self) -> list[Path]:
        paths = log_files(self._path)
        if self._start is None:
            return paths
        return [path for path in paths if path.name >= self._start.path.name]

    def _open(self, path: Path) -> _File:
        start = self._start
        if start is None or start.path.name != path.name:
            start = Position(path, 0, 0)
        return _File(path, start, self._stopped, self._skip_damage, self._on_damage)


class _File:
    """A file that is being read."""

    def __init__(
        self,
        path: Path,
        start: Position,
        stopped: threading.Event,
        skip_damage: bool,
        on_damage: Callable[[Damage], None],
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

    def close(self) -> None:
        os.close(self._fd)

    def is_left(self) -> bool:
        """Whether it had a writer, which has locked it before it wrote, and has no more."""
        had_writer = self._offset > 0 or not os.fstat(self._fd).st_nlink
        return had_writer and not is_locked(self._fd)

    def entries(self, is_final: bool) -> Iterator[Entry]:
        """The records up to the end; if that is not final, of what is there now."""
        status = os.fstat(self._fd)
        seen, self._seen = self._seen, (status.st_size, status.st_mtime_ns)
        if seen == self._seen and not is_final:
            return
        if status.st_size < self._offset:
            raise LogError(self._path, f"it has {status.st_size} bytes, and had {self._offset}")
        while not self._stopped.is_set() and (is_final or self._offset < status.st_size):
            frame = self._next(is_final)
            if frame is None:
                return
            if isinstance(frame, Damage):
                self._on_damage(frame)
                self._offset, self._index = frame.end, 0
                continue
            offset, first = self._offset, self._index
            self._offset, self._index = frame.end, 0
            for index, data in enumerate(frame.messages):
                if header_in(data, self._path) is None:
                    if not offset and not index:
                        raise LogError(self._path, "not a log: it does not begin with a header")
                    if index >= first:
                        yield Entry(data, Position(self._path, offset, index))

    def _next(self, is_final: bool) -> Frame | Damage | None:
        """What comes next; None if it is not there, or not wholly there yet."""
        seen = None
        while True:
            try:
                return read_frame(self._source, self._offset)
            except BadFrameError as error:
                damage = damage_at(self._source, self._path, self._offset, error)
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


def _log(damage: Damage) -> None:
    _logger.warning("%s", damage)


def read(
    path: str | os.PathLike[str],
    *,
    start: Position | int | None = None,
    follow: bool = False,
    skip_damage: bool = False,
    on_damage: Callable[[Damage], None] | None = None,
) -> LogReader:
    """Reads the records of a log. The arguments and errors are those of `LogReader`."""
    return LogReader(path, start=start, follow=follow, skip_damage=skip_damage, on_damage=on_damage)
