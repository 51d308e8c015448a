"""Objects that belong to the process that made them, because a fork copies only one thread."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

from chatpb._errors import ChatpbError


class ForkedError(ChatpbError, RuntimeError):
    """An object was used in a forked child of the process that it belongs to."""


class Owner:
    """The process that made an object.

    Attributes:
        pid: Its number.
    """

    def __init__(self) -> None:
        self.pid: Final = os.getpid()
        self._forks = _forks

    @property
    def is_here(self) -> bool:
        """Whether it is this process, and not a child that was forked from it."""
        return self._forks == _forks  # cheaper than the number, which can be given out again

    def check(self, what: str) -> None:
        """Refuses to go on in a forked child.

        Args:
            what: What the object is, such as "the client".

        Raises:
            ForkedError: This process is a forked child.
        """
        if not self.is_here:
            raise ForkedError(self.refusal(what))

    def refusal(self, what: str) -> str:
        """The text of the error."""
        return f"{what} belongs to process {self.pid}; make another after a fork"


_forks = 0  # how many lie between this process and the first one
_private: Final[set[int]] = set()


def keep_private(fd: int) -> None:
    """Has a file descriptor closed in forked children, which would keep the file locked."""
    _private.add(fd)


def close_private(fd: int) -> None:
    """Closes such a file descriptor, unless a fork has."""
    if fd in _private:
        _private.discard(fd)
        os.close(fd)


def _begin_child() -> None:
    global _forks
    _forks += 1
    for fd in _private:
        with suppress(OSError):
            os.close(fd)
    _private.clear()


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(after_in_child=_begin_child)
