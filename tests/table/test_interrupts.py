"""SIGINT while the thread of a query starts."""

from __future__ import annotations

import threading

import pytest

from chatpb.table._sql.interrupts import interruptible
from support.limits import TIMEOUT


class Query:
    """A query that runs until it is interrupted."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.interrupted = threading.Event()
        self.ended = threading.Event()

    def interrupt(self) -> None:
        """Ends it."""
        self.interrupted.set()

    def __call__(self) -> None:
        """Runs it."""
        self.begun.set()
        assert self.interrupted.wait(TIMEOUT)
        self.ended.set()


def test_a_signal_after_the_query_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """The query has ended when the error is raised: its connection can be closed."""
    query = Query()
    start = threading.Thread.start

    def started(thread: threading.Thread) -> None:
        start(thread)
        assert query.begun.wait(TIMEOUT)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", started)
    with pytest.raises(KeyboardInterrupt):
        interruptible(query, query)
    assert query.ended.is_set()


def test_a_signal_before_the_query_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not begin, even if its thread does."""
    query = Query()
    threads: list[threading.Thread] = []

    def not_started(thread: threading.Thread) -> None:
        threads.append(thread)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", not_started)
        with pytest.raises(KeyboardInterrupt):
            interruptible(query, query)
    threads[0].start()
    threads[0].join(TIMEOUT)
    assert (False, False) == (query.begun.is_set(), query.interrupted.is_set())
