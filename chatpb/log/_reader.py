"""Reading a log."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Self

from chatpb._errors import path_of
from chatpb.log._errors import Damage
from chatpb.log._futures import Position
from chatpb.log._keys import KeyFile, as_keys
from chatpb.log._locks import log_files
from chatpb.log._walk import Entry, File, log_damage


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
        keys: The file of keys (or its path) for records that are encrypted.

    Raises:
        LogKeyError: A key is missing, or not the one with which the records were encrypted.
        KeyFileError: The file of keys cannot be used.
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
        keys: KeyFile | str | os.PathLike[str] | None = None,
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
        self._on_damage = on_damage or log_damage
        self._poll_seconds = poll_seconds
        self._keys = as_keys(keys)
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
        files: dict[Path, File] = {}
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

    def _open(self, path: Path) -> File:
        start = self._start
        if start is None or start.path.name != path.name:
            start = Position(path, 0, 0)
        return File(path, start, self._stopped, self._skip_damage, self._on_damage, self._keys)


def read(
    path: str | os.PathLike[str],
    *,
    start: Position | int | None = None,
    follow: bool = False,
    skip_damage: bool = False,
    on_damage: Callable[[Damage], None] | None = None,
    keys: KeyFile | str | os.PathLike[str] | None = None,
) -> LogReader:
    """Reads the records of a log. The arguments and errors are those of `LogReader`."""
    return LogReader(
        path,
        start=start,
        follow=follow,
        skip_damage=skip_damage,
        on_damage=on_damage,
        keys=keys,
    )
