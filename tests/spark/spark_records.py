"""Records, and frames of them."""

from __future__ import annotations

import importlib
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from chatpb import from_json
from chatpb.v1 import CompletionRecord

pytest.importorskip("pyspark", reason="pyspark is not installed: make test-spark")
if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
    pytest.skip("there is no Java, which Spark runs on", allow_module_level=True)
chatpb_spark = importlib.import_module("chatpb.spark")

ROOT = Path(__file__).parents[2]
COMPLETION: dict[str, Any] = json.loads((ROOT / "examples" / "completion.json").read_text("utf-8"))
TASKS = 4


def completion(number: int) -> dict[str, Any]:
    return COMPLETION | {"id": f"c{number}", "created": number}


def record(number: int) -> bytes:
    made = CompletionRecord(
        completion=from_json(json.dumps(completion(number))),
        start_time_unix_us=1_750_000_000_000_000 + number,
        status=number % 2,
        labels={"number": str(number)},
    )
    return made.SerializeToString(deterministic=True)


def frame(spark: Any, records: Iterable[bytes], tasks: int = TASKS) -> Any:
    rows = [(bytes(data),) for data in records]
    return spark.createDataFrame(spark.sparkContext.parallelize(rows, tasks), "data binary")


def data_of(frame: Any) -> list[bytes]:
    return [bytes(row[0]) for row in frame.collect()]
