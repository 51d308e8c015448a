"""Logs and files that somebody made to do harm, or that damage made look so."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
import pytest
from deltalake import DeltaTable
from deltalake.transaction import AddAction

from chatpb.table import Dataset, DatasetError
from chatpb.v1 import CompletionRecord
from support.command_line import run


def table_of(folder: Path, files: int = 3) -> Dataset:
    table = Dataset(folder)
    for number in range(files):
        table.append([CompletionRecord(caller=f"user-{number}-{other}") for other in range(50)])
    return table


def entry_of(folder: Path, number: int) -> Path:
    return folder / "_delta_log" / f"{number:020}.json"


def add_foreign(table: Dataset, columns: dict[str, pa.Array]) -> Path:
    """Adds a file as other tools do."""
    assert table.path is not None
    path = table.path / "foreign.parquet"
    pa.parquet.write_table(pa.table(columns), path)
    delta = DeltaTable(str(table.path))
    action = AddAction(path.name, path.stat().st_size, {}, 1, True, "{}")
    delta.create_write_transaction([action], "append", delta.schema(), [])
    return path


def check_error(table: Dataset, place: Path, reason: str) -> None:
    """Checks that no command fails in another way than by naming a file."""
    for command in ("cat", "history", "optimize", "vacuum", "verify"):
        result = run(command, table.path)
        assert result.exit_code == 1
        assert f"chatpb: error: {place}: {reason}" in result.stderr


@pytest.mark.parametrize("separator", ["", "\n"])
def test_a_commit_that_is_nested_too_deeply(separator: str, tmp_path: Path) -> None:
    """Delta's client would crash."""
    table_of(tmp_path)
    path = entry_of(tmp_path, 1)
    with path.open("a") as stream:
        stream.write(separator + '{"add":' + "[" * 200_000 + "]" * 200_000 + "}\n")
    for command in ("cat", "verify"):  # in processes of their own: tests may recurse deeper
        done = subprocess.run(
            [sys.executable, "-m", "chatpb", command, tmp_path], stderr=subprocess.PIPE, text=True
        )
        assert done.returncode == 1
        assert f"chatpb: error: {path}: damaged: " in done.stderr


def test_a_commit_of_a_version_that_is_far_away(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    far = entry_of(tmp_path, 10**18)
    far.write_bytes(entry_of(tmp_path, 2).read_bytes())
    check_error(table, entry_of(tmp_path, 3), "missing")


def test_columns_of_other_types_are_named_with_their_file(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    record = CompletionRecord(caller="a").SerializeToString()
    path = add_foreign(table, {"record": pa.array([record]), "caller": pa.array([1.5])})
    with pytest.raises(DatasetError, match="has columns of other types than the files before"):
        table.optimize()
    assert path.exists()
    assert 4 == len(table.files())


def test_rows_that_are_no_records_are_named_with_their_file(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    path = add_foreign(table, {"record": pa.array([b""]), "messages": pa.array([1.5])})
    for command in (["cat"], ["export"], ["grep", "true"]):
        result = run(*command, table.path)
        assert result.exit_code == 1
        assert f"chatpb: error: {path}: the row is not one of a table: double" in result.stderr


@pytest.mark.parametrize("path", ["../secret.parquet", "/etc/passwd", "http://127.0.0.1:9/x"])
def test_paths_that_lead_out_are_not_read(path: str, tmp_path: Path) -> None:
    """The commit is not what its writer wrote; other tools may name files elsewhere."""
    table = table_of(tmp_path / "table")
    (tmp_path / "secret.parquet").write_bytes(b"PAR1")
    entry = entry_of(tmp_path / "table", 1)
    actions = [json.loads(line) for line in entry.read_text().splitlines()]
    next(each["add"] for each in actions if "add" in each)["path"] = path
    entry.write_text("".join(json.dumps(action) + "\n" for action in actions))
    with pytest.raises(DatasetError, match="damaged: its actions are not what was written"):
        list(table.records())
    run("vacuum", "--older", "0", table.path)
    assert (tmp_path / "secret.parquet").exists()


def test_what_checksums_of_pages_do_not_cover(tmp_path: Path) -> None:
    """Arrow leaves out a page of an unknown type, so rows would be missing without a word."""
    table = table_of(tmp_path, 2)
    part = table.files()[0]
    good = part.path.read_bytes()
    kind = 5  # the type of the first page, after the magic number and the header's first byte
    assert good[4:6] in (b"\x15\x00", b"\x15\x04")
    part.path.write_bytes(good[:kind] + bytes([good[kind] ^ 1]) + good[kind + 1 :])
    uses: list[Callable[[], object]] = [
        lambda: list(table.records()),
        lambda: list(table.lines()),
        lambda: list(table.scan(["caller"])),
        table.optimize,
        lambda: table.delete(pc.field("caller") == "user-0-1"),
        lambda: table.delete("caller = 'user-0-1'"),
    ]
    for use in uses:
        with pytest.raises(DatasetError, match=f"{part.name}: damaged"):
            use()
    assert 1 == table.version()
    part.path.write_bytes(good)
    assert 100 == len(list(table.records()))


def test_no_damaged_file_is_written_again(tmp_path: Path) -> None:
    """A bit that readers of pages do not miss: the digest does."""
    table = table_of(tmp_path, 2)
    part = table.files()[0]
    good = part.path.read_bytes()
    part.path.write_bytes(good[:12] + bytes([good[12] ^ 1]) + good[13:])
    for change in (table.optimize, lambda: table.delete(pc.field("caller") == "user-0-1")):
        with pytest.raises(DatasetError, match="its bytes are not what was written"):
            change()
    part.path.write_bytes(good)
    assert 2 == table.optimize().removed


def test_a_footer_that_was_changed_is_not_queried(tmp_path: Path) -> None:
    """DuckDB would read another column, or leave row groups out."""
    table = table_of(tmp_path, 2)
    part = table.files()[0]
    good = part.path.read_bytes()
    at = good.rindex(b"caller") + 1
    part.path.write_bytes(good[:at] + b"e" + good[at + 1 :])
    with pytest.raises(DatasetError, match="damaged: its footer is not what was written"):
        table.sql()
    result = run("sql", tmp_path, "select count(caller) from exchanges")
    assert result.exit_code == 1
    assert f"{part.name}: damaged: its footer is not what was written" in result.stderr
