"""Logs that are encrypted with another key: records and positions stay."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chatpb.log import LockedError, LogError, LogKeyError, LogWriter, Sync, frames, read, rekey
from support.command_line import run
from support.limits import SOAK
from support.log_files import NAME, contents, keys_file, record, records, write


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A file with one key."""
    return keys_file(tmp_path / "keys", "k1")


@pytest.fixture
def path(tmp_path: Path, keys: Path) -> Path:
    """A log with records in the clear, and parts under two keys."""
    write(tmp_path / NAME, records(3, 100))
    write(tmp_path / NAME, [record(number, 100) for number in range(3, 50)], 2000, keys)
    keys_file(keys, "k2")
    write(tmp_path / NAME, [record(number, 100) for number in range(50, 60)], keys=keys)
    return tmp_path / NAME


def key_ids(path: Path) -> set[str]:
    return {frame.key_id for frame in frames(path) if frame.key_id}


def test_records_keep_their_positions(path: Path, keys: Path, tmp_path: Path) -> None:
    path.chmod(0o640)
    with path.open("ab") as file:
        file.write(path.read_bytes()[:20])  # a torn end
    before = list(read(path, keys=keys, on_damage=lambda _: None))
    old = keys.read_text()
    keys_file(keys, "k3")
    assert 0 < rekey(path, keys)
    assert {"k3"} == key_ids(path)
    assert before == list(read(path, keys=keys))
    assert 0o640 == path.stat().st_mode & 0o777
    new = keys_file(tmp_path / "new", "k9")
    new.write_text(keys.read_text().splitlines()[-1])
    assert records(60, 100) == contents(path, new)  # the old keys are not needed any more
    (tmp_path / "old").write_text(old)
    with pytest.raises(LogKeyError, match="encrypted with the key 'k3'"):
        contents(path, tmp_path / "old")
    inode = path.stat().st_ino
    assert 0 == rekey(path, new)
    assert inode == path.stat().st_ino
    assert {path, keys, new, tmp_path / "old"} == set(tmp_path.iterdir())


def test_a_log_that_cannot_be_changed_stays_as_it_is(
    path: Path, keys: Path, tmp_path: Path
) -> None:
    whole = path.read_bytes()
    only = keys_file(tmp_path / "only", "k3")
    longer = tmp_path / "longer"
    longer.write_text(keys.read_text())
    keys_file(longer, "k-longer")
    for file, error, reason in (
        (only, LogKeyError, "encrypted with the key 'k1', which"),
        (longer, LogError, "make a key whose name has 2 characters"),
    ):
        with pytest.raises(error, match=reason):
            rekey(path, file)
        assert whole == path.read_bytes()
    keys_file(keys, "k3")
    with (
        LogWriter(path, sync=Sync.NEVER, keys=keys),
        pytest.raises(LockedError),
    ):
        rekey(path, keys)
    damaged = bytearray(whole)
    damaged[-1000] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(LogError, match="damaged at byte"):
        rekey(path, keys)
    assert damaged == path.read_bytes()
    path.write_bytes(whole)
    *_, last = frames(path)
    path.write_bytes(whole + whole[last.offset :])  # a frame that is not where it was written
    with pytest.raises(LogError, match=r"damaged at byte .* it was left as it is"):
        rekey(path, keys)
    assert 4 == len(list(tmp_path.iterdir()))


def test_an_interrupted_change_leaves_the_old_log(
    path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = path.read_bytes()
    keys_file(keys, "k3")

    def fail(*_: object) -> None:
        raise OSError("no power")

    with monkeypatch.context() as patched:
        patched.setattr("chatpb.log._rekey.os.fsync", fail)
        with pytest.raises(OSError, match="no power"):
            rekey(path, keys)
    assert whole == path.read_bytes()
    path.with_name(f".{NAME}.rekey").write_bytes(b"what a process left that was killed")
    assert 0 < rekey(path, keys)
    assert records(60, 100) == contents(path, keys)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_leaves_the_log_to_its_owner(path: Path, keys: Path) -> None:
    """Otherwise the relay, which is another user, could not write to it any more."""
    os.chown(path, 12345, 12346)
    keys_file(keys, "k3")
    assert 0 < rekey(path, keys)
    status = path.stat()
    assert (12345, 12346) == (status.st_uid, status.st_gid)


def test_the_command(path: Path, keys: Path) -> None:
    keys_file(keys, "k3")
    other = path.with_name("other.chatpb.zst")
    write(other, [record(1)], keys=keys)
    assert "1 log of 2 got the key k3\n" == run("rekey", path.parent, "--keys", keys).stdout
    with LogWriter(other, sync=Sync.NEVER, keys=keys):
        assert 0 == run("rekey", other, "--keys", keys).exit_code  # it has that key
        keys_file(keys, "k4")
        result = run("rekey", other, "--keys", keys)
    assert (1, "0 logs of 1 got the key k4\n") == (result.exit_code, result.stdout)
    assert "chatpb: left as it is: " in result.stderr
    assert 2 == run("rekey", path).exit_code


def test_the_command_on_a_full_disk(
    path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = path.read_bytes()
    keys_file(keys, "k3")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("chatpb.log._rekey.os.fsync", fail)
    result = run("rekey", path.parent, "--keys", keys)
    assert (1, "0 logs of 1 got the key k3\n") == (result.exit_code, result.stdout)
    assert f"chatpb: left as it is: {path}: no space left on device\n" in result.stderr
    assert (whole, {path, keys}) == (path.read_bytes(), set(path.parent.iterdir()))


def test_killed_at_any_moment(tmp_path: Path) -> None:
    """The log is the old or the new one, whole."""
    keys = keys_file(tmp_path / "keys", "k00")
    path = tmp_path / NAME
    data = records(2000, 300)
    write(path, data, 3000, keys)
    before = [entry.position for entry in read(path, keys=keys)]
    rng = random.Random(1)
    for number in range(1, 60 if SOAK else 3):
        keys_file(keys, f"k{number:02}")
        code = (
            "import sys; from chatpb.log import rekey; print(1, flush=True); rekey(*sys.argv[1:])"
        )
        command = [sys.executable, "-c", code, str(path), str(keys)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(rng.random() * 0.2)  # waits for nothing: it picks the moment
            process.kill()
        assert before == [entry.position for entry in read(path, keys=keys)]
        assert 1 == len(key_ids(path))
    assert 0 <= rekey(path, keys)
    assert data == contents(path, keys)
    assert {f"k{number:02}"} == key_ids(path)
    assert {path, keys} == set(tmp_path.iterdir())
