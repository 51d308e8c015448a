"""A writer in a forked child: it refuses at once, and its file is the parent's alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from chatpb.log import LogWriter
from support import forks
from support.limits import TIMEOUT
from support.log_files import NAME, contents, record, records

pytestmark = forks.allowed


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda writer: writer.append(record(1)), id="append"),
        pytest.param(lambda writer: writer.append(record(1), block=False), id="append-no-block"),
        pytest.param(LogWriter.flush, id="flush"),
        pytest.param(LogWriter.close, id="close"),
        pytest.param(lambda writer: writer.__exit__(None, None, None), id="exit"),
    ],
)
def test_each_method_refuses(tmp_path: Path, use: Callable[[LogWriter], object]) -> None:
    """Even while a thread of the parent holds the lock, which the child never gets."""
    with LogWriter(tmp_path / NAME) as writer:
        writer.append(record(0))
        with writer._lock:
            answer = forks.in_child(lambda: use(writer))
        owner = f"the writer belongs to process {os.getpid()}; make another after a fork"
        assert f"LogError: {writer.path}: {owner}" == answer
        writer.append(record(1))
    assert records(2) == contents(tmp_path / NAME)


def test_a_child_that_leaves_the_block_keeps_its_own_error(tmp_path: Path) -> None:
    def leave() -> None:
        with writer:
            raise KeyError("mine")

    with LogWriter(tmp_path) as writer:
        assert "KeyError: 'mine'" == forks.in_child(leave)


def test_a_child_makes_a_writer_of_its_own(tmp_path: Path) -> None:
    def write() -> None:
        with LogWriter(tmp_path) as own:
            own.append(record(1))

    with LogWriter(tmp_path) as writer:
        writer.append(record(0))
        assert "None" == forks.in_child(write)
    assert records(2) == sorted(contents(tmp_path))


def test_a_child_does_not_keep_the_file_locked(tmp_path: Path) -> None:
    """Otherwise nobody could write to the log of a process that crashed and has children."""
    with LogWriter(tmp_path / NAME) as writer:
        writer.append(record(0))
        ready, begun = os.pipe()
        child = os.fork()
        if not child:
            os.write(begun, b".")
            signal.pause()
        os.read(ready, 1)
    try:
        with LogWriter(tmp_path / NAME) as again:
            again.append(record(1))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ready)
        os.close(begun)
    assert records(2) == contents(tmp_path / NAME)


def test_a_child_exits_quietly(tmp_path: Path) -> None:
    program = f"""
import os, sys
from chatpb.log import LogWriter
writer = LogWriter({str(tmp_path)!r})
writer.append(b"")
if os.fork():
    os.wait()
sys.exit(7)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert (7, "", "") == (done.returncode, done.stdout, done.stderr)
    assert [b""] == contents(tmp_path)
