"""Processes that are killed, and files that are cut or damaged: no acknowledged record is lost."""

from __future__ import annotations

import functools
import itertools
import random
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from chatpb.log import (
    SUFFIX,
    Damage,
    DamagedLogError,
    LogWriter,
    Sync,
    read,
    recover,
)
from support.limits import SOAK
from support.log_files import (
    NAME,
    contents,
    frame_offsets,
    keys_file,
    process,
    record,
    records,
    write,
)

KILLS = 200 if SOAK else 8


SIZES = (0, 100, 3000)  # of the records that log_process.py writes


# The process is killed


def killed(
    path: Path, first: int, seed: int, keys: Path | None
) -> tuple[list[tuple[int, int]], dict[int, str]]:
    """Lets a process write until a moment that the seed picks.

    Returns:
        The damage that it repaired, and the place of each record that it acknowledged.
    """
    rng = random.Random(seed)
    with process(path, first, seed, keys) as child:
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


def survivors(path: Path, torn: list[Damage], keys: Path | None) -> dict[int, str]:
    """The number of each record that is in a log, none of which may be wrong, and its place."""
    found: dict[int, str] = {}
    for entry in read(path, on_damage=torn.append, keys=keys):
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
    keys: Path | None
    kills: int = 0
    torn: list[Damage] = field(default_factory=list)  # since the last kill
    found: dict[int, str] = field(default_factory=dict)
    acknowledged: dict[int, str] = field(default_factory=dict)

    def kill(self, seed: int) -> int:
        """Lets another process write and kills it; says how many ends were torn then."""
        repaired, said = killed(self.path, self.kills * 1_000_000, seed, self.keys)
        assert repaired == [(damage.offset, damage.size) for damage in self.torn]
        self.torn = []
        found = survivors(self.path, self.torn, self.keys)
        self.acknowledged |= said
        assert self.acknowledged == {number: found.get(number) for number in self.acknowledged}
        assert self.found == {number: found.get(number) for number in self.found}
        assert all(damage.is_torn for damage in self.torn)
        assert len(self.torn) <= 1
        self.found = found
        self.kills += 1
        return len(self.torn)


@pytest.mark.parametrize("is_sealed", [False, True])
def test_killed_at_any_moment(tmp_path: Path, is_sealed: bool) -> None:
    keys = keys_file(tmp_path / "keys", "k") if is_sealed else None
    kills = KILLS if SOAK or not is_sealed else 4
    torn = acknowledged = 0
    for first in range(0, kills, 20):  # kills of the same two logs
        directory = tmp_path / str(first)
        directory.mkdir()
        logs = Killed(tmp_path / f"{first}{SUFFIX}", keys), Killed(directory, keys)
        for seed in range(first, min(first + 20, kills)):
            torn += logs[seed % 2].kill(seed)
        acknowledged += sum(len(log.acknowledged) for log in logs)
    print(f"{kills} kills, {torn} torn ends, {acknowledged} acknowledged records")
    assert torn > 0 or kills < 200  # it is chance
    assert acknowledged > 10 * kills


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
