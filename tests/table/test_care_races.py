"""What happens between two steps of a writer: other writers, and failures at a bad moment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
from deltalake.exceptions import CommitFailedError, DeltaError

import chatpb
from chatpb.table import Dataset, DatasetConflictError, DatasetError
from chatpb.table._care import delete as _delete
from chatpb.table._care import optimize as _optimize
from chatpb.table._care.rewrite import loaded as latest
from chatpb.table._care.rewrite import rewritten as rewritten_files
from chatpb.table._delta import commits, snapshot
from chatpb.table._delta.changes import Changes
from chatpb.table._writer import DatasetWriter
from chatpb.v1 import CompletionRecord
from support.table_files import compacted, completion, lines


def record(number: int) -> bytes:
    """A record whose ID and model name its number."""
    completion = chatpb.from_dict({"id": f"chatcmpl-{number}", "model": f"gpt-{number % 2}"})
    return CompletionRecord(completion=completion).SerializeToString(deterministic=True)


def test_a_deletion_that_could_not_copy_a_file_reads_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another writer replaces another file: the records to keep are not lost."""
    table = Dataset(tmp_path)
    table.append([record(0), record(1)])
    table.append([record(2), record(3)])
    failures: list[Any] = []
    original = rewritten_files

    def rewritten(snapshot: Any, given: Any, level: int) -> Any:
        if not failures:
            part, _ = given[0]
            failures.append(part)
            (other,) = [each for each in table.files() if each.name != part.name]
            files = original(snapshot, [(other, None)], level)
            changes = Changes(adds=files, removes=[other.name], data_change=False)
            commits.commit(snapshot.location, snapshot.version, changes)
            raise DatasetError(part.place, "cannot be read")
        return original(snapshot, given, level)

    monkeypatch.setattr(_delete, "rewritten", rewritten)
    done = table.delete(pc.field("model") == "gpt-1")
    assert failures
    assert 2 == done.records
    assert {record(0), record(2)} == set(table.records())


def test_each_writer_makes_its_own_commit_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if others have committed more when it looks."""
    table = Dataset(tmp_path)
    table.append([record(0)])
    synced: list[str] = []
    original, write = commits.sync, commits._write

    def sync(path: str | os.PathLike[str]) -> None:
        synced.append(os.path.basename(path))
        original(path)

    def slow(*args: Any) -> Any:
        made = write(*args)
        monkeypatch.setattr(commits, "_write", write)
        table.append([record(2)])
        synced.clear()
        args[1].update_incremental()
        return args[1].version() if made is not None else None

    monkeypatch.setattr(commits, "sync", sync)
    monkeypatch.setattr(commits, "_write", slow)
    table.append([record(1)])
    assert f"{1:020}.json" in synced
    assert 3 == len(list(table.records()))


def test_two_that_optimize_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One replaces files that the other has listed, and not read yet: no record is there twice."""
    table = Dataset(tmp_path)
    for number in range(4):
        table.append([record(number)])
    calls: list[Any] = []

    def loaded(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            monkeypatch.setattr(_optimize, "loaded", latest)
            table.optimize()
        return latest(*args)

    monkeypatch.setattr(_optimize, "loaded", loaded)
    table.optimize()
    assert len(calls) == 2
    assert [record(number) for number in range(4)] == list(table.records())


def test_reads_again_while_the_log_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that are listed may be gone when they are read: that is not damage."""
    table = Dataset(tmp_path)
    table.append([record(0)])
    table.append([record(1)])
    original = snapshot._opened
    failed: list[Any] = []

    def opened(location: Any, version: Any = None) -> Any:
        if len(failed) < 3:
            failed.append(version)
            (tmp_path / "_delta_log" / f"{len(failed)}.tmp").touch()
            raise DatasetError(location.uri, "cannot be opened: no such file")
        return original(location, version)

    monkeypatch.setattr(snapshot, "_opened", opened)
    assert 2 == len(list(table.records()))
    assert 3 == len(failed)


def test_a_writer_that_others_make_fail_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Delta's client fails if `vacuum` removes what it reads. As long as others get on, try on."""
    table = Dataset(tmp_path)
    table.append([record(0)])
    original = commits._write
    failures: list[Any] = []

    def write(*args: Any) -> Any:
        if len(failures) == 6:
            return original(*args)
        failures.append(args)
        monkeypatch.setattr(commits, "_write", original)
        table.append([record(len(failures))])
        monkeypatch.setattr(commits, "_write", write)
        raise DeltaError("Invalid table version: 1")

    monkeypatch.setattr(commits, "_write", write)
    table.append([record(7)])
    assert sorted(map(record, range(8))) == sorted(table.records())


def test_a_writer_that_others_overtake_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Dataset(tmp_path)
    table.append([record(0)])
    files = sorted(tmp_path.iterdir())

    def write(*_: Any) -> None:
        raise CommitFailedError("Failed to commit transaction: 0")

    monkeypatch.setattr(commits, "_write", write)
    monkeypatch.setattr(commits, "pause", lambda _: None)
    overtaken = f"^{tmp_path}: other writers are faster, again and again; nothing was changed"
    with pytest.raises(DatasetConflictError, match=overtaken):
        table.append([record(1)])
    assert files == sorted(tmp_path.iterdir())


def test_compact_reads_again_after_the_log_was_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a deletion for good, between reading the version and what was taken of which input."""
    table = Dataset(tmp_path / "table")
    for number in range(3):
        table.append([record(number)])
    source = tmp_path / "in.jsonl"
    source.write_text(lines(completion(9)))
    original = DatasetWriter.taken_before
    calls: list[Any] = []

    def taken_before(*args: Any) -> Any:
        if not calls:
            calls.append(args)
            table.delete(pc.field("id") == "chatcmpl-1", vacuum=True)
        return original(*args)

    monkeypatch.setattr(DatasetWriter, "taken_before", taken_before)
    assert compacted(source, table.path).startswith("1 record, ")
    assert 3 == len(list(table.records()))


def test_a_checkpoint_is_made_while_others_replace_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`optimize` has committed by then, so it does not fail."""
    table = Dataset(tmp_path)
    for number in range(3):
        table.append([record(number)])
    original = snapshot.opened
    calls: list[Any] = []

    def opened(*args: Any) -> Any:
        if not calls:
            calls.append(args)
            (tmp_path / "_delta_log" / "1.tmp").touch()
            raise DatasetError(str(tmp_path), "cannot be opened: Requested range was invalid")
        return original(*args)

    monkeypatch.setattr("chatpb.table._delta.commits.opened", opened)
    assert 3 == table.optimize().removed
    assert calls
