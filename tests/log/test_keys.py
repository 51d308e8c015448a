"""The keys of encrypted logs: their file, rotation, and keys that are missing or wrong."""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from chatpb.log import (
    KeyFile,
    KeyFileError,
    LogKeyError,
    LogWriter,
    Sync,
    frames,
    header,
    new_key,
    read,
)
from support.files import replace
from support.log_files import NAME, contents, keys_file, record, records, write


def key_ids(path: Path) -> list[str]:
    """The names of the keys of the frames of a log, each once, in order."""
    return list(dict.fromkeys(frame.key_id for frame in frames(path) if frame.key_id))


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A file with one key."""
    return keys_file(tmp_path / "keys", "k1")


def test_a_new_key() -> None:
    first, second = new_key(), new_key("prod.2026-1")
    assert 13 + 1 + 7 + 64 == len(first)
    assert first != new_key()
    assert second.startswith("prod.2026-1 aes256:")
    with pytest.raises(ValueError, match=r"^expected a name of up to 64 letters"):
        new_key("a b")


def test_the_last_key_writes_and_all_read(tmp_path: Path, keys: Path) -> None:
    write(tmp_path / NAME, [record(0)], keys=keys)
    keys.write_text("# keys\n\n" + keys.read_text().strip() + "  # the old one\n")
    keys_file(keys, "k2")
    assert ("k1", "k2") == KeyFile(keys).ids
    write(tmp_path / NAME, [record(1)], keys=keys)
    assert ["k1", "k2"] == key_ids(tmp_path / NAME)
    assert records(2) == contents(tmp_path / NAME, keys)


def test_rotation_while_writing(tmp_path: Path, keys: Path) -> None:
    """The writer of a directory begins another file; that of a file goes on in it."""
    directory = tmp_path / "logs"
    directory.mkdir()
    one = keys.read_text()
    both = keys_file(keys, "k2").read_text()
    for path in (directory, tmp_path / NAME):
        replace(keys, one)
        keys.chmod(0o600)
        with LogWriter(path, sync=Sync.NEVER, frame_bytes=1, keys=keys) as writer:
            writer.append(record(0)).result(60)
            replace(keys, both)
            writer.append(record(1)).result(60)
            keys.write_text("half a li")  # what was read before stays in use
            writer.append(record(2)).result(60)
            replace(keys, one)
            writer.append(record(3)).result(60)
        assert ["k1", "k2", "k1"] == _in_order(path)
        with pytest.raises(LogKeyError, match="encrypted with the key 'k2'"):
            contents(path, keys)
        replace(keys, both)
        assert records(4) == contents(path, keys)
    assert 3 == len(list(directory.iterdir()))


def _in_order(path: Path) -> list[str]:
    found: list[str] = []
    for frame in frames(path):
        if frame.key_id and frame.key_id not in found[-1:]:
            found.append(frame.key_id)
    return found


def test_a_reader_that_follows_takes_a_new_key(tmp_path: Path, keys: Path) -> None:
    with LogWriter(tmp_path / NAME, sync=Sync.NEVER, frame_bytes=1, keys=keys) as writer:
        writer.append(record(0)).result(60)
        with read(tmp_path / NAME, follow=True, keys=keys) as reader:
            assert record(0) == next(reader).data
            keys_file(keys, "k2")
            writer.append(record(1)).result(60)
            assert record(1) == next(reader).data


def test_a_missing_key(tmp_path: Path, keys: Path) -> None:
    write(tmp_path / NAME, records(2), keys=keys)
    other = keys_file(tmp_path / "other", "k2")
    with pytest.raises(LogKeyError) as caught:
        contents(tmp_path / NAME, other)
    expected = f"encrypted with the key 'k1', which {other} does not have; add the line of that key"
    assert f"{tmp_path / NAME}: {expected}" == str(caught.value)
    assert ("k1", tmp_path / NAME) == (caught.value.key_id, caught.value.path)
    again = pickle.loads(pickle.dumps(caught.value))
    assert ("k1", str(caught.value)) == (again.key_id, str(again))
    with pytest.raises(LogKeyError):  # it is not damage
        list(read(tmp_path / NAME, keys=other, skip_damage=True))


def test_another_key_of_that_name(tmp_path: Path, keys: Path) -> None:
    write(tmp_path / NAME, records(2), keys=keys)
    other = keys_file(tmp_path / "other", "k1")
    for skip_damage in (True, False):
        with pytest.raises(LogKeyError, match=rf"the key 'k1' of {other} is another one than"):
            list(read(tmp_path / NAME, keys=other, skip_damage=skip_damage))
    offset = list(frames(tmp_path / NAME))[2].offset
    with pytest.raises(LogKeyError, match="the key 'k1' of"):
        list(read(tmp_path / NAME, start=offset, keys=other))


HEX = "ab" * 32


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it has no key: add a line from `chatpb-server key`"),
        ("# nothing\n", "it has no key: add a line from `chatpb-server key`"),
        (f"k1 aes256:{HEX[1:]}", "line 1: expected ID aes256:HEX, with 64 digits, as "),
        (f"k1 {HEX}", "line 1: expected ID aes256:HEX"),
        (f"aes256:{HEX}", "line 1: expected ID aes256:HEX"),
        (f"k1 more aes256:{HEX}", "line 1: expected ID aes256:HEX"),
        (f"\n-k aes256:{HEX}", "line 2: expected a name of up to 64 letters"),
        (
            f"k1 aes256:{HEX}\nk1 aes256:{'cd' * 32}",
            "line 2: it repeats the name of an earlier line",
        ),
        (f"k1 aes256:{HEX}\nk2 aes256:{HEX}", "line 2: it repeats the key of an earlier line"),
        (None, "cannot be read: no such file or directory"),
    ],
    ids=["empty", "comment", "short", "kind", "id", "more", "name", "twice", "same", "missing"],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, text: str | None, reason: str) -> None:
    path = tmp_path / "keys"
    if text is not None:
        path.write_text(text)
    for use in (KeyFile, lambda keys: LogWriter(tmp_path, keys=keys), lambda k: read(path, keys=k)):
        with pytest.raises(KeyFileError) as caught:
            use(path)
        assert str(caught.value).startswith(f"{path}: {reason}")
        assert HEX[:32] not in str(caught.value)
    assert not list(tmp_path.glob("*.zst"))


def test_nothing_shows_a_key(keys: Path, caplog: pytest.LogCaptureFixture) -> None:
    secret = keys.read_text().partition(":")[2].strip()
    found = KeyFile(keys)
    loaded = pickle.loads(pickle.dumps(found))
    assert found.current == loaded.current
    for text in (repr(found), repr(found.current), repr(pickle.dumps(found)), caplog.text):
        assert secret not in text
        assert repr(bytes.fromhex(secret))[2:20] not in text


def test_a_directory_whose_keys_were_forgotten(
    tmp_path: Path, keys: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "log").mkdir()
    for given, expected in ((None, 0), (None, 0), (keys, 0), (keys, 0), (None, 1)):
        caplog.clear()
        write(tmp_path / "log", [record(0)], keys=given)
        assert expected == sum("in the clear" in text for text in caplog.messages)


def test_a_file_that_everybody_can_read(keys: Path, caplog: pytest.LogCaptureFixture) -> None:
    KeyFile(keys)
    assert [] == caplog.records
    keys.chmod(0o644)
    KeyFile(keys)
    (said,) = caplog.records
    assert (logging.WARNING, "chatpb.log") == (said.levelno, said.name)
    assert f"{keys} has keys, and every user of the machine has access" in said.getMessage()


def test_without_the_package(tmp_path: Path, keys: Path) -> None:
    """Plain logs need no cryptography; neither does walking one that is encrypted."""
    write(tmp_path / NAME, records(2), keys=keys)
    code = f"""
import sys
sys.modules["cryptography"] = None
import chatpb.log as log
path, keys = {str(tmp_path / NAME)!r}, {str(keys)!r}
print(sum(frame.record_count for frame in log.frames(path)), log.recover(path))
for keys in (None, keys):
    try:
        list(log.read(path, keys=keys))
    except Exception as error:
        print(type(error).__name__, str(error).rpartition("zst: ")[2])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [
        "2 None",
        "LogKeyError encrypted with the key 'k1'; pass the file that has it: keys=FILE",
        "ModuleNotFoundError encrypted logs need cryptography: pip install 'chatpb[encryption]'",
    ] == done.stdout.splitlines()


def test_a_plain_log_is_read_with_keys_at_hand(tmp_path: Path, keys: Path) -> None:
    write(tmp_path / NAME, records(2))
    assert records(2) == contents(tmp_path / NAME, keys)
    assert not header(tmp_path / NAME).HasField("encryption")
