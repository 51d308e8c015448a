"""The job that compacts on Spark, and the examples of the docs."""

from __future__ import annotations

import importlib
import json
import math
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import zstandard

from chatpb import from_json
from chatpb.log import LogWriter
from chatpb.table import Dataset, DatasetError
from chatpb.v1 import CompletionRecord
from spark.spark_records import (
    COMPLETION,
    ROOT,
    TASKS,
    chatpb_spark,
    completion,
    data_of,
    frame,
    record,
)
from spark.spark_session import SETTINGS, environment
from support import object_store
from support.limits import LONG_TIMEOUT

main = importlib.import_module("chatpb.spark._job").main

pytestmark = pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas")

PYTHONS = ("PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON")


def run(*command: object, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=LONG_TIMEOUT,
        env={name: value for name, value in os.environ.items() if name not in PYTHONS} | variables,
        cwd=ROOT,
    )


def conf() -> list[str]:
    return [part for pair in SETTINGS.items() for part in ("--conf", "=".join(pair))]


def test_the_job_compacts_logs_and_lines(tmp_path: Path) -> None:
    given, table = tmp_path / "given", tmp_path / "table"
    (given / "logs").mkdir(parents=True)
    with LogWriter(given / "logs" / "a.chatpb.zst") as log:
        for number in range(5):
            log.append(record(number))
    lines = [json.dumps(completion(number)) for number in range(5, 9)]
    (given / "b.jsonl").write_text("\n".join(lines), "utf-8")
    expected = [record(number) for number in range(5)]
    expected += [CompletionRecord(completion=from_json(line)).SerializeToString() for line in lines]

    job = (sys.executable, "-m", "chatpb.spark", "--master", "local[2]", *conf())
    variables = environment(tmp_path / "spark")
    pythons = {name: variables.pop(name) for name in PYTHONS}
    done = run(*job, given, table, **variables)
    assert (0, "9 records in 2 files") == (done.returncode, done.stdout[:20]), done.stderr
    assert sorted(expected) == sorted(Dataset(table).records())

    script = ROOT / "chatpb" / "spark" / "__main__.py"
    submit = Path(sys.executable).with_name("spark-submit")
    with open(given / "b.jsonl", "a", encoding="utf-8") as stream:
        stream.write("\n" + json.dumps(completion(9)) + "\n")
    with LogWriter(given / "logs" / "a.chatpb.zst") as log:
        log.append(record(10))
    expected += [
        CompletionRecord(completion=from_json(json.dumps(completion(9)))).SerializeToString()
    ]
    expected += [record(10)]
    done = run(
        submit, "--master", "local[2]", *conf(), script, given, table, **variables, **pythons
    )
    assert (0, "2 records in 2 files") == (done.returncode, done.stdout[:20]), done.stderr
    assert sorted(expected) == sorted(Dataset(table).records())
    done = run(Path(sys.executable).with_name("chatpb"), "compact", given, table)
    assert (0, "nothing new\n") == (done.returncode, done.stdout), done.stderr


def test_nothing_is_added_twice(spark: Any, tmp_path: Path) -> None:
    """Neither by Spark nor by ``chatpb compact``, in whatever order, also what was moved."""
    given, table = tmp_path / "given", tmp_path / "table"
    given.mkdir()
    with LogWriter(given / "a.chatpb.zst") as log:
        log.append(record(0))
    lines = given / "b.jsonl"
    lines.write_text("".join(json.dumps(completion(n)) + "\n" for n in (1, 2)), "utf-8")
    zst = given / "c.jsonl.zst"
    zst.write_bytes(zstandard.compress(json.dumps(completion(3)).encode()))
    command = (Path(sys.executable).with_name("chatpb"), "compact", given, table)
    assert 0 == run(*command).returncode
    assert 0 == chatpb_spark.compact(spark, given, table).records
    given = given.rename(tmp_path / "moved")
    with LogWriter(given / "a.chatpb.zst") as log:
        log.append(record(4))
    with open(given / "b.jsonl", "a", encoding="utf-8") as stream:
        stream.write(json.dumps(completion(5)))
    (given / "d.jsonl").write_text(json.dumps(completion(6)), "utf-8")
    assert 3 == chatpb_spark.compact(spark, given, table).records
    version = Dataset(table).version()
    assert 0 == chatpb_spark.compact(spark, given, table).records
    done = run(command[0], "compact", given, table)
    assert (0, "nothing new\n") == (done.returncode, done.stdout), done.stderr
    assert version == Dataset(table).version()
    found = [CompletionRecord.FromString(data).completion.id for data in Dataset(table).records()]
    assert [f"c{number}" for number in range(7)] == sorted(found)


def test_lines_are_read_in_parts(spark: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("chatpb.spark._compact._SPLIT_BYTES", 1_000)
    path = tmp_path / "lines.jsonl"
    path.write_text("\r\n".join(json.dumps(completion(n)) for n in range(30)), "utf-8")
    added = chatpb_spark.compact(spark, path, tmp_path / "table")
    assert len(added.parts) > 2
    found = Dataset(tmp_path / "table").records()
    ids = [CompletionRecord.FromString(data).completion.id for data in found]
    assert [f"c{number}" for number in range(30)] == ids


def test_a_batch_is_added_once(spark: Any, tmp_path: Path) -> None:
    def add(number: int) -> int:
        given = frame(spark, [record(number)], tasks=1)
        taken = {"stream": number}
        added = chatpb_spark.write_table(given, tmp_path, append=True, taken=taken)
        return len(added.parts)

    assert [1, 0, 1, 0] == [add(number) for number in (1, 1, 2, 1)]
    assert [record(1), record(2)] == list(Dataset(tmp_path).records())


def test_a_table_is_read_as_it_was(spark: Any, tmp_path: Path) -> None:
    table = Dataset(tmp_path)
    table.append([record(0)])
    then = datetime.now(UTC)
    table.append([record(1)])
    for version, count in ((None, 2), (1, 2), (0, 1), (then, 1)):
        assert count == chatpb_spark.read_table(spark, tmp_path, version=version).count()
    with pytest.raises(DatasetError, match="there is no version 7, only 1"):
        chatpb_spark.read_table(spark, tmp_path, version=7)
    with pytest.raises(DatasetError, match="has no zone"):
        chatpb_spark.read_table(spark, tmp_path, version=then.replace(tzinfo=None))


def test_a_table_on_an_object_store(spark: Any) -> None:
    records = [record(number) for number in range(8)]
    with object_store.served() as url:
        table, options = f"s3://{object_store.BUCKET}/table", object_store.options(url)
        added = chatpb_spark.write_table(frame(spark, records), table, storage_options=options)
        assert (8, TASKS) == (added.records, len(added.parts))
        rows = chatpb_spark.read_table(spark, table, storage_options=options)
        assert sorted(records) == sorted(data_of(chatpb_spark.from_table(rows)))
        few = chatpb_spark.read_table(
            spark, table, columns=["id", "messages"], storage_options=options
        )
        assert ["c7"] == [row.id for row in few.filter("id = 'c7'").collect()]


@pytest.mark.parametrize(
    ("given", "error"),
    [
        pytest.param("[]\n", "$ (byte 0): expected an object, got an array", id="bad line"),
        pytest.param(None, "there are no logs or JSON lines (*.chatpb.zst,", id="no input"),
    ],
)
def test_the_job_tells_what_is_wrong_in_one_line(
    spark: Any,  # noqa: ARG001 (the job uses it)
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    given: str | None,
    error: str,
) -> None:
    path = tmp_path / "given.jsonl"
    if given is not None:
        path.write_text(given, "utf-8")
    with pytest.raises(SystemExit) as ended:
        main([str(path), str(tmp_path / "table")])
    assert 1 == ended.value.code
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("chatpb.spark: error: ")
    assert error in line


def test_the_examples_of_the_docs_run(spark: Any, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    with LogWriter(tmp_path / "logs" / "a.chatpb.zst") as log:
        for number in range(6):
            log.append(record(number))
    lines = [json.dumps(completion(number)) for number in range(3)]
    (tmp_path / "responses.jsonl").write_text("\n".join(lines), "utf-8")
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "spark.md").read_text(), re.DOTALL)
    names = {"spark": spark}
    exec("\n".join(blocks).replace("/mnt/", f"{tmp_path}/"), names)
    assert [6, 6, 3] == [names[name] for name in ("written", "kept", "converted")]
    assert 6 == len(names["contents"])
    queries = re.findall(r"```sql\n(.*?)```", (ROOT / "docs" / "spark.md").read_text(), re.DOTALL)
    tokens, latency, phrase, turns, perplexity = (spark.sql(text).collect() for text in queries)
    total = COMPLETION["usage"]["total_tokens"]
    assert [6 * total] == [row.tokens for row in tokens]
    assert [None] == [row.upstream for row in latency]
    [choice] = COMPLETION["choices"]
    answer = choice["message"]["content"]
    ids = [f"c{number}" for number in range(6)]
    assert [(each, None, answer) for each in ids] == [tuple(row) for row in turns]
    assert "Hello" not in answer or ids == [row.id for row in phrase]
    values = [token["logprob"] for token in choice["logprobs"]["content"]]
    mean = sum(values) / len(values)
    assert [(each, 0, pytest.approx(mean)) for each in ids] == [
        tuple(row)[:3] for row in perplexity
    ]
    assert pytest.approx(math.exp(-mean)) == perplexity[0].perplexity


def test_the_job_teaches_by_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "python -m chatpb.spark logs/ table/" in capsys.readouterr().out
