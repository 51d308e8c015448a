"""`chatpb verify`: names each file of a table that is missing or damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from chatpb.table import Dataset
from support.command_line import run
from support.table_files import compacted, completion, lines


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "a.jsonl"
    for number in range(3):
        with path.open("a") as stream:
            stream.write(lines(completion(number)))
        compacted(path, tmp_path / "table")
    return tmp_path / "table"


def test_whole(table: Path) -> None:
    size = sum(part.path.stat().st_size for part in Dataset(table).files())
    result = run("verify", table)
    assert (0, "") == (result.exit_code, result.stderr)
    assert f"{table}: 3 files whole, with 3 records in {size:,} bytes\n" == result.stdout


def test_damaged_and_missing(table: Path) -> None:
    first, second, third = (part.path for part in Dataset(table).files())
    data = bytearray(first.read_bytes())
    data[len(data) // 3] ^= 1
    first.write_bytes(data)
    third.unlink()
    result = run("verify", table)
    assert 1 == result.exit_code
    assert [
        f"chatpb: error: {first}: damaged: its bytes are not what was written",
        f"chatpb: error: {third}: missing",
        "chatpb: error: 2 files missing or damaged",
    ] == result.stderr.splitlines()
    assert result.stdout.startswith(f"{table}: 1 file whole, with 1 record in ")
    assert second.exists()


def test_no_table(tmp_path: Path) -> None:
    result = run("verify", tmp_path / "none")
    assert (1, f"chatpb: error: {tmp_path}/none: no such directory\n") == (
        result.exit_code,
        result.stderr,
    )
