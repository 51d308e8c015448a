"""Disks that are full or broken: what is acknowledged is on the disk, and nobody waits for ever."""

from __future__ import annotations

import errno
import itertools
import os
import re
import resource
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from chatpb.log import (
    Damage,
    LogError,
    LogWriter,
    Position,
    Sync,
    _frames,
    read,
)
from support.limits import TIMEOUT
from support.log_files import NAME, contents, record, records, write

Disk = tuple[Path, Callable[[], None]]


@pytest.fixture
def quota(tmp_path: Path) -> Iterator[Disk]:
    """A directory whose files may have 30,000 bytes, until they may have more."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def make_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    (tmp_path / "d").mkdir()
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, limits[1]))
    try:
        yield tmp_path / "d", make_room
    finally:
        make_room()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk of 100 kB with 40 kB left, until there is more room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "chatpb-test", str(disk)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a file system of its own cannot be mounted: {done.stderr.strip()}")
    try:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(60_000))
        (disk / "d").mkdir()
        yield disk / "d", ballast.unlink
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("sync", Sync)
@pytest.mark.parametrize("kind", ["file", "directory", "rotating"])
@pytest.mark.parametrize("cause", ["quota", "small_disk"])
def test_a_full_disk(request: pytest.FixtureRequest, cause: str, kind: str, sync: Sync) -> None:
    directory, make_room = request.getfixturevalue(cause)
    path = directory / NAME if kind == "file" else directory
    max_bytes = 10_000 if kind == "rotating" and cause == "small_disk" else None
    kept: list[tuple[Future[Position], bytes]] = []
    lost = 0
    writer = LogWriter(path, sync=sync, frame_bytes=1000, frame_seconds=0, max_bytes=max_bytes)
    with writer:
        for number in itertools.count():
            data = record(number, 3000)
            future = writer.append(data)
            error = failure(writer.flush)
            if error is None:
                kept.append((future, data))
                continue
            assert re.search(r"(File too large|No space left on device); 1 rec", str(error))
            assert future.exception(0) is error
            lost += 1
            if lost == 10:
                break
        assert 6 < len(kept) < 30
        make_room()
        for number in range(100, 110):
            kept.append((writer.append(record(number)), record(number)))
            writer.flush()
    damages: list[Damage] = []
    entries = list(read(path, on_damage=damages.append))
    assert [data for _, data in kept] == [entry.data for entry in entries]
    assert [future.result(0) for future, _ in kept] == [entry.position for entry in entries]
    assert [] == damages


def failure(use: Callable[[], object]) -> LogError | None:
    """What a call raises, if it does."""
    try:
        use()
    except LogError as error:
        return error
    return None


@pytest.mark.parametrize("sync", [Sync.INTERVAL, Sync.COMMIT])
@pytest.mark.parametrize("kind", ["file", "again", "rotating"])
def test_what_is_acknowledged_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, sync: Sync
) -> None:
    """When a future is done, its frame had been waited for, and the name of its file too."""
    path = tmp_path if kind == "rotating" else tmp_path / NAME
    max_bytes = 3000 if kind == "rotating" else None
    if kind == "again":
        write(path, [record(-1)])
    on_disk: dict[int, int] = {}
    names: set[str] = set()
    waits = os.fdatasync, os.fsync

    def sync_file(fd: int) -> None:
        status = os.fstat(fd)
        waits[0](fd)
        on_disk[status.st_ino] = status.st_size

    def sync_directory(fd: int) -> None:
        listed = os.listdir(fd)
        waits[1](fd)
        names.update(listed)

    def check(future: Future[Position]) -> None:
        file, offset, _ = future.result()
        seen.append(file.name in names and on_disk[file.stat().st_ino] > offset)

    monkeypatch.setattr(os, "fdatasync", sync_file)
    monkeypatch.setattr(os, "fsync", sync_directory)
    seen: list[bool] = []
    with LogWriter(
        path, sync=sync, sync_seconds=0.001, frame_bytes=500, frame_seconds=0, max_bytes=max_bytes
    ) as writer:
        for number in range(200):
            writer.append(record(number, 200)).add_done_callback(check)
    assert [True] * 200 == seen


def fails(*_: object) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize("sync", [Sync.INTERVAL, Sync.COMMIT])
def test_a_disk_that_fails_when_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync: Sync
) -> None:
    """The system forgets what it could not write: to wait again would say that all is well."""
    writer = LogWriter(tmp_path / NAME, sync=sync)
    writer.append(record(0))
    writer.flush()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fails)
        future = writer.append(record(1))
        with pytest.raises(LogError, match="Input/output error; 1 records may not be in the log"):
            writer.flush()
        assert isinstance(future.exception(0), LogError)
    for use in (lambda: writer.append(record(2)), writer.flush):
        with pytest.raises(LogError, match="Input/output error"):
            use()
    writer.close()
    assert record(0) == contents(tmp_path / NAME)[0]


def test_a_disk_that_fails_under_a_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There, another file is begun."""
    with LogWriter(tmp_path) as writer:
        first = writer.append(record(0))
        writer.flush()
        waits = os.fdatasync
        failures = [OSError(errno.EIO, "fails")]

        def sync(fd: int) -> None:
            if failures:
                raise failures.pop()
            waits(fd)

        monkeypatch.setattr(os, "fdatasync", sync)
        lost = writer.append(record(1))
        with pytest.raises(LogError, match="fails; 1 records may not be in the log"):
            writer.flush()
        after = writer.append(record(2))
        writer.flush()
    assert isinstance(lost.exception(), LogError)
    assert first.result().path < after.result().path
    found = [entry.data for entry in read(tmp_path)]
    assert (record(0), record(2)) == (found[0], found[-1])


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_half_a_frame_that_cannot_be_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = tmp_path / NAME if kind == "file" else tmp_path
    written = os.write
    writer = LogWriter(path, sync_seconds=1000)
    kept = [writer.append(record(0))]
    writer.flush()

    halves = [60]

    def write_half(fd: int, data: bytes) -> int:
        if halves:
            return written(fd, data[: halves.pop()])
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write_half)
        patch.setattr(os, "ftruncate", fails)
        # In a directory, the next file cannot be begun.
        lost = writer.append(record(1, 5000))
        assert isinstance(lost.exception(TIMEOUT), LogError)
    with pytest.raises(LogError, match="full; 1 records may not be in the log"):
        writer.flush()
    for use in (lambda: writer.append(record(2)), writer.close):
        with pytest.raises(LogError, match="full"):
            use()
    assert 1 == len(list(tmp_path.iterdir()))
    damages: list[Damage] = []
    assert records(1) == [entry.data for entry in read(path, on_damage=damages.append)]
    assert [(60, True)] == [(damage.size, damage.is_torn) for damage in damages]
    with LogWriter(path) as writer:
        assert damages == list(writer.recovered)
        kept.append(writer.append(record(1)))
    assert records(2) == contents(path)
    assert [0, 0] == [future.result().index for future in kept]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_nobody_waits_for_a_writer_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encode(*_: object) -> bytes:
        raise RuntimeError("a bug")

    writer = LogWriter(tmp_path / NAME, frame_seconds=0)
    monkeypatch.setattr(_frames.Encoder, "encode", encode)
    future = writer.append(record(0))
    assert "the writer failed: RuntimeError('a bug')" in str(future.exception(TIMEOUT))
    for use in (lambda: writer.append(record(1)), writer.flush, writer.close):
        with pytest.raises(LogError, match="a bug"):
            use()
