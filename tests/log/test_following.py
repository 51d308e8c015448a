"""Readers that wait for more."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from chatpb.log import (
    LogReader,
    LogWriter,
    Sync,
    read,
)
from chatpb.v1 import CompletionRecord
from support.limits import TIMEOUT
from support.log_files import NAME, frame_offsets, record, records, write


class Follower:
    """A thread that follows a log."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.reader = LogReader(path, follow=True, poll_seconds=0.005, **options)
        self._seen: list[bytes] = []
        self._changed = threading.Condition()
        self._pool = ThreadPoolExecutor(1)
        self._done = self._pool.submit(self._run)

    def _run(self) -> None:
        with self.reader:
            for entry in self.reader:
                with self._changed:
                    self._seen.append(entry.data)
                    self._changed.notify()

    def seen(self, count: int) -> list[bytes]:
        """What has come, once it is as many."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._seen) >= count, TIMEOUT)
            return list(self._seen)

    def stop(self) -> list[bytes]:
        """Everything that has come."""
        self.reader.stop()
        self._done.result(TIMEOUT)
        self._pool.shutdown()
        return self._seen


def test_following_a_file(tmp_path: Path) -> None:
    with LogWriter(tmp_path / NAME, sync_seconds=0, frame_seconds=0) as writer:
        follower = Follower(tmp_path / NAME)
        for number in range(20):
            writer.append(record(number)).result(TIMEOUT)
            assert records(number + 1) == follower.seen(number + 1)
    assert records(20) == follower.stop()


def test_following_a_file_that_is_written_piece_by_piece(tmp_path: Path) -> None:
    write(tmp_path / "whole", records(3, 200))
    whole = (tmp_path / "whole").read_bytes()
    _, _, *ends = frame_offsets(tmp_path / "whole")
    damages: list[object] = []
    with (tmp_path / NAME).open("wb", buffering=0) as file:
        follower = Follower(tmp_path / NAME, on_damage=damages.append)
        for at in range(len(whole)):
            file.write(whole[at : at + 1])
            count = sum(at + 1 >= end for end in ends)
            assert records(count, 200) == follower.seen(count)
    assert records(3, 200) == follower.stop()
    assert [] == damages


def test_following_over_a_torn_end_that_is_cut(tmp_path: Path) -> None:
    write(tmp_path / NAME, records(2))
    with (tmp_path / NAME).open("ab") as file:
        file.write((tmp_path / NAME).read_bytes()[:50])
    follower = Follower(tmp_path / NAME)
    assert records(2) == follower.seen(2)
    with LogWriter(tmp_path / NAME, sync_seconds=0) as writer:
        assert [50] == [damage.size for damage in writer.recovered]
        writer.append(record(2))
        writer.flush()
        assert records(3) == follower.seen(3)
    follower.stop()


def test_following_a_directory_of_several_writers(tmp_path: Path) -> None:
    follower = Follower(tmp_path)
    options: dict[str, Any] = {"max_bytes": 2000, "frame_bytes": 500, "sync": Sync.NEVER}
    with LogWriter(tmp_path, **options) as one, LogWriter(tmp_path, **options) as two:
        assert one.path != two.path
        for number in range(500):
            (one, two)[number % 2].append(record(number))
    found = follower.seen(500)
    assert sorted(records(500)) == sorted(found)
    for parity in range(2):
        assert records(500)[parity::2] == [
            item for item in found if int(CompletionRecord.FromString(item).call_id) % 2 == parity
        ]
    with LogWriter(tmp_path) as writer:
        writer.append(record(500))
        writer.flush()
        assert record(500) == follower.seen(501)[-1]
    follower.stop()


def test_following_a_directory_that_is_emptied(tmp_path: Path) -> None:
    options: dict[str, Any] = {"frame_seconds": 0, "sync_seconds": 0}
    with LogWriter(tmp_path, **options) as writer:
        follower = Follower(tmp_path)
        writer.append(record(0))
        assert records(1) == follower.seen(1)
        writer.flush()  # a record that is removed before it was acknowledged is an error
        writer.path.unlink()
        writer.append(record(1))
        assert records(2) == follower.seen(2)
    with LogWriter(tmp_path, **options) as writer:
        writer.append(record(2))
        assert records(3) == follower.seen(3)
    assert records(3) == follower.stop()


def test_an_offset_is_one_in_a_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a directory; expected a Position to start at"):
        read(tmp_path, start=0)


def test_following_goes_on_where_one_was(tmp_path: Path) -> None:
    with LogWriter(tmp_path, max_bytes=200, frame_bytes=100) as writer:
        for item in records(50):
            writer.append(item)
    entries = list(read(tmp_path))
    follower = Follower(tmp_path, start=entries[20].position.next)
    assert records(50)[21:] == follower.seen(29)
    assert records(50)[21:] == follower.stop()
