"""`chatpb delete`, whose condition is SQL, from the command line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from chatpb.table import Dataset
from support.command_line import run
from table.test_care import everything, filled

pytest.importorskip("duckdb")


def test_deletes_for_good(tmp_path: Path) -> None:
    records = filled(tmp_path, 3)
    result = run("delete", tmp_path, "caller = 'user-3'")
    assert (0, "6 records deleted from 3 files\n", "") == (
        result.exit_code,
        result.stdout,
        result.stderr,
    )
    assert records == list(Dataset(tmp_path).at(2).records())
    result = run("delete", "--vacuum", tmp_path, "caller = 'user-1' or answer = '2'")
    assert (0, "7 records deleted from 3 files\n") == (result.exit_code, result.stdout)
    left = [data for number, data in enumerate(records) if number != 2 and number % 5 not in (1, 3)]
    assert left == list(Dataset(tmp_path).records())
    for needle in (b"user-1", b"user-3", b"chatcmpl-21'", b"chatcmpl-13'"):
        assert [] == [name for name, data in everything(tmp_path) if needle in data]


def test_names_what_may_be_left(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    path = tmp_path / "part-0.parquet"
    path.write_bytes(b"")
    result = run("delete", "--vacuum", tmp_path, "caller = 'user-3'")
    assert (1, "2 records deleted from 1 file\n") == (result.exit_code, result.stdout)
    assert f"chatpb: note: {path}: kept, another process may be writing it\n" == result.stderr
    os.utime(path, (1, 1))
    assert 0 == run("delete", "--vacuum", tmp_path, "false").exit_code
    assert not path.exists()


def test_names_a_commit_that_a_killed_writer_left(tmp_path: Path) -> None:
    """It has the least and greatest values of columns."""
    filled(tmp_path, 1)
    path = tmp_path / "_delta_log" / "_commit_0.json.tmp"
    path.write_bytes(b"user-3")
    result = run("delete", "--vacuum", tmp_path, "caller = 'user-3'")
    assert 1 == result.exit_code
    assert f"chatpb: note: {path}: kept, another process may be writing it\n" == result.stderr
    os.utime(path, (1, 1))
    assert 0 == run("delete", "--vacuum", tmp_path, "false").exit_code
    assert not path.exists()


@pytest.mark.parametrize("condition", ["nope = 1", "caller =", "true; drop table x", ""])
def test_a_wrong_condition_changes_nothing(condition: str, tmp_path: Path) -> None:
    records = filled(tmp_path, 1)
    result = run("delete", tmp_path, condition)
    assert 2 == result.exit_code
    assert result.stderr.startswith("chatpb: error: condition: ")
    assert 1 == result.stderr.count("\n")
    assert records == list(Dataset(tmp_path).records())
