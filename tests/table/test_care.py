"""Optimize, delete, history, restore and vacuum: what is left is equal, what goes is gone."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
import pytest

import chatpb
from chatpb.table import Dataset, DatasetError, to_batch
from chatpb.table._care.optimize import small
from chatpb.table._files.parts import Part
from chatpb.v1 import CompletionRecord
from support.command_line import run

NOW = timedelta(0)


def record(number: int, text: str = "", **fields: Any) -> bytes:
    """A record whose text, caller and ID name its number."""
    completion = chatpb.from_dict(
        {
            "id": f"chatcmpl-{number}",
            "created": 1_760_000_000 + number,
            "model": f"gpt-{number % 2}",
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": f"{number}{text}"}}
            ],
        }
    )
    made = CompletionRecord(completion=completion, caller=f"user-{number % 5}", **fields)
    return made.SerializeToString(deterministic=True)


def filled(path: Path, appends: int, each: int = 10, **options: Any) -> list[bytes]:
    """Appends records to a table again and again, and returns them."""
    start = (
        0
        if not (path / "_delta_log").exists()
        else sum(part.rows or 0 for part in Dataset(path).files())
    )
    records = [record(number) for number in range(start, start + appends * each)]
    for first in range(0, len(records), each):
        Dataset(path).append(records[first : first + each], **options)
    return records


def files_of(path: Path) -> set[str]:
    return {name for name in os.listdir(path) if name.endswith(".parquet")}


def test_small_files_become_one(tmp_path: Path) -> None:
    records = filled(tmp_path, 12)
    table = Dataset(tmp_path)
    before = files_of(tmp_path)
    done = table.optimize()

    assert (12, 1) == (done.removed, done.added)
    assert done.bytes_added < done.bytes_removed / 3
    assert records == list(table.records())
    (part,) = table.files()
    assert part.json_bytes == sum(Part(n, part.location).json_bytes or 0 for n in before)
    assert 12 == len(table.at(11).files())
    assert 0 == table.optimize().removed
    assert (1, 1) == ((done := table.optimize(everything=True, level=19)).removed, done.added)
    assert records == list(table.records())
    records += filled(tmp_path, 1)
    assert records == list(table.records())


def test_partitions_stay_apart(tmp_path: Path) -> None:
    records = filled(tmp_path, 4, partition_by="model")
    table = Dataset(tmp_path)
    assert 8 == len(table.files())
    assert 2 == table.optimize().added
    assert sorted(records) == sorted(table.records())
    assert [{"partition_model": "gpt-0"}, {"partition_model": "gpt-1"}] == sorted(
        (dict(part.partition) for part in table.files()), key=str
    )
    table.delete(pc.field("model") == "gpt-0")
    assert [{"partition_model": "gpt-1"}] == [dict(part.partition) for part in table.files()]


@pytest.mark.parametrize("partition_by", ["day", "month", "caller"])
def test_partitions_by_a_column_that_no_row_has(tmp_path: Path, partition_by: str) -> None:
    """Recorded JSON has no start time: files leave out that column."""
    records = [CompletionRecord(call_id=str(number)) for number in range(4)]
    table = Dataset(tmp_path)
    for one in records:
        table.append([one], partition_by=partition_by)
    assert 1 == table.optimize().added
    assert 1 == table.delete(pc.field("call_id") == "3").records
    assert records[:3] == [CompletionRecord.FromString(data) for data in table.records()]
    assert [{f"partition_{partition_by}": None}] == [dict(part.partition) for part in table.files()]


def test_large_files_stay_as_they_are(tmp_path: Path) -> None:
    Dataset(tmp_path).append([record(1, os.urandom(50_000).hex())])
    large = files_of(tmp_path)
    records = filled(tmp_path, 3)
    done = Dataset(tmp_path).optimize(file_bytes=60_000)
    assert (3, 1) == (done.removed, done.added)
    assert large <= {part.name for part in Dataset(tmp_path).files()}
    assert 31 == len(records) + 1 == len(list(Dataset(tmp_path).records()))


def test_what_was_merged_is_merged_rarely(tmp_path: Path) -> None:
    """The bytes that are written again grow with the logarithm of what there is."""
    written = 0
    records = []
    for _ in range(40):
        records += filled(tmp_path, 1)
        written += Dataset(tmp_path).optimize(more_than=4).removed
        assert len(Dataset(tmp_path).files()) < 10
    assert records == list(Dataset(tmp_path).records())
    assert 30 < written < 100
    sizes = [100, 3, 1, 1, 40, 2, 30]
    parts = [Part(str(size), Dataset(tmp_path)._location, size) for size in sizes]
    assert ["3", "1", "1", "2"] == [part.name for part in small(parts, 1000)]


def test_columns_of_a_later_version_are_kept(tmp_path: Path) -> None:
    """Those of the table, and those inside its structs."""
    filled(tmp_path, 2)
    table = Dataset(tmp_path)
    first, second = table.files()
    later = pa.parquet.read_table(first.path).append_column("later", pa.array([1] * 10))
    os.unlink(first.path)
    pa.parquet.write_table(later, first.path)
    parts = [Part(f"{at}.parquet", part.location) for at, part in enumerate((first, second))]
    for part, old in zip(parts, (first, second), strict=True):
        os.link(old.path, part.path)
    from chatpb.table._care.rewrite import rewritten
    from chatpb.table._delta.snapshot import load

    snapshot = load(table._location)
    assert snapshot is not None
    (made,) = rewritten(snapshot, [(part, None) for part in parts], 3)
    found = pa.parquet.read_table(tmp_path / made.name)
    assert [1] * 10 + [None] * 10 == found.column("later").to_pylist()


def test_deletes_rows_and_nothing_else(tmp_path: Path) -> None:
    records = filled(tmp_path, 5)
    table = Dataset(tmp_path)
    before = files_of(tmp_path)
    done = table.delete(
        (pc.field("caller") == "user-3") & (pc.field("created") < pc.scalar(1_760_000_020))
    )

    assert (4, 2, None) == (done.records, done.files, done.vacuumed)
    gone = [3, 8, 13, 18]
    left = [data for number, data in enumerate(records) if number not in gone]
    assert left == list(table.records())
    assert 3 == len(before & {part.name for part in table.files()})
    assert records == list(table.at(4).records())
    assert 0 == table.delete(pc.field("caller") == "nobody").records
    assert 5 == table.version()
    assert 10 == table.delete(pc.field("created") < pc.scalar(1_760_000_010)).records + 2
    assert left[8:] == list(table.records())
    table.delete(pc.scalar(True))
    assert [] == list(table.records())
    assert records[:1] == [table.append(records[:1]), *table.records()][1:]


def everything(folder: Path) -> Iterator[tuple[str, bytes]]:
    """All bytes of a folder's files, those of Parquet also as they are before compression."""
    for directory, _, names in os.walk(folder):
        for name in names:
            path = Path(directory, name)
            yield name, path.read_bytes()
            if name.endswith(".parquet"):
                file = pa.parquet.ParquetFile(path)
                yield name, repr(file.metadata.to_dict()).encode()
                rows = file.read()
                yield name, repr(rows.to_pylist()).encode()


@pytest.mark.parametrize("partition_by", [None, "caller"])
def test_vacuum_leaves_no_byte(tmp_path: Path, partition_by: str | None) -> None:
    """Not in files, nor in the log's statistics, partitions, checkpoints and notes."""
    folder = tmp_path / "table"
    table = Dataset(folder)
    secret = "Erika-Mustermann"
    others = filled(folder, 3, partition_by=partition_by)
    for number in (1000, 1001):
        table.append([record(number, secret, labels={"who": secret}), record(number + 100)])
        own = CompletionRecord.FromString(record(number, "x"))
        own.caller = secret
        table.append([own])
    table.optimize()
    table.restore(4)
    table.append([record(1002, secret)])
    from chatpb.table._delta import commits

    commits.make_checkpoint(table._location, table.version())
    (folder / "_delta_log" / "_commit_1.json.tmp").write_text(secret)
    os.utime(folder / "_delta_log" / "_commit_1.json.tmp", (1, 1))
    (folder / "part-killed.parquet.writing").write_text(secret)
    os.utime(folder / "part-killed.parquet.writing", (1, 1))
    assert any(secret.encode() in data for _, data in everything(folder))

    numbers = [f"chatcmpl-{number}" for number in (1000, 1001, 1002)]
    done = table.delete(pc.is_in(pc.field("id"), pa.array(numbers)), vacuum=True)
    assert 2 < done.records + 1 < 6
    assert done.vacuumed is not None
    assert () == done.vacuumed.unfinished
    for needle in (secret, *(f"{name}'" for name in numbers), *(f'{name}"' for name in numbers)):
        assert [] == [name for name, data in everything(folder) if needle.encode() in data]
    assert set(others) < set(table.records())
    with pytest.raises(DatasetError):
        table.at(3)
    assert 1 == len(table.history())


def test_vacuum_keeps_what_is_young(tmp_path: Path) -> None:
    table = Dataset(tmp_path)
    records = filled(tmp_path, 3)
    table.optimize()
    (tmp_path / "part-0.parquet").write_bytes(b"being written")
    (tmp_path / "notes.txt").write_text("not ours")
    log = tmp_path / "_delta_log"
    count = len(os.listdir(log))

    kept = table.vacuum()
    assert (0, 0, 0) == (kept.files, kept.log_files, kept.oldest)
    assert (str(tmp_path / "part-0.parquet"),) == kept.unfinished
    would = table.vacuum(NOW, dry_run=True)
    assert (3, 3, 3) == (would.files, would.log_files, would.oldest)
    assert count == len(os.listdir(log))
    assert would == table.vacuum(NOW)
    assert records == list(table.records())
    assert {"part-0.parquet", *(part.name for part in table.files())} == files_of(tmp_path)
    os.utime(tmp_path / "part-0.parquet", (time.time() - 7200,) * 2)
    assert 1 == table.vacuum(NOW).files
    assert (tmp_path / "notes.txt").exists()
    records += filled(tmp_path, 1)
    assert records == list(Dataset(tmp_path).records())


def test_vacuum_keeps_the_versions_since_then(tmp_path: Path) -> None:
    table = Dataset(tmp_path)
    records = filled(tmp_path, 4)
    for version in range(3):  # versions 0 to 2 were made in the night
        name = tmp_path / "_delta_log" / f"{version:020}.json"
        os.utime(name, (time.time() - 36_000 + version,) * 2)
    table.optimize()
    table.delete(pc.field("caller") == "user-1")

    done = table.vacuum(timedelta(hours=5))
    assert (0, 2, 2) == (done.files, done.log_files, done.oldest)
    assert [records[:30], records, records] == [list(table.at(v).records()) for v in (2, 3, 4)]
    with pytest.raises(DatasetError):
        table.at(1)
    assert 5 == table.vacuum(NOW).files


def test_restore_brings_back_and_forgets_input(tmp_path: Path) -> None:
    table = Dataset(tmp_path / "table")
    source = tmp_path / "in.jsonl"
    lines = [
        json.dumps({"model": "m", "messages": [{"role": "user", "content": str(n)}]})
        for n in range(6)
    ]
    source.write_text("\n".join(lines[:3]) + "\n")
    assert 0 == run("compact", source, table.path).exit_code
    first = list(table.records())
    source.write_text("\n".join(lines) + "\n")
    assert 0 == run("compact", source, table.path).exit_code
    both = list(table.records())
    table.delete(pc.scalar(True))

    assert 3 == table.restore(1)
    assert both == list(table.records())
    assert "nothing new\n" == run("compact", source, table.path).stdout
    assert 4 == table.restore(0)
    assert first == list(table.records())
    assert 0 == run("compact", source, table.path).exit_code
    assert both == list(table.records())
    with pytest.raises(DatasetError, match="there is no version 9"):
        table.restore(9)
    with pytest.raises(DatasetError, match="there is no version 9, only 5"):
        table.at(9)
    table.vacuum(NOW)
    for read in (table.restore, table.at):
        with pytest.raises(DatasetError, match="no version 0 any more: it was removed by vacuum"):
            read(0)
    assert both == list(table.records())


def test_history_names_what_happened(tmp_path: Path) -> None:
    filled(tmp_path, 2)
    table = Dataset(tmp_path)
    table.optimize()
    table.delete(pc.field("caller") == "user-1")
    table.restore(1)
    found = [
        (each.version, each.operation, each.files_added, each.files_removed, each.records)
        for each in table.history()
    ]
    assert [
        (4, "restore", 2, 1, None),
        (3, "delete", 1, 1, -4),
        (2, "optimize", 1, 2, 0),
        (1, "append", 1, 0, 10),
        (0, "append", 1, 0, 10),
    ] == found
    assert [4, 3] == [each.version for each in table.history(2)]


def test_commands(tmp_path: Path) -> None:
    table = tmp_path / "a table: [1]"
    filled(table, 3)

    def output(*arguments: object) -> str:
        result = run(*arguments)
        assert (0, "") == (result.exit_code, result.stderr)
        return result.stdout

    assert output("optimize", table).startswith("3 files of ")
    assert "nothing to do\n" == output("optimize", table)
    shown = output("history", table).splitlines()
    assert ["3", "optimize", "+1", "-3", "+0"] == [shown[1].split()[at] for at in (0, 3, 4, 5, 6)]
    assert (
        "append"
        == json.loads(output("history", "-n", 4, "--json", table).splitlines()[3])["operation"]
    )
    assert "version 4 is what version 0 was\n" == output("restore", table, 0)
    assert 10 == len(list(Dataset(table).records()))
    assert "version 5 is what version 3 was\n" == output("restore", table, 3)
    assert "3 files of " in output("vacuum", "--older", "0s", "--dry-run", table)
    assert "version 5 is the oldest" in output("vacuum", "--older", "0", table)
    result = run("vacuum", "--older", "soon", table)
    assert (2, True) == (result.exit_code, "is not a number with one of the units" in result.stderr)
    for command in ("optimize", "history", "vacuum"):
        result = run(command, tmp_path / "none")
        assert (1, f"chatpb: error: {tmp_path}/none: no such directory\n") == (
            result.exit_code,
            result.stderr,
        )


def test_an_older_version_cannot_be_changed(tmp_path: Path) -> None:
    filled(tmp_path, 2)
    old = Dataset(tmp_path).at(0)
    for change in (
        old.optimize,
        old.vacuum,
        lambda: old.restore(0),
        lambda: old.delete(pc.scalar(True)),
    ):
        with pytest.raises(DatasetError, match="at an older version"):
            change()


def test_damage_changes_nothing(tmp_path: Path) -> None:
    filled(tmp_path, 3)
    table = Dataset(tmp_path)
    place = table.files()[1].path
    data = bytearray(place.read_bytes())
    data[len(data) // 2] ^= 1
    place.write_bytes(data)
    before = files_of(tmp_path)
    for change in (table.optimize, lambda: table.delete(pc.field("caller") == "user-1")):
        with pytest.raises(DatasetError) as caught:
            change()
        assert str(place) in str(caught.value)
        assert before == files_of(tmp_path)
    assert 2 == table.version()


def test_batches_are_rows(tmp_path: Path) -> None:
    """What is written again is what was written at once."""
    records = filled(tmp_path / "many", 20)
    Dataset(tmp_path / "one").append(records)
    Dataset(tmp_path / "many").optimize()
    many, one = (Dataset(tmp_path / name).files()[0] for name in ("many", "one"))
    assert pa.parquet.read_table(many.path).equals(pa.parquet.read_table(one.path))
    assert to_batch(records).num_rows == many.rows
    assert abs((many.size or 0) - (one.size or 0)) < 0.05 * (one.size or 0)


def test_versions_that_are_gone_current_or_not_there(tmp_path: Path) -> None:
    table = Dataset(tmp_path / "table")
    for caller in ("alice", "bob"):
        table.append([CompletionRecord(caller=caller)])
    with pytest.raises(DatasetError, match="version 1 is the current one already"):
        table.restore(1)
    table.delete(pc.field("caller") == "alice", vacuum=True)
    for version in (0, 1):
        for read in (table.at, table.restore):
            with pytest.raises(
                DatasetError, match=f"no version {version} any more: it was removed"
            ):
                read(version)
    with pytest.raises(DatasetError, match="there is no version 9, only 2"):
        table.at(9)
    assert 1 == len(list(table.records()))
