"""`verify` of Delta's log: what was changed in an entry or a checkpoint is named with its file."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
import pytest

from chatpb.table import Dataset, DatasetError
from chatpb.table._delta import commits
from chatpb.v1 import CompletionRecord
from support.command_line import run

DAY = 86_400_000_000


def table_of(folder: Path) -> Dataset:
    """A table with three files, two partitions and all operations."""
    table = Dataset(folder)
    for number in range(4):
        record = CompletionRecord(caller=f"user-{number}", start_time_unix_us=number // 2 * DAY)
        with table.writer(partition_by="day") as writer:
            writer.write(record)
            writer.taken["chatpb:a"] = number
    table.delete(pc.field("caller") == "user-0")
    table.restore(3)
    table.optimize()
    return table


def errors(table: Dataset) -> list[str]:
    return list(map(str, table.verify().damaged))


def entry_of(folder: Path, number: int) -> Path:
    return folder / "_delta_log" / f"{number:020}.json"


def edit(path: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """Changes the actions of an entry of the log."""
    actions = [json.loads(line) for line in path.read_text().splitlines()]
    change(actions)
    path.write_text("".join(json.dumps(action) + "\n" for action in actions))


def of(kind: str, actions: list[dict[str, Any]]) -> dict[str, Any]:
    return next(action[kind] for action in actions if kind in action)


def stats(actions: list[dict[str, Any]]) -> None:
    add = of("add", actions)
    add["stats"] = add["stats"].replace("user-1", "user-0")


CHANGES: dict[str, Callable[[list[dict[str, Any]]], object]] = {
    "size": lambda actions: of("add", actions).update(size=1),
    "partition": lambda actions: of("add", actions).update(partitionValues={}),
    "statistics": stats,
    "input": lambda actions: of("txn", actions).update(version=9),
    "removal": lambda actions: actions.pop(),
    "addition": lambda actions: actions.remove({"add": of("add", actions)}),
    "digest": lambda actions: of("commitInfo", actions).pop("chatpb"),
}


def test_whole(tmp_path: Path) -> None:
    table = table_of(tmp_path / "a table")
    assert [] == errors(table)
    commits.make_checkpoint(table._location, table.version())
    table.append([CompletionRecord(caller="user-9")])
    assert [] == errors(table)
    table.delete(pc.field("caller") == "user-9", vacuum=True)
    assert [] == errors(table)


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("what", CHANGES)
def test_a_changed_entry(what: str, number: int, tmp_path: Path) -> None:
    table = table_of(tmp_path)
    path = entry_of(tmp_path, number)
    before = path.read_text()
    edit(path, CHANGES[what])
    if what == "statistics" and number == 0:
        assert before != path.read_text() or "user-1" not in before
        return
    found = errors(table)
    reason = "it has no digest" if what == "digest" else "its actions are not what was written"
    assert f"{path}: damaged: {reason}" in found
    result = run("verify", tmp_path)
    assert (1, True) == (result.exit_code, f"chatpb: error: {path}: damaged: " in result.stderr)


def test_a_changed_restore(tmp_path: Path) -> None:
    """Delta's client makes its actions, so they are compared with the version it restored."""
    table = table_of(tmp_path)
    path = entry_of(tmp_path, 5)
    edit(path, lambda actions: actions.remove({"add": of("add", actions)}))
    assert f"{path}: damaged: its files are not those of version 3, which it restored" in errors(
        table
    )


@pytest.mark.parametrize("column", ["path", "size", "stats", "partitionValues", "version"])
def test_a_changed_checkpoint(column: str, tmp_path: Path) -> None:
    table = table_of(tmp_path)
    (path,) = (tmp_path / "_delta_log").glob("*.checkpoint.parquet")
    state = pa.parquet.read_table(path)
    rows = state.to_pylist()
    struct = "txn" if column == "version" else "add"
    row = next(row for row in rows if row[struct] is not None)
    other = {"size": 1, "version": 7, "partitionValues": []}
    row[struct][column] = other.get(column, f"{row[struct][column]} ")
    if column == "stats":
        row["add"]["stats"] = row["add"]["stats"].replace("user-", "uses-")
    pa.parquet.write_table(pa.Table.from_pylist(rows, state.schema), path)
    assert any(
        each.startswith(f"{path}: damaged: it differs from the log") for each in errors(table)
    )


def test_statistics_that_a_file_contradicts(tmp_path: Path) -> None:
    """Which readers would leave out, though it has what they ask for; the log is gone."""
    table = Dataset(tmp_path)
    table.append([CompletionRecord(caller="alice")])
    part = table.files()[0]
    entry = entry_of(tmp_path, 0)

    def others(actions: list[dict[str, Any]]) -> None:
        of("commitInfo", actions).pop("chatpb")
        actions.remove({"txn": of("txn", actions)})
        add = of("add", actions)
        add["stats"] = add["stats"].replace("alice", "carol")

    edit(entry, others)
    reason = (
        "its column caller has values outside of what the log says, so queries may leave it out"
    )
    assert [f"{part.place}: {reason}"] == errors(table)


def test_a_partition_that_a_file_contradicts(tmp_path: Path) -> None:
    table = Dataset(tmp_path)
    table.append([CompletionRecord(caller="alice")], partition_by="caller")
    part = table.files()[0]

    def others(actions: list[dict[str, Any]]) -> None:
        of("commitInfo", actions).pop("chatpb")
        actions.remove({"txn": of("txn", actions)})
        of("add", actions)["partitionValues"] = {"partition_caller": "bob"}

    edit(entry_of(tmp_path, 0), others)
    assert [f"{part.place}: its rows do not belong to the partition bob"] == errors(table)


def test_history_names_the_program(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    assert {f"chatpb {version('chatpb')}"} == {each.engine for each in table.history()}
    path = entry_of(tmp_path, table.version())
    edit(path, lambda actions: of("commitInfo", actions).pop("chatpb"))
    assert f"delta-rs {version('deltalake')} (Python)" == table.history()[0].engine
    spark = {"engineInfo": "Apache-Spark/4.1.0 Delta-Lake/4.1.0"}
    edit(path, lambda actions: of("commitInfo", actions).update(spark))
    assert "Spark 4.1.0, Delta Lake 4.1.0" == table.history()[0].engine


def flip(path: Path, text: str) -> None:
    """Changes a character of an entry in the place of a text, by one bit."""
    content = bytearray(path.read_bytes())
    content[content.index(text.encode()) + len(text)] ^= 1
    path.write_bytes(content)


def test_a_removal_of_another_file_is_not_read(tmp_path: Path) -> None:
    """Delta's client would give back what was deleted, and what was kept twice."""
    table = Dataset(tmp_path)
    table.append([CompletionRecord(caller=f"user-{number}") for number in range(4)])
    before = list(table.records())
    table.delete(pc.field("caller") == "user-0")
    table.append([CompletionRecord(caller="user-9")])
    path = entry_of(tmp_path, 1)
    flip(path, '"remove":{"path":"part-')
    reason = "damaged: its actions are not what was written"
    for use in (
        lambda: list(table.records()),
        lambda: table.delete(pc.field("caller") == "user-1"),
        lambda: table.delete("caller = 'user-1'"),
        table.optimize,
        table.sql,
        lambda: table.append([CompletionRecord()]),
        lambda: table.at(1),
    ):
        with pytest.raises(DatasetError) as caught:
            use()
        assert f"{path}: {reason}" == str(caught.value)
    assert before == list(table.at(0).records())
    assert [2, 1, 0] == [commit.version for commit in table.history()]
    table.restore(0)
    assert before == list(table.records())
    table.append([CompletionRecord(caller="user-9")])
    assert 5 == len(list(table.records()))
    table.vacuum(timedelta(0))
    assert [] == errors(table)


def test_reading_a_checkpoint_leaves_no_threads_behind(tmp_path: Path) -> None:
    """Those of `pyarrow.dataset` could abort the process at its end, once in 50 times."""
    table = table_of(tmp_path)
    table.delete(pc.field("caller") == "user-1", vacuum=True)
    table.append([CompletionRecord()])
    program = """if True:
        import sys
        from chatpb.table import Dataset

        table = Dataset(sys.argv[1])
        with table.writer() as writer:
            print(writer.taken_before("chatpb:commit:") != {})
        print(table.verify().damaged, table.vacuum().files)
        print("pyarrow.dataset" in sys.modules)
    """
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert ("True\n() 0\nFalse\n", "") == (done.stdout, done.stderr)
