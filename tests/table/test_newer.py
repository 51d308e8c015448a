"""Files of a newer chatpb: what this version does not know is not left out without a word."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

import chatpb
from chatpb import ConversionError
from chatpb.table import Dataset, DatasetError, from_batch, to_batch
from chatpb.table._delta.changes import Changes, NewFile
from chatpb.table._delta.commits import commit
from chatpb.table._files.file_writer import JSON_BYTES
from chatpb.v1 import ChatCompletion, CompletionRecord
from support.command_line import run


def record() -> CompletionRecord:
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hello"}}
    return CompletionRecord(completion=chatpb.from_dict({"id": "chatcmpl-1", "choices": [choice]}))


def with_column(rows: pa.Table) -> pa.Table:
    return rows.append_column("later", pa.array([7] * rows.num_rows))


def with_field(rows: pa.Table) -> pa.Table:
    column = rows.column("messages").combine_chunks()
    values = column.values
    fields = [values.field(number) for number in range(values.type.num_fields)]
    made = pa.StructArray.from_arrays(
        [*fields, pa.array([7] * len(values))],
        fields=[*values.type, pa.field("later", pa.int64())],
    )
    column = pa.ListArray.from_arrays(column.offsets, made)
    return rows.set_column(rows.schema.get_field_index("messages"), "messages", column)


def table_of(path: Path, change: Callable[[pa.Table], pa.Table], *, ours: bool) -> Dataset:
    """A table with a file of another version of chatpb, or of another tool."""
    table = Dataset(path)
    table.append([record()])
    rows = change(pa.Table.from_batches([to_batch([record()])]))
    rows = rows.replace_schema_metadata({JSON_BYTES: b"99"} if ours else None)
    pa.parquet.write_table(rows, path / "part-new.parquet")
    size = (path / "part-new.parquet").stat().st_size
    file = NewFile("part-new.parquet", size, 1, 99, json.dumps({"numRecords": 1}), {}, 1 << 42)
    commit(table._location, 0, Changes(adds=[file]))
    return table


@pytest.mark.parametrize(
    ("change", "name"), [(with_column, "later"), (with_field, "messages.later")]
)
def test_records_of_a_newer_version_are_refused(tmp_path: Path, change: Any, name: str) -> None:
    table = table_of(tmp_path / "t", change, ours=True)
    for read in (table.records, lambda: table.lines(ChatCompletion), table.scan):
        with pytest.raises(DatasetError, match=f"column {name}; update chatpb") as caught:
            list(read())
        assert caught.value.path == str(tmp_path / "t" / "part-new.parquet")
    assert 2 == sum(batch.num_rows for batch in table.scan(["id"]))
    (error,) = table.verify().damaged
    assert "update chatpb" in error.reason
    for command in ("cat", "verify", "compact"):
        given = [tmp_path / "t", tmp_path / "other"][: 1 + (command == "compact")]
        result = run(command, *given)
        assert 1 == result.exit_code
        assert b"update chatpb" in result.stderr_bytes
    assert not Dataset(tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("change", "name"), [(with_column, "later"), (with_field, "messages.later")]
)
def test_optimize_keeps_what_a_newer_version_wrote(tmp_path: Path, change: Any, name: str) -> None:
    table = table_of(tmp_path, change, ours=True)
    table.optimize()
    (part,) = table.files()
    assert {name} == part.unknown
    with pytest.raises(DatasetError, match="update chatpb"):
        list(table.records())


@pytest.mark.parametrize("change", [with_column, with_field])
def test_columns_of_other_tools_are_left_out(tmp_path: Path, change: Any) -> None:
    table = table_of(tmp_path, change, ours=False)
    expected = [record().SerializeToString(deterministic=True)] * 2
    assert expected == list(table.records())
    for _ in range(2):  # the files that we write of it too
        table.optimize(everything=True)
        assert expected == list(table.records())
    (part,) = table.files()
    found = str(pa.parquet.read_schema(part.path))
    assert "later" in found


def test_a_strange_note_in_a_footer_is_no_failure(tmp_path: Path) -> None:
    rows = pa.Table.from_batches([to_batch([record()])])
    rows = rows.replace_schema_metadata({JSON_BYTES: b"-x", b"chatpb.others": b"{"})
    pa.parquet.write_table(rows, tmp_path / "a.parquet")
    assert 0 == run("compact", tmp_path / "a.parquet", tmp_path / "t").exit_code
    assert 1 == len(list(Dataset(tmp_path / "t").records()))


def test_a_name_in_a_footer_that_is_no_text_is_damage(tmp_path: Path) -> None:
    rows = pa.Table.from_batches([to_batch([record()])])
    path = tmp_path / "a.parquet"
    pa.parquet.write_table(rows, path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"caller", b"calle\xff"))
    result = run("compact", path, tmp_path / "t")
    assert 1 == result.exit_code
    assert b"a.parquet: not a Parquet file" in result.stderr_bytes


@pytest.mark.parametrize("offset", [-1, 1 << 30])
def test_offsets_outside_of_the_values_are_refused(offset: int) -> None:
    """Also in rows of a program that does not check them: nothing crashes."""
    rows = to_batch([record(), record()])
    number = rows.schema.get_field_index("record")
    column = rows.column(number)
    data = column.buffers()[2]
    offsets = pa.array([0, offset, data.size], pa.int32()).buffers()[1]
    wrong = pa.Array.from_buffers(column.type, 2, [None, offsets, data])
    with pytest.raises(ConversionError):
        from_batch(rows.set_column(number, rows.schema.field(number), wrong))
