"""`chatpb delete`, whose condition is SQL, from the command line."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow.compute as pc
import pytest

from chatpb.table import Dataset, DatasetError
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


@pytest.mark.parametrize(
    "condition",
    ["nope = 1", "caller =", "true; drop table x", "", "user = 'user-1'", "USER <> 'user-1'"],
)
def test_a_wrong_condition_changes_nothing(condition: str, tmp_path: Path) -> None:
    records = filled(tmp_path, 1)
    result = run("delete", tmp_path, condition)
    assert 2 == result.exit_code
    assert result.stderr.startswith("chatpb: error: condition: ")
    assert 1 == result.stderr.count("\n")
    assert records == list(Dataset(tmp_path).records())


def test_damage_is_not_passed_over(tmp_path: Path) -> None:
    """DuckDB checks no checksums: a record in a damaged page would be left, without a word."""
    filled(tmp_path, 2)
    part = Dataset(tmp_path).files()[1]
    whole = part.path.read_bytes()
    before = sorted(os.listdir(tmp_path))
    for at in range(4, len(whole), len(whole) // 10):
        data = bytearray(whole)
        data[at] ^= 1
        part.path.write_bytes(data)
        result = run("delete", "--vacuum", tmp_path, "caller = 'user-3'")
        assert (1, "") == (result.exit_code, result.stdout)
        assert result.stderr.startswith(f"chatpb: error: {part.path}: damaged: ")
        assert before == sorted(os.listdir(tmp_path))
    part.path.write_bytes(whole)
    assert 0 == run("delete", "--vacuum", tmp_path, "caller = 'user-3'").exit_code


@pytest.mark.parametrize("condition", ["caller = 'user-3'", None])
def test_a_damaged_log_is_not_passed_over(condition: str | None, tmp_path: Path) -> None:
    """By its statistics, files are left out."""
    filled(tmp_path, 2)
    entry = tmp_path / "_delta_log" / f"{1:020}.json"
    entry.write_text(entry.read_text().replace("user-4", "user-2"))
    where = pc.field("caller") == "user-3" if condition is None else condition
    with pytest.raises(DatasetError) as caught:
        Dataset(tmp_path).delete(where, vacuum=True)
    assert f"{entry}: damaged: its actions are not what was written" == str(caught.value)
    assert 1 == Dataset(tmp_path).version()
