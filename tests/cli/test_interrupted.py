"""Ctrl-C ends a query of DuckDB that runs for long, and the command with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from traceback import walk_stack
from types import FrameType

import pytest

from chatpb.table import Dataset
from chatpb.table._sql import interrupts
from support.interruptible import interruptible
from support.limits import TIMEOUT
from table.test_care import filled

pytest.importorskip("duckdb")

#: Begins once the test has written to a named pipe, and would take hours.
LONG = (
    "(SELECT count(*) FROM read_csv('{pipe}', columns = {{'a': 'BIGINT'}}, auto_detect = false) f,"
    " range(10000000) x, range(10000000) y WHERE x.range * y.range = f.a) > 0"
)


@pytest.mark.parametrize("command", ["sql", "grep", "delete"])
def test_a_long_query(command: str, tmp_path: Path) -> None:
    table, pipe = tmp_path / "table", tmp_path / "pipe"
    records = filled(table, 1)
    os.mkfifo(pipe)
    long = LONG.format(pipe=pipe)
    arguments = {
        "sql": [str(table), f"SELECT id FROM exchanges WHERE {long}"],
        "grep": [long, str(table)],
        "delete": [str(table), long],
    }[command]
    with interruptible():
        child = subprocess.Popen(
            [sys.executable, "-m", "chatpb", command, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    with child:
        try:
            with open(pipe, "w") as stream:  # waits until the query reads it
                stream.write("-1\n")
            child.send_signal(signal.SIGINT)
            out, err = child.communicate(timeout=TIMEOUT)
        finally:
            child.kill()
    assert (130, "", "\n") == (child.returncode, out.decode(), err.decode())
    assert records == list(Dataset(table).records())


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt, also where the tests were started in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def main_frame() -> FrameType:
    return sys._current_frames()[threading.main_thread().ident or 0]


def signal_main_thread() -> None:
    """Sends SIGINT to the main thread, once that waits for the query."""
    main = threading.main_thread().ident or 0
    codes = [each.__code__ for each in (threading.Condition.wait, threading.Event.wait)]
    expected = [*codes, interrupts.interruptible.__code__]
    while expected != [frame.f_code for frame, _ in islice(walk_stack(main_frame()), 3)]:
        threading.Event().wait(0.01)
    signal.pthread_kill(main, signal.SIGINT)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_twice() -> None:
    """The connection is free afterwards: to close one that is busy is an error of its own."""
    asked = threading.Event()
    ended: list[bool] = []

    class Slow:
        """A query that does not end at the first request."""

        def interrupt(self) -> None:
            if not asked.is_set():
                asked.set()
                signal.raise_signal(signal.SIGINT)

    def query() -> None:
        signal_main_thread()
        asked.wait(TIMEOUT)
        threading.Event().wait(0.2)
        ended.append(True)

    with pytest.raises(KeyboardInterrupt):
        interrupts.interruptible(Slow(), query)
    assert ended


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_twice_of_a_query_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "_PATIENCE", 0.1)
    end = threading.Event()

    class Deaf:
        """A query that does not end at all."""

        def interrupt(self) -> None:
            signal.raise_signal(signal.SIGINT)

    def query() -> None:
        signal_main_thread()
        end.wait(TIMEOUT)

    try:
        with pytest.raises(KeyboardInterrupt):
            interrupts.interruptible(Deaf(), query)
        assert not end.is_set()
    finally:
        end.set()
