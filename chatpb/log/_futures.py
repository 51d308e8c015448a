"""The futures of a log's records."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable
from concurrent.futures import Future, InvalidStateError
from pathlib import Path
from typing import Any, Final, NamedTuple

from chatpb.log._errors import LogError


class Position(NamedTuple):
    """The place of a record in a log.

    Attributes:
        path: The file.
        frame_offset: Where its frame begins.
        index: Which message of the frame it is.
    """

    path: Path
    frame_offset: int
    index: int  # type: ignore[assignment]  # hides the method of tuples

    @property
    def next(self) -> Position:
        """Where to read on after the record."""
        return self._replace(index=self.index + 1)


class Place(Future[Position]):
    """The future of a position, which costs little until someone looks at it.

    One of the standard library has a dozen objects of its own, of which the garbage collector
    looks at each: three times the cost of all else that is done for a small record.
    """

    _state = "PENDING"
    _result = None
    _exception = None
    _PARTS: Final = {"_condition": threading.Condition, "_waiters": list, "_done_callbacks": list}
    _LOCK: Final = threading.Lock()

    def __init__(self) -> None:
        pass  # see above and below

    def __getattr__(self, name: str) -> Any:
        part = self._PARTS.get(name)
        if part is None:
            raise AttributeError(name)
        with self._LOCK:
            return self.__dict__.setdefault(name, part())

    def set_result(self, result: Position) -> None:
        with self._LOCK:
            if "_condition" not in self.__dict__:  # all that looks at a future begins with it
                self._result = result
                self._state = "FINISHED"
                return
        super().set_result(result)


# Without a record, a wish that all before it be durable.
Item = tuple[bytes | None, "Future[Any]"]


class Written(NamedTuple):
    """A frame that was written.

    Attributes:
        path: The file.
        offset: Where the frame begins.
        items: The records in it.
    """

    path: Path
    offset: int
    items: list[Item]

    def acknowledge(self) -> None:
        """Tells those who wait where the records are."""
        for index, (_, future) in enumerate(self.items):
            with contextlib.suppress(InvalidStateError):  # it was cancelled
                future.set_result(Position(self.path, self.offset, index))


def fail_all(items: Iterable[Item], reason: LogError) -> None:
    """Tells those who wait that the records are not in the log."""
    for _, future in items:
        with contextlib.suppress(InvalidStateError):  # it was cancelled, or has failed
            future.set_exception(reason)
