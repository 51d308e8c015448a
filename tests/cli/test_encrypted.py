"""The commands with logs that are encrypted."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from chatpb import json_to_binary
from chatpb._record import record_of
from chatpb.log import LogWriter
from chatpb.v1 import ChatCompletion
from support.command_line import run
from support.log_files import NAME, keys_file

COMPLETION = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1764000000,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "canary"}}],
}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """An encrypted log of two completions, with its keys next to it."""
    data = record_of([(ChatCompletion, json_to_binary(json.dumps(COMPLETION), ChatCompletion))])
    with LogWriter(tmp_path / NAME, keys=keys_file(tmp_path / "keys", "k1")) as writer:
        writer.append(data)
        writer.append(data)
    return tmp_path / NAME


def commands(log: Path) -> list[list[object]]:
    """The commands that read the records of logs."""
    return [
        ["cat", log],
        ["grep", "model = 'm'", log],
        ["grep", "--text", "canary", log.parent],
        ["export", log],
        ["compact", log, log.parent / "table"],
    ]


def test_keys_from_a_pipe(log: Path) -> None:
    """`--keys <(SECRET MANAGER)`: it can be read once, and all logs need it."""
    shutil.copy(log, log.with_name(f"second-{NAME}"))
    for command in (["cat"], ["export"], ["compact"], ["ls"], ["rekey"]):
        reads, writes = os.pipe()
        os.write(writes, (log.parent / "keys").read_bytes())
        os.close(writes)
        more = [log.parent / "table"] if command == ["compact"] else []
        found = run(*command, log.parent, *more, "--keys", f"/dev/fd/{reads}")
        os.close(reads)
        assert 0 == found.exit_code, found.stderr


def test_the_keys_are_given(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = log.parent / "keys"
    for command in commands(log):
        without = run(*command)
        assert (1, "") == (without.exit_code, without.stdout)
        expected = "pass the file that has it: --keys FILE or CHATPB_LOG_KEYS"
        assert without.stderr.endswith(f"{log}: encrypted with the key 'k1'; {expected}\n")
        found = run(*command, "--keys", keys)
        assert 0 == found.exit_code, found.stderr
        if command[0] == "compact":
            assert found.stdout.startswith("2 records, ")
            assert "nothing new\n" == run(*command, "--keys", keys).stdout
        else:
            assert [COMPLETION] * 2 == [json.loads(line) for line in found.stdout.splitlines()]
    monkeypatch.setenv("CHATPB_LOG_KEYS", str(keys))
    assert [COMPLETION] * 2 == [json.loads(line) for line in run("cat", log).stdout.splitlines()]
    wrong = run("cat", log, "--keys", log.parent / "nowhere")
    assert 1 == wrong.exit_code
    assert wrong.stderr.endswith("nowhere: cannot be read: no such file or directory\n")


def test_ls_counts_records_without_the_key(log: Path) -> None:
    line = run("ls", log).stdout.splitlines()[1]
    assert ["2", str(log.stat().st_size), "-", "-", str(log)] == line.split()
    line = run("ls", log, "--keys", log.parent / "keys").stdout.splitlines()[1]
    time = "2025-11-24T16:00:00Z"
    assert ["2", str(log.stat().st_size), time, time, str(log)] == line.split()
    data = bytearray(log.read_bytes())
    data[-40] ^= 1
    log.write_bytes(data + data)
    damaged = run("ls", log)
    assert 1 == damaged.exit_code
    assert "damaged at byte" in damaged.stderr
