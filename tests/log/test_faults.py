"""What happens to a log when things go wrong: nothing acknowledged is lost, nothing is made up."""

from __future__ import annotations

import errno
import functools
import itertools
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from chatpb.log import (
    SUFFIX,
    Damage,
    DamagedLogError,
    LockedError,
    LogError,
    LogWriter,
    Position,
    Sync,
    _frames,
    read,
    recover,
)
from chatpb.v1 import CompletionRecord
from support.limits import SOAK, TIMEOUT
from support.log_files import NAME, contents, frame_offsets, record, records, write

TESTS = Path(__file__).parents[1]
KILLS = 200 if SOAK else 15
SIZES = (0, 100, 3000)  # of the records that log_process.py writes


# The process is killed


@contextmanager
def process(path: Path, first: int, seed: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "support.log_process", str(path)]
    with subprocess.Popen(
        [*command, str(first), str(seed)], stdout=subprocess.PIPE, text=True, bufsize=1, cwd=TESTS
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def killed(path: Path, first: int, seed: int) -> tuple[list[tuple[int, int]], dict[int, str]]:
    """Lets a process write until a moment that the seed picks.

    Returns:
        The damage that it repaired, and the place of each record that it acknowledged.
    """
    rng = random.Random(seed)
    with process(path, first, seed) as child:
        assert child.stdout is not None
        lines = iter(child.stdout.readline, "")
        before = [line.split() for line in itertools.takewhile(lambda s: s != "ready\n", lines)]
        said = list(itertools.islice(lines, rng.choice([0, 1, 10, 1000])))
        time.sleep(rng.random() * 0.01)  # waits for nothing: it picks the moment
        child.send_signal(signal.SIGKILL)
        said += [line for line in lines if line.endswith("\n")]
    assert -signal.SIGKILL == child.returncode
    assert all(word == "recovered" for word, *_ in before)
    repaired = [(int(offset), int(size)) for _, offset, size in before]
    return repaired, {int(number): place for number, place in (x.split(" ", 1) for x in said)}


@functools.cache
def possible(number: int) -> frozenset[bytes]:
    return frozenset(record(number, size) for size in SIZES)


def survivors(path: Path, torn: list[Damage]) -> dict[int, str]:
    """The number of each record that is in a log, none of which may be wrong, and its place."""
    found: dict[int, str] = {}
    for entry in read(path, on_damage=torn.append):
        number = int(entry.record.call_id)
        assert entry.data in possible(number)
        assert number not in found
        name, offset, index = entry.position
        found[number] = f"{name.name} {offset} {index}\n"
    assert sorted(found) == list(found)
    return found


@dataclass
class Killed:
    """A log whose writers were all killed."""

    path: Path
    kills: int = 0
    torn: list[Damage] = field(default_factory=list)  # since the last kill
    found: dict[int, str] = field(default_factory=dict)
    acknowledged: dict[int, str] = field(default_factory=dict)

    def kill(self, seed: int) -> int:
        """Lets another process write and kills it; says how many ends were torn then."""
        repaired, said = killed(self.path, self.kills * 1_000_000, seed)
        assert repaired == [(damage.offset, damage.size) for damage in self.torn]
        self.torn = []
        found = survivors(self.path, self.torn)
        self.acknowledged |= said
        assert self.acknowledged == {number: found.get(number) for number in self.acknowledged}
        assert self.found == {number: found.get(number) for number in self.found}
        assert all(damage.is_torn for damage in self.torn)
        assert len(self.torn) <= 1
        self.found = found
        self.kills += 1
        return len(self.torn)


def test_killed_at_any_moment(tmp_path: Path) -> None:
    torn = acknowledged = 0
    for first in range(0, KILLS, 20):  # kills of the same two logs
        directory = tmp_path / str(first)
        directory.mkdir()
        logs = Killed(tmp_path / f"{first}{SUFFIX}"), Killed(directory)
        for seed in range(first, min(first + 20, KILLS)):
            torn += logs[seed % 2].kill(seed)
        acknowledged += sum(len(log.acknowledged) for log in logs)
    print(f"{KILLS} kills, {torn} torn ends, {acknowledged} acknowledged records")
    assert torn > 0 or KILLS < 200  # it is chance
    assert acknowledged > 10 * KILLS


# The file is damaged


def damages_of(path: Path) -> tuple[list[bytes], list[Damage]]:
    """What can be read of a damaged log, and the damage."""
    damages: list[Damage] = []
    data = [entry.data for entry in read(path, skip_damage=True, on_damage=damages.append)]
    return data, damages


@pytest.mark.parametrize("frame", ["header", "last"])
def test_cut_at_every_byte(tmp_path: Path, frame: str) -> None:
    data = records(5, 100) if frame == "last" else []
    path = tmp_path / NAME
    write(path, data)
    whole = path.read_bytes()
    start = frame_offsets(path)[-2]
    for length in range(start, len(whole)):
        path.write_bytes(whole[:length])
        damages: list[Damage] = []
        entries = read(path, on_damage=damages.append)
        assert data[:-1] == [entry.data for entry in entries]
        expected = [] if length == start else [(start, length - start, True)]
        assert expected == [(damage.offset, damage.size, damage.is_torn) for damage in damages]
        with LogWriter(path, sync=Sync.NEVER) as writer:
            assert damages == list(writer.recovered)
            writer.append(record(9))
        assert [*data[:-1], record(9)] == contents(path)


@pytest.mark.parametrize("length", [1, 100, 1_000_000, 2_999_999])
def test_a_frame_that_is_longer_than_what_is_read_ahead(tmp_path: Path, length: int) -> None:
    data = records(3, 3_000_000)
    path = tmp_path / NAME
    write(path, data)
    *_, start, end = frame_offsets(path)
    assert end - start > 1_500_000
    with path.open("r+b") as file:
        file.truncate(start + max(1, length * (end - start) // 3_000_000))
    damage = recover(path)
    assert damage is not None
    assert (start, True) == (damage.offset, damage.is_torn)
    assert data[:2] == contents(path)


@pytest.mark.parametrize("zeros", [1, 63, 64, 5000])
def test_an_end_that_a_file_system_left_zero(tmp_path: Path, zeros: int) -> None:
    """A file may have grown before its bytes were on the disk."""
    path = tmp_path / NAME
    write(path, records(5, 100))
    *_, start, end = frame_offsets(path)
    for keep in (0, 3, 20):
        whole = path.read_bytes()[:end]
        path.write_bytes(whole[: start + keep] + bytes(zeros + end - start - keep))
        damage = recover(path)
        assert damage is not None
        assert (start, zeros + end - start, True) == (damage.offset, damage.size, damage.is_torn)
        assert records(4, 100) == contents(path)
        path.write_bytes(whole)


def test_every_byte_flipped(tmp_path: Path) -> None:
    data = records(5, 60)
    path = tmp_path / NAME
    write(path, data)
    whole = path.read_bytes()
    offsets = frame_offsets(path)
    rng = random.Random(6)
    harmless = 0
    for at in range(len(whole)):
        flipped = bytearray(whole)
        flipped[at] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)

        found, damages = damages_of(path)
        frame = max(number for number, offset in enumerate(offsets) if offset <= at)
        if not damages:
            assert data == found
            harmless += 1
            continue
        # Of the frame, and of no other, the record is lost; frame 0 is the header.
        assert [item for number, item in enumerate(data) if number != frame - 1] == found
        damage = damages[0]
        assert [damage] == damages
        assert (offsets[frame], offsets[frame + 1]) == (damage.offset, damage.end)
        assert frame == 5 or not damage.is_torn

        if not damage.is_torn:
            with pytest.raises(DamagedLogError, match=rf"damaged at byte {damage.offset}, ") as e:
                list(read(path))
            assert damage == e.value.damage

        with LogWriter(path, sync=Sync.NEVER) as writer:
            assert ([damage] if frame == 5 else []) == list(writer.recovered)
            writer.append(record(9))
        after, still = damages_of(path)
        assert [*found, record(9)] == after
        assert ([] if damage.is_torn else [damage]) == still
    assert harmless <= 2 * 6  # a bit of each frame's header means nothing


def test_damage_in_the_middle_is_passed_where_asked(tmp_path: Path) -> None:
    data = records(300, 2000)
    path = tmp_path / NAME
    write(path, data, frame_bytes=20_000)
    places = [entry.position.frame_offset for entry in read(path)]
    whole = bytearray(path.read_bytes())
    offsets = frame_offsets(path)
    whole[offsets[3] + 500] ^= 1
    whole[offsets[7] : offsets[10]] = random.Random(1).randbytes(offsets[10] - offsets[7])
    path.write_bytes(whole)
    expected = [
        item
        for item, offset in zip(data, places, strict=True)
        if offset not in (offsets[3], *offsets[7:10])
    ]
    found, damages = damages_of(path)
    assert expected == found
    assert [(offsets[3], offsets[4]), (offsets[7], offsets[10])] == [
        (damage.offset, damage.end) for damage in damages
    ]
    # Without asking, what comes before is read.
    reader = read(path)
    before = list(itertools.islice(reader, places.index(offsets[3])))
    assert data[: len(before)] == [entry.data for entry in before]
    with pytest.raises(DamagedLogError, match=r"read with skip_damage=True$") as caught:
        next(reader)
    assert offsets[3] == caught.value.offset


# The disk is full, or broken


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
    """A disk of 100 kB that is full but for 40 kB, until there is more room."""
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


# Two writers


def test_another_process_has_the_file(tmp_path: Path) -> None:
    path = tmp_path / NAME
    with process(path, 0, 1) as child:
        assert child.stdout is not None
        assert "ready\n" == child.stdout.readline()
        for use in (LogWriter, recover):
            with pytest.raises(LockedError) as caught:
                use(path)
            assert path == caught.value.path
            if sys.platform == "linux":
                assert child.pid == caught.value.pid
                assert f"{path}: process {child.pid} is writing to it" in str(caught.value)
        child.kill()
    with LogWriter(path) as writer:
        writer.append(record(-1))
    assert "-1" == list(read(path))[-1].record.call_id


def test_this_process_has_the_file(tmp_path: Path) -> None:
    with LogWriter(tmp_path / NAME) as writer:
        with pytest.raises(LockedError, match=f"process {os.getpid()} is writing to it"):
            LogWriter(tmp_path / NAME)
        writer.append(record(0))
    write(tmp_path / NAME, [record(1)])
    assert records(2) == contents(tmp_path / NAME)


def test_a_file_that_was_never_begun_is_taken_away(tmp_path: Path) -> None:
    with LogWriter(tmp_path) as writer:
        writer.append(record(0))
    for length in (0, 1, 100):
        path = tmp_path / f"20990101T000000.00000{length // 50}Z-00000000{SUFFIX}"
        path.write_bytes(writer.path.read_bytes()[:length])
    with LogWriter(tmp_path) as after:
        assert [1, 100] == [damage.size for damage in after.recovered]
        after.append(record(1))
    assert [writer.path, after.path] == sorted(tmp_path.iterdir())
    assert records(2) == contents(tmp_path)


def test_two_files_of_a_directory_are_repaired(tmp_path: Path) -> None:
    with LogWriter(tmp_path) as one, LogWriter(tmp_path) as two:
        one.append(record(0))
        two.append(record(1))
    for path in (one.path, two.path):
        with path.open("ab") as file:
            file.write(path.read_bytes()[:100])
    (tmp_path / f"foreign{SUFFIX}").write_text("text")
    with LogWriter(tmp_path) as writer:
        assert [one.path, two.path] == [damage.path for damage in writer.recovered]
    (tmp_path / f"foreign{SUFFIX}").unlink()
    assert {"0", "1"} == {CompletionRecord.FromString(data).call_id for data in contents(tmp_path)}
