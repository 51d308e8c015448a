"""Adding input to a table again and again, until a signal ends it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import click

from chatpb._cli.failure import CliError
from chatpb._errors import ChatpbError, os_error_text

_FAILURES: Final = 3  # rounds in a row; one may meet a file that is being created or removed
_LAST: Final = 5.0  # seconds of the round after the signal


@contextmanager
def until_signal() -> Iterator[threading.Event]:
    """Yields an event that SIGTERM or SIGINT sets; a second signal ends the process at once."""
    event = threading.Event()
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}

    def stop(_: int, __: Any) -> None:
        event.set()
        for number in numbers:
            signal.signal(number, before[number])

    for number in numbers:
        signal.signal(number, stop)
    try:
        yield event
    finally:
        for number in numbers:
            signal.signal(number, before[number])


class Unchanged:
    """Leaves out the files that have not changed since they were read."""

    def __init__(self) -> None:
        self._read: dict[str, tuple[int, int, int]] = {}
        self._found: dict[str, tuple[int, int, int]] = {}

    def without(self, names: Sequence[str]) -> list[str]:
        """The files that are new or have changed."""
        self._found = {}
        changed = []
        for name in names:
            if "://" in name or os.path.isdir(name):  # a table
                changed.append(name)
                continue
            try:
                status = os.stat(name)
            except FileNotFoundError:  # removed since the directory was listed
                continue
            state = self._found[name] = (status.st_ino, status.st_size, status.st_mtime_ns)
            if self._read.get(name) != state:
                changed.append(name)
        return changed

    def were_read(self) -> None:
        """Notes that the files of the last call have been read to their ends."""
        self._read = self._found


class _Due:
    """Says when a round should end early. The time counts from the first call."""

    def __init__(self, seconds: float, stop: threading.Event, *, is_last: bool) -> None:
        self._seconds = seconds
        self._stop = stop
        self._is_last = is_last
        self._end: float | None = None

    def __call__(self) -> bool:
        if self._stop.is_set() and not self._is_last:
            return True
        if self._end is None:  # so each round gets on, however short the interval
            seconds = _LAST if self._is_last else self._seconds
            self._end = time.monotonic() + seconds
        return time.monotonic() >= self._end


def rounds(
    add: Callable[[Callable[[], bool]], bool], stop: threading.Event, seconds: float
) -> None:
    """Calls a function at the beginning of each interval until an event is set, and then once more.

    The event ends a running call early, and the last one should end after 5 seconds.

    Args:
        add: Adds what is new. Its argument says when it should end early and commit what it has;
            it returns whether it did.
        stop: The event.
        seconds: The interval.

    Raises:
        ChatpbError, CliError, OSError: The function failed several times in a row.
    """
    failures = 0
    while True:
        begin = time.monotonic()
        is_last = stop.is_set()

        is_cut = False
        try:
            is_cut = add(_Due(seconds, stop, is_last=is_last))
            failures = 0
        except (ChatpbError, CliError, OSError) as error:
            failures += 1
            if failures == _FAILURES or is_last:
                raise
            click.echo(f"chatpb: note: {_text(error)}; trying again", err=True)
        if is_last:
            return
        if not is_cut:
            stop.wait(max(begin + seconds - time.monotonic(), 0))


def _text(error: Exception) -> str:
    if isinstance(error, CliError):
        return error.text
    if isinstance(error, OSError):
        return f"{error.filename or 'input'}: {os_error_text(error)}"
    return str(error)
