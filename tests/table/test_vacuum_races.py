"""`vacuum` next to writers and `restore`: no table names a file that is gone, no record is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

import chatpb
from chatpb.table import Dataset, DatasetConflictError, DatasetError
from chatpb.table._care import vacuum as _vacuum
from chatpb.table._delta import commits, snapshot, state
from chatpb.v1 import CompletionRecord
from support.command_line import run
from support.table_files import completion, lines

NOW = timedelta(0)


@pytest.fixture(autouse=True)
def distinct_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    """No two commits of a test have the same mark by chance, which one in 256 has."""
    monkeypatch.setattr(state, "_MARKS", 1 << 64)


def record(number: int) -> bytes:
    """A record whose ID and model name its number."""
    made = chatpb.from_dict({"id": f"chatcmpl-{number}", "model": f"gpt-{number % 2}"})
    return CompletionRecord(completion=made).SerializeToString(deterministic=True)


def once(patch: pytest.MonkeyPatch, owner: Any, name: str, meanwhile: Callable[[], object]) -> Any:
    """Does something right before the first call of a function."""
    original = getattr(owner, name)
    calls: list[object] = []

    def first(*args: Any, **kwargs: Any) -> Any:
        if not calls:
            calls.append(args)
            meanwhile()
        return original(*args, **kwargs)

    patch.setattr(owner, name, first)
    return calls


def an_hour_later(patch: pytest.MonkeyPatch) -> None:
    """Makes every file as old as those that `vacuum` may remove."""
    patch.setattr(_vacuum, "GRACE", 0.0)
    patch.setattr(state, "YOUNG", 0.0)


def check(table: Dataset, *numbers: int) -> None:
    """Checks that a table has the records, in files that are there."""
    assert not table.verify().damaged
    assert sorted(map(record, numbers)) == sorted(table.records())


def test_a_writer_that_is_slower_than_vacuum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It commits between what `vacuum` finds and what `vacuum` removes."""
    table = Dataset(tmp_path)
    table.append([record(0)])
    an_hour_later(monkeypatch)
    with table.detached_writer() as writer:
        writer.write(record(1))
        written = writer.finish()

        def late() -> None:
            with pytest.raises(DatasetConflictError, match=r"vacuum .* write it again"):
                writer.commit()

        calls = once(monkeypatch, _vacuum, "remove_all", late)
        assert 1 == table.vacuum(NOW).files
        assert calls
    assert not (tmp_path / written.files[0].name).exists()
    check(table, 0)
    table.append([record(1)])
    check(table, 0, 1)


def test_a_writer_that_is_faster_than_vacuum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It commits between what `vacuum` finds and what `vacuum` commits."""
    table = Dataset(tmp_path)
    table.append([record(0)])
    an_hour_later(monkeypatch)
    with table.detached_writer() as writer:
        writer.write(record(1))
        writer.finish()
        (tmp_path / "part-0.parquet").touch()
        calls = once(monkeypatch, _vacuum, "commit", writer.commit)
        assert 1 == table.vacuum(NOW).files
        assert calls
    check(table, 0, 1)


def test_compact_begins_again_after_vacuum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = Dataset(tmp_path / "table")
    table.append([record(0)])
    source = tmp_path / "in.jsonl"
    source.write_text(lines(*map(completion, range(3))))
    an_hour_later(monkeypatch)
    calls = once(monkeypatch, commits, "_check_age", lambda: table.vacuum(NOW))
    monkeypatch.setattr(state, "YOUNG", 0.0)
    result = run("compact", source, table.path)
    assert (0, True) == (result.exit_code, result.stdout.startswith("3 records")), result.stderr
    assert calls
    assert not table.verify().damaged
    assert 4 == len(list(table.records()))


def test_restore_while_vacuum_removes_the_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Dataset(tmp_path)
    table.append([record(0), record(1)])
    table.delete(pc.field("model") == "gpt-0")

    def late() -> None:
        with pytest.raises(DatasetError, match="no version 0 any more: it was removed by vacuum"):
            table.restore(0)

    calls = once(monkeypatch, _vacuum, "remove_all", late)
    table.vacuum(NOW)
    assert calls
    check(table, 1)


def test_restore_before_vacuum_removes_the_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Dataset(tmp_path)
    table.append([record(0), record(1)])
    table.delete(pc.field("model") == "gpt-0")
    calls = once(monkeypatch, _vacuum, "commit", lambda: table.restore(0))
    table.vacuum(NOW)
    assert calls
    check(table, 0, 1)


def test_restore_after_a_deletion_for_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can bring back what a deletion is about to remove."""
    table = Dataset(tmp_path)
    table.append([record(0), record(1)])

    def late() -> None:
        with pytest.raises(DatasetError, match="no version 0 any more: it was removed by vacuum"):
            table.restore(0)

    calls = once(monkeypatch, _vacuum, "remove_all", late)
    table.delete(pc.field("model") == "gpt-0", vacuum=True)
    assert calls
    check(table, 1)
    assert ["delete"] == [each.operation for each in table.history()]


@pytest.mark.parametrize("taken", [{}, {"chatpb:a": 1}])
def test_vacuum_removes_the_commit_after_the_base(
    taken: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The place of the next commit is free again, but no reader looks there.

    Delta's client looks for later commits right before it writes. That they come, and go, after
    that is made up here by a copy of the table; tests of object stores really do it.
    """
    folder, copy = tmp_path / "table", tmp_path / "copy"
    table = Dataset(folder)
    table.append([record(0)])
    original = commits._write
    name = f"_delta_log/{1:020}.json"

    def slow(*args: Any) -> None:
        _, _, changes, properties = args
        monkeypatch.setattr(commits, "_write", original)
        shutil.copytree(folder, copy)
        for number in (1, 2):
            table.append([record(number)])
        table.optimize()
        table.vacuum(NOW)
        location = Dataset(copy)._location
        copied = snapshot.opened(location)
        assert copied is not None
        original(location, copied, changes, properties)
        assert not (folder / name).exists()
        shutil.copy(copy / name, folder / name)

    monkeypatch.setattr(commits, "_write", slow)
    with table.writer() as writer:
        writer.taken.update(taken)
        writer.write(record(3))
    assert copy.exists()
    check(table, 0, 1, 2, 3)
    assert not (folder / name).exists()


def test_a_commit_that_a_killed_writer_left_before_the_log(tmp_path: Path) -> None:
    """It was killed when it was about to find out that it does not belong to the table."""
    table = Dataset(tmp_path)
    for number in range(4):
        table.append([record(number)])
    entry = tmp_path / "_delta_log" / f"{1:020}.json"
    left = entry.read_bytes()
    table.optimize()
    table.vacuum(NOW)
    entry.write_bytes(left)
    check(table, *range(4))
    assert [5, 4] == [each.version for each in table.history()]
    table.append([record(4)])
    assert 4 == table.vacuum(timedelta(days=1), dry_run=True).oldest
    assert 1 == table.vacuum(timedelta(days=1)).log_files
    check(table, *range(5))


@pytest.mark.parametrize("taken", [{}, {"chatpb:a": 1}])
def test_vacuum_removes_the_base(
    taken: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is read: a conflict for who relies on it, and none for who does not."""
    table = Dataset(tmp_path)
    table.append([record(0)])
    original = snapshot.opened
    calls: list[int] = []

    def opened(*args: Any) -> Any:
        found = original(*args)
        if not calls:
            calls.append(1)
            for number in (1, 2):
                table.append([record(number)])
            table.optimize()
            table.vacuum(NOW)
        return found

    def write() -> None:
        with table.writer() as writer:
            writer.taken.update(taken)
            writer.write(record(3))

    monkeypatch.setattr(state, "opened", opened)
    if taken:
        with pytest.raises(DatasetConflictError, match="version 0 was removed"):
            write()
    write()
    check(table, 0, 1, 2, 3)


@pytest.mark.parametrize("is_hidden", [False, True])
def test_a_commit_whose_mark_another_writer_has_taken(
    is_hidden: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is lost; another writer has the same mark by chance. All entries are searched."""
    table = Dataset(tmp_path)
    table.append([record(0)])
    monkeypatch.setattr(state, "_MARKS", 1)
    original = commits._write
    calls: list[int] = []

    def lost(*args: Any) -> None:
        original(*args)
        if not calls:
            calls.append(1)
            table.append([record(2)])
            if is_hidden:
                table.vacuum(NOW)
            raise OSError("the answer is lost")

    monkeypatch.setattr(commits, "_write", lost)
    with table.writer() as writer:
        writer.taken["chatpb:a"] = 1
        writer.write(record(1))
    check(table, 0, 1, 2)
    assert {"chatpb:a": 1} == _taken(table)


def _taken(table: Dataset) -> Any:
    with table.writer() as writer:
        return dict(writer.taken_before("chatpb:a"))


TASKS = """
import os, sys
from chatpb.table import Dataset
from table.test_vacuum_races import record
table = Dataset(sys.argv[1])
with table.detached_writer() as first, table.detached_writer(row_group_rows=1) as second:
    first.write(record(10))
    first.finish()
    for number in range(3):
        second.write(record(20 + number))
    second._end_slice(None)
    os.write(1, b"written")
    sys.stdin.read()
"""


def test_vacuum_removes_what_a_killed_job_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of Spark: tasks have ended files and begun others, and the driver never commits."""
    table = Dataset(tmp_path)
    table.append([record(0), record(1)])
    table.delete(pc.field("model") == "gpt-0")
    (tmp_path / "notes.txt").touch()
    before = set(os.listdir(tmp_path))
    command = [sys.executable, "-c", TASKS, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[1]
    ) as job:
        assert job.stdout is not None
        assert b"written" == job.stdout.read(7)
        job.kill()
    left = set(os.listdir(tmp_path)) - before
    assert {".parquet", ".writing"} == {Path(name).suffix for name in left}

    done = table.vacuum()
    assert (0, {str(tmp_path / name) for name in left}) == (done.files, set(done.unfinished))
    an_hour_later(monkeypatch)
    with table.writer() as writer:  # a job that goes on meanwhile
        written = Dataset(tmp_path)
        with written.detached_writer() as task:
            task.write(record(3))
            writer.take(task.finish())
        would = table.vacuum(timedelta(days=1), dry_run=True)
        assert (0, len(left) + 1) == (would.files, len(would.unfinished))
    done = table.vacuum(NOW)
    assert (3, ()) == (done.files, done.unfinished)  # with the one that the deletion replaced
    assert not left & set(os.listdir(tmp_path))
    assert (tmp_path / "notes.txt").exists()
    check(table, 1, 3)
