"""Spark on this machine: a driver in this process, and executors in processes of their own."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

Batches = Iterable[pa.RecordBatch]

LOOPBACK = "127.0.0.1"
SETTINGS = {
    "spark.driver.bindAddress": LOOPBACK,
    "spark.driver.host": LOOPBACK,
    "spark.driver.memory": "512m",
    "spark.executor.memory": "512m",
    "spark.sql.session.timeZone": "Asia/Kathmandu",  # no test depends on it
    "spark.sql.shuffle.partitions": "2",
    "spark.ui.enabled": "false",
}
CLUSTER = "local-cluster[2,1,512]"  # two workers, each with one core for one executor


def environment(folder: Path) -> dict[str, str]:
    """The environment of Spark's processes, whose files go into a folder."""
    return {
        "PYTHONPATH": str(Path(__file__).parent),  # of tasks, which find this module there
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "SPARK_LOCAL_DIRS": str(folder),
        "SPARK_LOCAL_IP": LOOPBACK,
        "PYTHONWARNINGS": "ignore",
    }


@contextmanager
def session(folder: Path, master: str = CLUSTER, **settings: str) -> Iterator[Any]:
    """A session; the one at this time."""
    from pyspark.sql import SparkSession

    os.environ.update(environment(folder))
    builder = SparkSession.builder.master(master)
    for key, value in (SETTINGS | settings).items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("OFF")  # tasks fail here on purpose
    try:
        yield spark
    finally:
        spark.stop()
        gateway = spark.sparkContext._gateway
        if gateway is not None:
            gateway.shutdown()


def executor_of_this_worker() -> int:
    """The process of the executor that a task runs for: a JVM forks a daemon, that workers."""
    stat = Path(f"/proc/{os.getppid()}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])


def meet(_: Any) -> Iterator[int]:
    """A task of a barrier stage, which ends when all have begun; gives its executor."""
    from pyspark import BarrierTaskContext

    BarrierTaskContext.get().barrier()
    yield executor_of_this_worker()


def hang_once(report: Path, task: int) -> Callable[[Batches], Iterator[pa.RecordBatch]]:
    """Passes records on; the first attempt at a task reports its executor, and hangs half-way."""

    def passed(batches: Batches) -> Iterator[pa.RecordBatch]:
        from pyspark import TaskContext

        context = TaskContext.get()
        assert context is not None
        first = (context.partitionId(), context.attemptNumber()) == (task, 0)
        for batch in batches:
            half = batch.num_rows // 2
            yield batch.slice(0, half)
            if first:
                with open(report, "w") as stream:
                    stream.write(f"{executor_of_this_worker()}\n")
                signal.pause()
            yield batch.slice(half)

    return passed
