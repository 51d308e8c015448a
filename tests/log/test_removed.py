"""Files and directories that are removed or replaced while a writer has them."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from chatpb.log import LogError, LogWriter, Position, Sync, read
from support.limits import TIMEOUT
from support.log_files import NAME, contents, record, records


@contextmanager
def closed(writer: LogWriter, *, fails: bool) -> Iterator[None]:
    """Closes a writer at the end, which fails if it is broken."""
    yield
    with pytest.raises(LogError) if fails else nullcontext():
        writer.close()


def wait_for_growth(writer: LogWriter, size: int, last: Future[Position]) -> None:
    """Waits until records are in the file, and not acknowledged."""
    until = time.monotonic() + TIMEOUT
    while writer._queue or writer.path.stat().st_size == size:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert not last.done()


@pytest.mark.parametrize("sync", list(Sync))
@pytest.mark.parametrize("again", [False, True], ids=["removed", "replaced"])
def test_a_directory(sync: Sync, again: bool, tmp_path: Path) -> None:
    """Until there is one again, every record fails, and none is taken for written."""
    directory = tmp_path / "log"
    directory.mkdir()
    writer = LogWriter(directory, sync=sync, sync_seconds=0, frame_bytes=1)
    with closed(writer, fails=not again):
        writer.append(record(0)).result(TIMEOUT)
        shutil.rmtree(directory)
        if again:
            directory.mkdir()
            writer.append(record(1)).result(TIMEOUT)
            writer.append(record(2)).result(TIMEOUT)
            assert not writer.is_broken
            assert [record(1), record(2)] == contents(directory)
            return
        for _ in range(2):
            with pytest.raises(LogError, match="the file was removed"):
                writer.append(record(1)).result(TIMEOUT)
        assert writer.is_broken
        with pytest.raises(LogError):
            writer.flush()
    assert not directory.exists()


def test_a_file_of_a_directory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with LogWriter(tmp_path, sync=Sync.NEVER) as writer:
        writer.append(record(0)).result(TIMEOUT)
        first = writer.path
        first.unlink()
        with caplog.at_level(logging.WARNING, "chatpb.log"):
            writer.append(record(1)).result(TIMEOUT)
    assert [record(1)] == contents(tmp_path)
    assert [
        f"{first} was removed, moved or replaced; records go to {writer.path}"
    ] == caplog.messages


def test_records_that_were_not_acknowledged_fail(tmp_path: Path) -> None:
    with LogWriter(tmp_path, sync_seconds=1000, frame_seconds=0) as writer:
        size = writer.path.stat().st_size
        lost = [writer.append(record(number)) for number in range(3)]
        wait_for_growth(writer, size, lost[-1])
        writer.path.unlink()
        kept = writer.append(record(3))
        with pytest.raises(LogError, match="the file was removed; 3 records may not be in the log"):
            writer.flush()
        assert record(3) == next(iter(read(writer.path))).data
        writer.flush()
    assert [LogError] * 3 == [type(future.exception()) for future in lost]
    assert writer.path == kept.result().path


def test_what_is_in_a_removed_file_is_not_acknowledged(tmp_path: Path) -> None:
    """Even if nothing more is written."""
    with LogWriter(tmp_path, sync_seconds=1000, frame_seconds=0) as writer:
        writer.append(record(0))
        writer.flush()
        size = writer.path.stat().st_size
        future = writer.append(record(1))
        wait_for_growth(writer, size, future)
        writer.path.unlink()
        with pytest.raises(LogError, match="the file was removed; 1 records may"):
            writer.flush()
        assert isinstance(future.exception(), LogError)
        writer.append(record(2))
    assert [record(2)] == contents(tmp_path)


def test_a_directory_that_was_moved(tmp_path: Path) -> None:
    """Nothing is lost: the records before are in the old directory."""
    old, new = tmp_path / "old", tmp_path / "new"
    new.mkdir()
    with LogWriter(new, sync_seconds=1000, frame_seconds=0) as writer:
        before = writer.append(record(0))
        writer.flush()
        new.rename(old)
        new.mkdir()
        writer.append(record(1))
        writer.flush()
        assert before.done()
    assert [[record(0)], [record(1)]] == [contents(old), contents(new)]


@pytest.mark.parametrize("again", [False, True], ids=["removed", "replaced"])
def test_a_single_file(again: bool, tmp_path: Path) -> None:
    path = tmp_path / NAME
    writer = LogWriter(path, sync=Sync.NEVER)
    with closed(writer, fails=True):
        writer.append(record(0)).result(TIMEOUT)
        path.unlink()
        if again:
            path.write_bytes(b"")
        with pytest.raises(LogError, match="the file was removed"):
            writer.append(record(1)).result(TIMEOUT)
    path.unlink(missing_ok=True)
    with LogWriter(path) as writer:
        for item in records(2):
            writer.append(item)
    assert records(2) == contents(path)
