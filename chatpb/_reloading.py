"""Values that are read from files, and again when the files change."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

_Value = TypeVar("_Value")

_all: weakref.WeakSet[Reloading[Any]] = weakref.WeakSet()


def read_all_again() -> None:
    """Reads the files of all values again, even if they look unchanged."""
    for value in list(_all):
        value.read_again()


class Reloading(Generic[_Value]):
    """The value that files hold, read again when they have changed.

    A file may be written in place, or replaced by renaming it or a symbolic link on the way to it.
    The law: the value is always one that was read without an error, from files that did not change
    meanwhile. Until there is a newer one, the last one stays in use, and each unusable state of the
    files is one warning in the log. Several threads may call `get`.

    Args:
        paths: The files.
        read: Reads them. If they cannot be used it raises a `ValueError`, whose text goes to the
            log, so it must not contain what is in them.
        logger: The log.

    Raises:
        ValueError: From `read`.
    """

    def __init__(
        self, paths: Sequence[Path], read: Callable[[], _Value], logger: logging.Logger
    ) -> None:
        self._paths = tuple(paths)
        self._read = read
        self._logger = logger
        self._lock = threading.Lock()
        self._seen = self._state()
        self._value = read()
        while (now := self._state()) != self._seen:
            self._seen, self._value = now, read()
        _all.add(self)

    def get(self) -> _Value:
        """The latest value. It costs one look at each file's state, and raises nothing."""
        with self._lock:
            now = self._state()
            if now != self._seen:
                self._update(now)
            return self._value

    def read_again(self) -> None:
        """Reads the files, even if they look unchanged."""
        with self._lock:
            self._update(self._state())

    def _update(self, now: object) -> None:
        failure: ValueError | None = None
        try:
            value = self._read()
        except ValueError as error:
            failure = error
        if self._state() != now:  # still being written: the next one who asks looks again
            return
        self._seen = now
        if failure is not None:
            self._logger.warning("%s; what was read before stays in use", failure)
            return
        self._value = value
        self._logger.info("read %s again", " and ".join(map(str, self._paths)))

    def _state(self) -> object:
        return [_state(path) for path in self._paths]


def _state(path: Path) -> object:
    try:
        stat = path.stat()
    except OSError:
        return None
    return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
