"""The conversions and tables on Spark: a driver, and two executors in processes of their own."""

from __future__ import annotations

import gzip
import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import zstandard

from chatpb import from_json
from chatpb.log import LogWriter, new_key
from chatpb.table import Dataset, DatasetError
from chatpb.v1 import ChatCompletion, ChatCompletionRequest, CompletionRecord, ErrorResponse
from spark.spark_records import TASKS, chatpb_spark, completion, data_of, frame, record
from spark.spark_session import (
    JARS,
    hang_once,
    meet,
    wait_for_another,
)
from support.equality import exact
from support.golden_files import vectors
from support.limits import LONG_TIMEOUT

pytestmark = pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas")

needs_delta = pytest.mark.skipif(
    not JARS, reason="DELTA'S PACKAGE FOR SPARK IS MISSING: Maven could not download it"
)


def files(folder: Path) -> set[str]:
    """What lies in the directory of a table beside its lock."""
    return {path.name for path in folder.iterdir() if path.suffix != ".lock"}


# Conversions


@pytest.mark.parametrize("kind", ["string", "binary"])
@pytest.mark.parametrize("message_type", [ChatCompletion, ChatCompletionRequest])
def test_json_to_binary_and_back(spark: Any, kind: str, message_type: Any) -> None:
    chosen = [vector for vector in vectors() if vector.message_type is message_type]
    texts = [None, *(vector.json for vector in chosen)]
    rows = [(text if text is None or kind == "binary" else text.decode(),) for text in texts]
    given = spark.createDataFrame(rows, f"json {kind}").coalesce(1)
    converted = given.select(chatpb_spark.from_json("json", message_type).alias("message"))
    back = converted.select("message", chatpb_spark.to_json("message", message_type)).collect()
    assert [None, *(vector.binary for vector in chosen)] == [
        row[0] and bytes(row[0]) for row in back
    ]
    assert [text and exact(text) for text in texts] == [row[1] and exact(row[1]) for row in back]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("[1]", "$ (byte 0): expected an object, got an array", id="an array"),
        pytest.param('{"a": 1', "$ (byte 7): expected", id="cut"),
        pytest.param(b'{"a": "\xff"}', "byte 7", id="no UTF-8"),
    ],
)
def test_bad_text_fails_the_job_or_is_null(spark: Any, text: Any, reason: str) -> None:
    kind = "string" if isinstance(text, str) else "binary"
    given = spark.createDataFrame([(text,)], f"json {kind}")
    with pytest.raises(Exception, match="ConversionError") as caught:
        given.select(chatpb_spark.from_json("json")).collect()
    assert reason in str(caught.value)
    assert [(None,)] == given.select(chatpb_spark.from_json("json", errors="null")).collect()


def test_bad_binary_fails_the_job_or_is_null(spark: Any) -> None:
    given = spark.createDataFrame([(b"\xff",)], "message binary")
    with pytest.raises(Exception, match=r"not the binary form of a chatpb.v1.ChatCompletion"):
        given.select(chatpb_spark.to_json("message")).collect()
    assert [(None,)] == given.select(chatpb_spark.to_json("message", errors="null")).collect()


def test_messages_become_structs_and_come_back(spark: Any) -> None:
    chosen = [vector for vector in vectors() if vector.message_type is ChatCompletion]
    rows = [(None,), *((vector.binary,) for vector in chosen)]
    given = spark.createDataFrame(rows, "data binary").coalesce(1)
    decoded = given.select(chatpb_spark.from_protobuf("data", ChatCompletion).alias("completion"))
    ids = [ChatCompletion.FromString(vector.binary).id for vector in chosen]
    assert [None, *ids] == [row[0] for row in decoded.select("completion.id").collect()]
    encoded = decoded.select(chatpb_spark.to_protobuf("completion", ChatCompletion)).collect()
    assert [None, *(ChatCompletion.FromString(vector.binary) for vector in chosen)] == [
        row[0] if row[0] is None else ChatCompletion.FromString(bytes(row[0])) for row in encoded
    ]


def test_structs_have_names_zeros_and_nulls(spark: Any) -> None:
    choice = {"index": 0, "finish_reason": "stop", "message": {"content": ""}}
    text = json.dumps({"id": "a", "choices": [choice]})
    given = frame(spark, [CompletionRecord(completion=from_json(text)).SerializeToString()])
    row = (
        given.select(chatpb_spark.from_protobuf("data").alias("r"))
        .selectExpr("r.request", "r.status", "r.completion.choices[0] choice")
        .first()
    )
    assert (None, None) == (row.request, row.status)
    assert (0, "FINISH_REASON_STOP") == (row.choice["index"], row.choice.finish_reason)
    assert ("", None) == (row.choice.message.content, row.choice.message.refusal)


def test_binary_that_is_no_message_fails_the_job_or_is_null(spark: Any) -> None:
    given = spark.createDataFrame([(b"\xff",)], "data binary")
    with pytest.raises(Exception, match=r"not the binary form of a chatpb.v1.CompletionRecord"):
        given.select(chatpb_spark.from_protobuf("data")).collect()
    assert [(None,)] == given.select(chatpb_spark.from_protobuf("data", errors="null")).collect()
    with pytest.raises(Exception, match=r"chatpb.v1.CompletionRecord has no field key"):
        given.selectExpr("named_struct('key', 1) s").select(chatpb_spark.to_protobuf("s")).collect()


def test_other_ways_to_fail_are_refused() -> None:
    with pytest.raises(ValueError, match="errors is 'ignore'; expected raise or null"):
        chatpb_spark.from_json("json", errors="ignore")


# Tables


def test_records_come_back_from_rows_and_from_a_table(spark: Any, tmp_path: Path) -> None:
    records = [record(number) for number in range(40)]
    rows = chatpb_spark.to_table(frame(spark, records))
    assert chatpb_spark.table_schema() == rows.schema
    assert records == data_of(chatpb_spark.from_table(rows))
    added = chatpb_spark.write_table(frame(spark, records), tmp_path / "table")
    assert (40, TASKS) == (added.records, len(added.parts))
    assert records == list(Dataset(tmp_path / "table").records())
    assert {*added.parts, "_delta_log"} == files(tmp_path / "table")
    table = chatpb_spark.read_table(spark, tmp_path / "table")
    assert sorted(records) == sorted(data_of(chatpb_spark.from_table(table)))


def test_null_is_no_record(spark: Any, tmp_path: Path) -> None:
    given = spark.createDataFrame([(record(1),), (None,)], "data binary")
    assert 1 == chatpb_spark.write_table(given, tmp_path).records
    assert [record(1)] == data_of(chatpb_spark.from_table(chatpb_spark.to_table(given)))


def test_columns_are_read_and_filtered(spark: Any, tmp_path: Path) -> None:
    chatpb_spark.write_table(frame(spark, map(record, range(6))), tmp_path / "a table")
    table = chatpb_spark.read_table(spark, tmp_path / "a table")
    odd = table.filter("status = 1").orderBy("created")
    labels = odd.selectExpr("id", "map_from_entries(labels) AS labels")
    expected = [(f"c{number}", {"number": str(number)}) for number in (1, 3, 5)]
    assert expected == [tuple(row) for row in labels.collect()]
    third = table.filter("map_from_entries(labels)['number'] = '3'")
    assert [record(3)] == data_of(chatpb_spark.from_table(third))


def test_spark_writes_rows_itself(spark: Any, tmp_path: Path) -> None:
    records = [record(number) for number in range(10)]
    url = f"file://{tmp_path}/written"
    chatpb_spark.to_table(frame(spark, records)).write.parquet(url)
    rows = spark.read.schema(chatpb_spark.table_schema()).parquet(url)
    assert sorted(records) == sorted(data_of(chatpb_spark.from_table(rows)))


@needs_delta
def test_a_table_of_spark_s_own_delta_is_read(spark: Any, tmp_path: Path) -> None:
    records = [record(number) for number in range(10)]
    rows = chatpb_spark.to_table(frame(spark, records))
    rows.write.format("delta").save(f"file://{tmp_path}/table")
    assert sorted(records) == sorted(Dataset(tmp_path / "table").records())
    assert 1 == Dataset(tmp_path / "table").append([record(10)]).records
    assert 11 == spark.read.format("delta").load(f"file://{tmp_path}/table").count()


@needs_delta
def test_spark_s_own_delta_reads_a_table(spark: Any, tmp_path: Path) -> None:
    """Also files that lack columns, which are null in all of their rows, and partitions."""
    records = [record(number) for number in range(4)]
    error = from_json('{"error": {"message": "no"}}', ErrorResponse)
    bare = CompletionRecord(error=error, start_time_unix_us=1)
    records.append(bare.SerializeToString(deterministic=True))
    table = Dataset(tmp_path / "a table")
    table.append(records[:4], partition_by="day")
    table.append(records[4:])
    rows = spark.read.format("delta").load(f"file://{table.path}")
    assert sorted(records) == sorted(data_of(chatpb_spark.from_table(rows)))
    assert ["no"] == [row[0] for row in rows.filter("id is null").select("error_message").collect()]
    days = [str(row[0]) for row in rows.select("partition_day").distinct().collect()]
    assert ["1970-01-01", "2025-06-15"] == sorted(days)
    found = rows.filter("exists(messages, m -> m.role = 'assistant') and created >= 2")
    assert ["c2", "c3"] == sorted(row[0] for row in found.select("id").collect())


def test_a_table_is_added_to_only_if_asked(spark: Any, tmp_path: Path) -> None:
    chatpb_spark.write_table(frame(spark, [record(1)], tasks=1), tmp_path)
    with pytest.raises(DatasetError, match="there is a table already; append=True adds to it"):
        chatpb_spark.write_table(frame(spark, [record(2)], tasks=1), tmp_path)
    added = chatpb_spark.write_table(frame(spark, [record(2)], tasks=2), tmp_path, append=True)
    assert (1, 1) == (added.records, len(added.parts))
    assert [record(1), record(2)] == list(Dataset(tmp_path).records())
    with pytest.raises(DatasetError, match="no such directory"):
        chatpb_spark.read_table(spark, tmp_path / "none")


def test_a_job_that_fails_leaves_the_table_as_it_was(spark: Any, tmp_path: Path) -> None:
    chatpb_spark.write_table(frame(spark, [record(1)], tasks=1), tmp_path)
    bad = frame(spark, [record(2), record(3), record(4), b"\xff"])
    with pytest.raises(Exception, match=r"not the binary form of a chatpb.v1.CompletionRecord"):
        chatpb_spark.write_table(bad, tmp_path, append=True)
    assert [record(1)] == list(Dataset(tmp_path).records())
    assert 0 == Dataset(tmp_path).version()


def test_logs_are_read_by_file(spark: Any, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    for name, numbers in {"a": range(3), "b": range(3, 4), "c": range(4, 9)}.items():
        with LogWriter(tmp_path / "logs" / f"{name}.chatpb.zst") as log:
            for number in numbers:
                log.append(record(number))
    read = chatpb_spark.read_logs(spark, tmp_path / "logs")
    assert 3 == read.rdd.getNumPartitions()
    assert [record(number) for number in range(9)] == data_of(read)
    with pytest.raises(FileNotFoundError, match="there is no log"):
        chatpb_spark.read_logs(spark, tmp_path / "logs" / "none")


def test_logs_that_are_encrypted(spark: Any, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.touch(mode=0o600)
    keys.write_text(new_key())
    with LogWriter(tmp_path / "a.chatpb.zst", keys=keys) as log:
        log.append(record(1))
    assert [record(1)] == data_of(chatpb_spark.read_logs(spark, tmp_path, keys=keys))
    with pytest.raises(Exception, match=r"pass the file that has it: keys=FILE"):
        data_of(chatpb_spark.read_logs(spark, tmp_path))


def test_json_lines_are_read_in_splits(spark: Any, tmp_path: Path) -> None:
    lines = [json.dumps(completion(number)) for number in range(50)]
    path = tmp_path / "lines.jsonl"
    path.write_text("\r\n".join(lines) + "\n\n  \n", "utf-8")
    spark.conf.set("spark.sql.files.maxPartitionBytes", "16384")
    try:
        read = chatpb_spark.read_json_lines(spark, str(path))
        assert read.rdd.getNumPartitions() > 2
        texts = chatpb_spark.from_table(chatpb_spark.to_table(read))
        found = [CompletionRecord.FromString(data).completion.id for data in data_of(texts)]
    finally:
        spark.conf.unset("spark.sql.files.maxPartitionBytes")
    assert [f"c{number}" for number in range(50)] == found
    path.write_text("[]\n" + lines[0], "utf-8")
    left = chatpb_spark.read_json_lines(spark, str(path), errors="null")
    assert 1 == left.count()


def test_json_lines_that_are_compressed(spark: Any, tmp_path: Path) -> None:
    """Spark itself reads gzip, and refuses zstd."""
    texts = [json.dumps(completion(number)).encode() for number in range(9)]
    lines = tmp_path / "lines"
    lines.mkdir()
    (lines / "a.jsonl").write_bytes(b"\n".join(texts[:3]))
    (lines / "b.jsonl.gz").write_bytes(gzip.compress(b"\r\n".join(texts[3:6])))
    zst = lines / "c.jsonl.zst"
    frames = (b"\n".join(texts[6:8])[:-2], b"\n".join(texts[6:8])[-2:] + b"\n\n" + texts[8])
    zst.write_bytes(b"".join(map(zstandard.compress, frames)))
    (lines / "_hidden.jsonl").write_bytes(b"[]")
    expected = {f"c{number}" for number in range(9)}
    for path in (str(lines), f"file://{lines}", [str(file) for file in lines.glob("[a-c]*")]):
        read = chatpb_spark.read_json_lines(spark, path)
        found = [CompletionRecord.FromString(data).completion.id for data in data_of(read)]
        assert expected == set(found)
        assert 9 == len(found)
    assert 3 == chatpb_spark.read_json_lines(spark, str(zst)).count()
    zst.write_bytes(zst.read_bytes()[:-3])
    with pytest.raises(Exception, match=r"c\.jsonl\.zst: (cut|damaged) zstd"):
        chatpb_spark.read_json_lines(spark, str(zst)).count()


# Executors that die


def test_an_executor_that_is_killed_changes_nothing(spark: Any, tmp_path: Path) -> None:
    """It is killed while it has written a part of a task's records; nothing comes twice."""
    records = [record(number) for number in range(200)]
    report = tmp_path / "report"
    os.mkfifo(report)
    killed = []

    def kill() -> None:
        with open(report) as stream:
            killed.append(int(stream.readline()))
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    given = frame(spark, records).mapInArrow(hang_once(report, 2), "data binary")
    added = chatpb_spark.write_table(given, tmp_path / "table", row_group_rows=5, max_file_bytes=1)
    killer.join(LONG_TIMEOUT)
    assert killed
    assert not Path(f"/proc/{killed[0]}").exists()
    assert 200 == added.records
    assert records == list(Dataset(tmp_path / "table").records())
    assert {*added.parts, "_delta_log"} == files(tmp_path / "table")
    plain = chatpb_spark.write_table(
        frame(spark, records), tmp_path / "plain", row_group_rows=5, max_file_bytes=1
    )
    assert len(plain.parts) == len(added.parts)
    for one, other in zip(plain.parts, added.parts, strict=True):
        assert (tmp_path / "plain" / one).read_bytes() == (tmp_path / "table" / other).read_bytes()


def test_of_two_attempts_at_a_task_one_counts(spark: Any, tmp_path: Path) -> None:
    """Spark starts another attempt at a task that is slow; both write all of its records."""
    records = [record(number) for number in range(40)]
    go = tmp_path / "go"
    os.mkfifo(go)
    given = frame(spark, records).mapInArrow(wait_for_another(go, 2), "data binary")
    watch = threading.Timer(LONG_TIMEOUT, spark.sparkContext.cancelAllJobs)
    watch.start()
    added = chatpb_spark.write_table(given, tmp_path / "table")
    watch.cancel()
    assert 40 == added.records
    assert records == list(Dataset(tmp_path / "table").records())
    assert {*added.parts, "_delta_log"} <= files(tmp_path / "table")


def test_two_executors_work(spark: Any) -> None:
    """Each waits until the other has begun, so one alone would not end."""
    barrier = spark.range(0, 2, 1, 2).rdd.barrier()

    first, second = barrier.mapPartitions(meet).collect()
    assert len({first, second, os.getpid()}) == 3
