"""A log in a directory: when the next file is begun, and what a file is named."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import pytest

from chatpb.log import (
    LogReader,
    LogWriter,
    header,
    read,
)
from chatpb.log import _files as _log_files
from chatpb.log import _writer as _log_writer
from support.limits import TIMEOUT
from support.log_files import NAME, contents, record, records


def test_rotation_by_size(tmp_path: Path) -> None:
    with LogWriter(tmp_path, max_bytes=10_000, frame_bytes=2000) as writer:
        futures = [writer.append(item) for item in records(1000, 100)]
        futures.append(writer.append(record(1000, 50_000)))
    files = sorted(tmp_path.iterdir())
    *sizes, rest, last = [path.stat().st_size for path in files]
    assert all(7000 < size <= 10_000 for size in sizes)
    assert rest <= 10_000
    assert last > 20_000  # one record that is longer
    assert files == sorted({future.result(0).path for future in futures})
    assert writer.path == files[-1]
    assert len(files) == len({header(path).file_id for path in files})
    entries = list(read(tmp_path))
    assert [*records(1000, 100), record(1000, 50_000)] == [entry.data for entry in entries]
    assert [future.result() for future in futures] == [entry.position for entry in entries]
    assert entries[700:] == list(read(tmp_path, start=entries[700].position))


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        """The time in seconds."""
        return self.now


def test_rotation_by_age(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(_log_writer, "time", clock)
    with LogWriter(tmp_path, max_seconds=60) as writer:

        def append(number: int) -> Path:
            future = writer.append(record(number))
            writer.flush()
            return future.result(0).path

        first = append(0)
        clock.now += 59
        assert first == append(1)
        clock.now += 1
        second = append(2)
        clock.now += 1
        assert second == append(3)
    assert [first, second] == sorted(tmp_path.iterdir())
    assert records(4) == contents(tmp_path)


def test_rotation_of_a_file_to_which_nothing_comes(tmp_path: Path) -> None:
    with LogWriter(tmp_path, max_seconds=0.01) as writer:
        first = writer.append(record(0)).result(TIMEOUT).path
        # The reader goes on to the next file only when the writer has left the first.
        with LogReader(tmp_path, follow=True, poll_seconds=0.01) as reader:
            assert record(0) == next(reader).data
            second = writer.append(record(1)).result(TIMEOUT).path
            assert record(1) == next(reader).data
    assert first < second


def test_the_clock_may_go_backwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(4_000_000_000_000_000, -3_600_000_000)
    monkeypatch.setattr(_log_files, "wall_clock_us", lambda: next(clock))
    paths: list[Path] = []
    for number in range(6):
        with LogWriter(tmp_path, max_bytes=1, frame_bytes=1) as writer:
            futures = [writer.append(record(2 * number + more)) for more in range(2)]
        paths += [future.result(0).path for future in futures]
    assert paths == sorted(tmp_path.iterdir())
    assert "20961002T070640.000000Z" == paths[0].name[:23]
    assert "20961002T070640.000011Z" == paths[-1].name[:23]
    assert records(12) == contents(tmp_path)


def test_batches_do_not_mind_the_time_of_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LogWriter(tmp_path, sync_seconds=0.01, frame_seconds=0.01) as writer:
        for day in (20_000, 10_000, 30_000):
            monkeypatch.setattr(time, "time", lambda day=day: day * 86_400.0)
            monkeypatch.setattr(time, "time_ns", lambda day=day: day * 86_400 * 10**9)
            writer.append(record(day)).result(TIMEOUT)
    assert list(map(record, (20_000, 10_000, 30_000))) == contents(tmp_path)


def test_limits_of_files_need_a_directory(tmp_path: Path) -> None:
    limits: dict[str, Any]
    for limits in ({"max_bytes": 1}, {"max_seconds": 1.0}):
        with pytest.raises(
            ValueError, match="is not a directory; max_bytes and max_seconds require"
        ):
            LogWriter(tmp_path / NAME, **limits)
    with pytest.raises(ValueError, match="frame_bytes is 0; expected 1 to 67108864"):
        LogWriter(tmp_path / NAME, frame_bytes=0)
