"""Tables as the input of `compact`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from deltalake import DeltaTable

from chatpb.table import Dataset
from support.command_line import run
from support.table_files import ERROR, STREAM, compacted, completion, found, lines

RECORDS = [
    {"completion": completion(1), "labels": {"a": "b", "c": "d"}},
    {"chunks": STREAM},
    {"error": ERROR},
]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "a.jsonl").write_text(lines(*RECORDS))
    compacted(tmp_path / "a.jsonl", tmp_path / "table")
    return tmp_path / "table"


def test_a_table_is_input(table: Path, tmp_path: Path) -> None:
    assert compacted(table, tmp_path / "new").startswith("3 records, ")
    assert RECORDS == found(tmp_path / "new")
    assert "nothing new\n" == compacted(table, tmp_path / "new")
    (tmp_path / "b.jsonl").write_text(lines(completion(2)))
    compacted(tmp_path / "b.jsonl", table)
    run("history", table)
    assert compacted(f"file://{table}", tmp_path / "new").startswith("1 record, ")
    assert [*RECORDS, {"completion": completion(2)}] == found(tmp_path / "new")


def test_a_table_that_others_wrote_again(table: Path, tmp_path: Path) -> None:
    """How large its JSON was is not in its files."""
    DeltaTable(table).delete("error_message is not null")
    size = r"2 records, [0-9,]+ bytes of table\n"
    assert re.fullmatch(size, compacted(table, tmp_path / "new"))
    assert RECORDS[:2] == found(tmp_path / "new")


def test_labels_are_added(table: Path, tmp_path: Path) -> None:
    compacted("--label", "c=x", "--label", "e=f", table, tmp_path / "new")
    labels = [record["labels"] for record in found(tmp_path / "new")]
    assert [{"a": "b", "c": "x", "e": "f"}, {"c": "x", "e": "f"}, {"c": "x", "e": "f"}] == labels


def test_a_table_that_was_optimized(table: Path, tmp_path: Path) -> None:
    """What is new in it cannot be seen; nothing is added twice."""
    compacted(table, tmp_path / "new")
    (tmp_path / "b.jsonl").write_text(lines(completion(2)))
    compacted(tmp_path / "b.jsonl", table)
    Dataset(table).optimize()
    result = run("compact", table, tmp_path / "new")
    assert 1 == result.exit_code
    assert result.stderr.startswith(f"chatpb: error: {table}: files of it were replaced or removed")
    assert RECORDS == found(tmp_path / "new")


def test_a_parquet_file(table: Path, tmp_path: Path) -> None:
    (part,) = Dataset(table).files()
    assert compacted(part.path, tmp_path / "new").startswith("3 records, ")
    assert "nothing new\n" == compacted(part.path, tmp_path / "new")
    assert RECORDS == found(tmp_path / "new")


def test_what_cannot_be_input(table: Path, tmp_path: Path) -> None:
    for arguments, error in (
        ([table, f"{table}/"], f"{table}: is both input and output, or a copy of it"),
        (["--follow", table, tmp_path / "new"], f"{table}: a table cannot be followed"),
    ):
        result = run("compact", *arguments)
        assert (2, f"chatpb: error: {error}\n") == (result.exit_code, result.stderr)
