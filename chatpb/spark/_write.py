"""How a Spark job adds to a table: any number of attempts, one commit."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from pyspark import TaskContext
from pyspark.sql import DataFrame, Row

from chatpb.table import Added, Dataset, DatasetError, _commit

_ATTEMPTS: Final = "_attempts-"  # hidden from those who read the table
_RESULT: Final = (
    "task int, attempt string, records long, json_bytes long, table_bytes long,"
    " parts map<string, string>"
)


def write(records: DataFrame, folder: Path, append: bool, options: Mapping[str, Any]) -> Added:
    """Adds records to a table, see `chatpb.spark.write_table`.

    Args:
        records: A column of records in binary form.
        folder: The directory of the table.
        append: Whether there may be a table.
        options: Those of `Dataset.writer`.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with _commit.locked(folder):
        if not append and _commit.snapshot(folder)[1]:
            raise DatasetError(folder, "there is a table already; append=True adds to it")
        for left in folder.glob(f"{_ATTEMPTS}*"):  # by a driver that was killed
            shutil.rmtree(left, ignore_errors=True)
        attempts = folder / f"{_ATTEMPTS}{uuid.uuid4().hex[:8]}"
        attempts.mkdir()
        try:
            # A row for each task whatever became of its other attempts: Spark sees to that.
            tasks = records.mapInArrow(_attempt(attempts, options), _RESULT).collect()
            return _commit_winners(folder, attempts, sorted(tasks, key=lambda task: task.task))
        finally:
            # An attempt that nobody waits for may still be writing: what it leaves is swept later.
            shutil.rmtree(attempts, ignore_errors=True)


def _attempt(attempts: Path, options: Mapping[str, Any]) -> Any:
    """The work of a task: writes a table of its own, and reports what is in it."""

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        context = TaskContext.get()
        assert context is not None
        task, name = context.partitionId(), str(context.taskAttemptId())
        records = (data.as_py() for batch in batches for data in batch.column(0).drop_null())
        added = Dataset(attempts / name).append(records, **options)
        if added.records:
            parts = _commit.read_commit(attempts / name).parts
            result = asdict(added) | {"task": task, "attempt": name, "parts": list(parts.items())}
            yield pa.RecordBatch.from_pylist([result], schema=_SCHEMA)

    return run


_SCHEMA: Final = pa.schema(
    [
        ("task", pa.int32()),
        ("attempt", pa.string()),
        ("records", pa.int64()),
        ("json_bytes", pa.int64()),
        ("table_bytes", pa.int64()),
        ("parts", pa.map_(pa.string(), pa.string())),  # the digest of each, by its name
    ]
)


def _commit_winners(folder: Path, attempts: Path, tasks: Sequence[Row]) -> Added:
    """Commits what the attempts wrote that Spark counts, in the order of the tasks."""
    prefix = f"part-{_commit.next_generation(folder):06}-{uuid.uuid4().hex[:8]}"
    staging = folder / _commit.STAGING
    staging.mkdir(exist_ok=True)
    parts: dict[str, str] = {}
    for task in tasks:
        for name, digest in sorted(task.parts.items()):
            place = f"{prefix}-{len(parts):05}.parquet"
            os.rename(attempts / task.attempt / name, staging / place)
            parts[place] = digest
    _commit.commit(folder, parts, _commit.read_commit(folder).sources)
    records, json_bytes, table_bytes = (
        sum(task[count] for task in tasks) for count in ("records", "json_bytes", "table_bytes")
    )
    return Added(records, json_bytes, table_bytes, tuple(parts))
