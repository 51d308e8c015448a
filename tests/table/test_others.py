"""Tables that other tools and other versions of chatpb have written to, and damaged ones."""

from __future__ import annotations

import json
import shutil
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, Schema, write_deltalake

from chatpb.table import SCHEMA, Dataset, DatasetError, to_batch
from chatpb.table._delta.schema import COLUMNS
from chatpb.table._rows.columns import RECORD
from chatpb.v1 import CompletionRecord
from support.command_line import run
from table.test_dataset import RECORDS


def rows(records: list[bytes]) -> pa.Table:
    return pa.Table.from_batches([to_batch(records)]).cast(COLUMNS)


def error_of(path: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        list(Dataset(path).records())
    return str(caught.value)


def test_rows_that_delta_appends(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path)
    dataset.append(RECORDS[:10])
    write_deltalake(tmp_path, rows(RECORDS[10:20]), mode="append")
    dataset.append(RECORDS[20:])
    assert RECORDS == list(dataset.records())
    found = dataset.verify()
    assert (3, 50, 1, ()) == (found.files, found.records, found.without_digest, found.damaged)


def test_entries_that_others_write(tmp_path: Path) -> None:
    """With empty lines, and members that are null, as Delta's client reads them."""
    dataset = Dataset(tmp_path)
    dataset.append(RECORDS)
    log = tmp_path / "_delta_log"
    info = {"timestamp": 1764300000000, "operation": "WRITE"}
    transaction = {"appId": "theirs", "version": 1, "lastUpdated": None}
    lines = [{"commitInfo": info, "txn": None}, {"commitInfo": None, "txn": transaction}]
    text = "\r\n".join(map(json.dumps, lines))
    (log / f"{1:020}.json").write_text(f"{text}\n\n \n")
    dataset.append(RECORDS)
    assert RECORDS * 2 == list(dataset.records())
    assert () == dataset.verify().damaged
    assert ["write"] == [commit.operation for commit in dataset.history()][1:2]


def test_a_table_that_delta_creates(tmp_path: Path) -> None:
    """Also with a partition column that the files then lack."""
    write_deltalake(tmp_path / "a", rows(RECORDS[:10]))
    Dataset(tmp_path / "a").append(RECORDS[10:])
    assert RECORDS == list(Dataset(tmp_path / "a").records())

    write_deltalake(tmp_path / "b c", rows(RECORDS), partition_by=["model"])
    dataset = Dataset(tmp_path / "b c")
    assert sorted(RECORDS) == sorted(dataset.records())
    assert RECORDS[1::2] == list(dataset.records(pc.field("model") == "gpt-1"))
    assert 1 == len(dataset.files(pc.field("model") == "gpt-1"))
    with pytest.raises(
        DatasetError, match="is partitioned by model, so chatpb can read it, but not"
    ):
        dataset.append(RECORDS)


def test_rows_that_delta_deletes(tmp_path: Path) -> None:
    """It rewrites the files."""
    dataset = Dataset(tmp_path)
    dataset.append(RECORDS)
    DeltaTable(tmp_path).delete("model = 'gpt-1'")
    assert RECORDS[::2] == list(dataset.records())
    assert RECORDS == list(dataset.at(0).records())
    some = pc.field("id") == "chatcmpl-4"
    assert [RECORDS[4]] == list(dataset.records(some))
    assert ["gpt-0"] == [
        row["model"] for rows in dataset.scan(["model"], some) for row in rows.to_pylist()
    ]
    assert 1 == dataset.delete(some).records
    dataset.restore(1)
    DeltaTable(tmp_path).optimize.compact()
    dataset.append(RECORDS[1::2])
    assert sorted(RECORDS) == sorted(dataset.records())
    assert () == dataset.verify().damaged
    assert (2, 1) == ((done := dataset.optimize()).removed, done.added)
    assert 1 == dataset.delete(pc.field("id") == "chatcmpl-0").records
    assert sorted(RECORDS[1:]) == sorted(dataset.records())
    assert (1, 49, ()) == ((found := dataset.verify()).files, found.records, found.damaged)


def test_times_in_rows_that_delta_deletes(tmp_path: Path) -> None:
    """Delta's log has them in milliseconds, cut: the largest is less than the time of the row."""
    records = [
        CompletionRecord(start_time_unix_us=1_760_000_000_000_999 + n, caller=f"user-{n % 3}")
        for n in range(9)
    ]
    dataset = Dataset(tmp_path)
    dataset.append(records)
    DeltaTable(tmp_path).delete("caller = 'user-1'")
    last = pc.field("start_time") >= pa.scalar(1_760_000_000_001_007, pa.timestamp("us", "UTC"))
    assert [records[8].SerializeToString()] == list(dataset.records(last))
    assert () == dataset.verify().damaged
    grep = run("grep", "--count", "start_time >= '2025-10-09 08:53:20.001007'", tmp_path)
    assert ("1\n", "") == (grep.stdout, grep.stderr)
    assert 1 == dataset.delete(last).records
    latest = CompletionRecord(start_time_unix_us=253_402_300_799_999_000)  # of year 9999
    dataset.append([latest])
    assert [latest.SerializeToString()] == list(dataset.records(last))
    assert () == dataset.verify().damaged


@pytest.mark.parametrize(
    ("features", "active", "said"),
    [
        pytest.param(["deletionVectors"], False, None, id="allowed"),
        pytest.param(["deletionVectors"], True, "deletionVectors", id="deletion-vectors"),
        pytest.param(["columnMapping"], False, "columnMapping", id="column-mapping"),
        pytest.param(["someday"], False, "someday", id="unknown"),
    ],
)
def test_features_that_are_not_read(
    features: list[str], active: bool, said: str | None, tmp_path: Path
) -> None:
    dataset = Dataset(tmp_path)
    dataset.append(RECORDS)
    protocol = {"minReaderVersion": 3, "minWriterVersion": 7}
    protocol |= {"readerFeatures": features, "writerFeatures": features}  # type: ignore[dict-item]
    actions: list[dict[str, Any]] = [{"protocol": protocol}]
    if active:
        log = (tmp_path / "_delta_log" / f"{0:020}.json").read_text().splitlines()
        (add,) = (json.loads(line)["add"] for line in log if "add" in json.loads(line))
        bitmap = "d1d33964010000000000000000000000"  # magic, one bitmap, its upper bits
        bitmap += "3a3000000100000000000200100000000300040007000000"  # 3, 4, 7
        vector = {
            "storageType": "i",
            "pathOrInlineDv": z85(bytes.fromhex(bitmap)),
            "sizeInBytes": 38,
            "cardinality": 3,
        }
        actions += [{"add": add | {"deletionVector": vector}}]
    path = tmp_path / "_delta_log" / f"{1:020}.json"
    path.write_text("".join(json.dumps(each) + "\n" for each in actions))
    if said is None:
        assert RECORDS == list(dataset.records())
        return
    assert error_of(tmp_path).startswith(f"{tmp_path}: ")
    assert said in error_of(tmp_path)


def z85(data: bytes) -> str:
    """Bytes in the form that Delta's log has them in."""
    letters = string.digits + string.ascii_lowercase + string.ascii_uppercase
    letters += ".-:+=^!/*?&<>()[]{}@%$#"
    text = ""
    for start in range(0, len(data), 4):
        number = int.from_bytes(data[start : start + 4], "big")
        text += "".join(letters[number // 85**power % 85] for power in (4, 3, 2, 1, 0))
    return text


def without(names: list[str]) -> pa.Schema:
    return pa.schema([each for each in COLUMNS if each.name not in names])


def test_a_table_with_fewer_columns(tmp_path: Path) -> None:
    """An older version of chatpb made it, which left in the record what had no column."""
    older = without(["model", "messages", "call_id"])
    empty = older.empty_table()
    DeltaTable.create(tmp_path, Schema.from_arrow(older))
    old = pa.Table.from_pydict(
        {
            **{name: pa.nulls(2, older.field(name).type) for name in older.names},
            RECORD: RECORDS[:2],
        },
        older,
    )
    write_deltalake(tmp_path, old, mode="append")
    assert empty.schema == older
    dataset = Dataset(tmp_path)
    assert RECORDS[:2] == list(dataset.records())
    dataset.append(RECORDS[2:])
    assert RECORDS == list(dataset.records())
    assert set(SCHEMA.names) == set(pa.schema(DeltaTable(tmp_path).schema().to_arrow()).names)
    assert RECORDS[3::2] == list(dataset.records(pc.field("model") == "gpt-1"))


def test_a_struct_with_fewer_fields(tmp_path: Path) -> None:
    def narrower(kind: pa.DataType) -> pa.DataType:
        return pa.list_(pa.struct(list(kind.value_type)[:-1]))

    index = COLUMNS.get_field_index("messages")
    kind = narrower(COLUMNS.field(index).type)
    older = COLUMNS.set(index, pa.field("messages", kind))
    table = rows(RECORDS[:5])
    lacking = [
        None
        if each is None
        else [{k: v for k, v in m.items() if k in kind.value_type.names} for m in each]
        for each in table.column("messages").to_pylist()
    ]
    table = table.set_column(index, older.field(index), pa.array(lacking, kind))
    write_deltalake(tmp_path, table)
    dataset = Dataset(tmp_path)
    assert RECORDS[:5] == list(dataset.records())
    dataset.append(RECORDS[5:])
    assert RECORDS == list(dataset.records())
    assert (
        COLUMNS.field("messages").type
        == pa.schema(DeltaTable(tmp_path).schema().to_arrow()).field("messages").type
    )


def test_a_table_of_something_else(tmp_path: Path) -> None:
    write_deltalake(tmp_path / "a", pa.table({"x": [1]}))
    assert "not a table of chatpb: there is no column record" in error_of(tmp_path / "a")
    write_deltalake(
        tmp_path / "b",
        rows(RECORDS).set_column(COLUMNS.get_field_index("model"), "model", pa.array([7] * 50)),
    )
    with pytest.raises(DatasetError, match="its column model is of type int64, not string"):
        Dataset(tmp_path / "b").append(RECORDS)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _garble(path: Path) -> None:
    path.write_bytes(b"garbage")


@pytest.mark.parametrize("damage", [_cut, _garble, Path.unlink], ids=["cut", "garbled", "missing"])
@pytest.mark.parametrize(
    "name", [f"{0:020}.json", f"{1:020}.json", f"{0:020}.checkpoint.parquet", "_last_checkpoint"]
)
def test_a_damaged_log(name: str, damage: Callable[[Path], object], tmp_path: Path) -> None:
    """The error names the file; or the records are right, where it is not needed."""
    table = tmp_path / "table"
    dataset = Dataset(table)
    dataset.append(RECORDS[:10])
    if "checkpoint" in name:
        DeltaTable(table).create_checkpoint()
    dataset.append(RECORDS[10:20])
    dataset.append(RECORDS[20:])
    path = table / "_delta_log" / name
    damage(path)
    try:
        found = list(Dataset(table).records())
    except DatasetError as error:
        assert name in str(error), error  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert RECORDS == found
    shutil.rmtree(table)
