"""Spark on this machine: a driver in this process, and executors in processes of their own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

Batches = Iterable[pa.RecordBatch]

LOOPBACK = "127.0.0.1"
# Two names of this machine: Spark gives no host two attempts at a task.
WORKERS = (LOOPBACK, "127.0.0.2")
QUICK = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"  # to start, not to run for long
# What `make test-spark` got from Maven: Delta's package for Spark.
JARS = [str(path) for path in Path(sys.prefix, "spark-jars").glob("*.jar")]
SETTINGS = {
    "spark.driver.bindAddress": LOOPBACK,
    "spark.driver.extraJavaOptions": QUICK,
    "spark.driver.host": LOOPBACK,
    "spark.driver.memory": "512m",
    "spark.executor.extraJavaOptions": QUICK,
    "spark.executor.memory": "512m",
    "spark.jars": ",".join(JARS),
    "spark.speculation": "true",
    "spark.speculation.efficiency.enabled": "false",
    "spark.speculation.multiplier": "1.5",
    "spark.speculation.quantile": "0.75",
    "spark.sql.session.timeZone": "Asia/Kathmandu",  # no test depends on it
    "spark.sql.shuffle.partitions": "2",
    "spark.ui.enabled": "false",
}
if JARS:
    SETTINGS |= {
        "spark.databricks.delta.snapshotPartitions": "1",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    }
_MASTER = re.compile(r"spark://[0-9.]+:[0-9]+")


def environment(folder: Path, host: str = LOOPBACK) -> dict[str, str]:
    """The environment of Spark's processes, whose files go into a folder."""
    return {
        "PYTHONPATH": str(Path(__file__).parents[1]),  # of tasks, which find this module there
        "PYTHONWARNINGS": "ignore",
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "SPARK_DAEMON_JAVA_OPTS": QUICK,
        "SPARK_DAEMON_MEMORY": "128m",
        "SPARK_MASTER_OPTS": "-Dspark.master.rest.enabled=false",  # its port is always the same
        "SPARK_LOCAL_DIRS": str(folder),
        "SPARK_LOCAL_IP": host,
        "SPARK_PUBLIC_DNS": host,
    }


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """A master and two workers, each with one core for one executor; the address of the master."""
    with ExitStack() as stack:
        master = stack.enter_context(_daemon(folder, "master.Master", LOOPBACK))
        assert master.stderr is not None
        lines = iter(master.stderr.readline, "")
        url = next(found[0] for line in lines if (found := _MASTER.search(line)))
        drain = threading.Thread(target=list, args=(lines,))
        stack.callback(drain.join)
        stack.callback(master.terminate)
        drain.start()
        for number, host in enumerate(WORKERS):
            options = ("--cores", "1", "--memory", "600m", "--work-dir", f"{folder}/{number}", url)
            stack.enter_context(_daemon(folder, "worker.Worker", host, *options))
        yield url


@contextmanager
def _daemon(folder: Path, name: str, host: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A process of a cluster, which ends with the block; what a master logs is to be read."""
    from pyspark.find_spark_home import _find_spark_home

    command = [f"{_find_spark_home()}/bin/spark-class", f"org.apache.spark.deploy.{name}"]
    command += ["--host", host, "--port", "0", "--webui-port", "0", *options]
    env = os.environ | environment(folder, host)
    log = subprocess.DEVNULL if options else subprocess.PIPE
    with subprocess.Popen(command, env=env, stderr=log, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


@contextmanager
def session(folder: Path, master: str) -> Iterator[Any]:
    """A session on a cluster; the one at this time."""
    from pyspark.sql import SparkSession

    os.environ.update(environment(folder))
    builder = SparkSession.builder.master(master)
    for key, value in SETTINGS.items():
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


def wait_for_another(go: Path, task: int) -> Callable[[Batches], Iterator[pa.RecordBatch]]:
    """Passes records on; the first attempt at a task waits half-way until another is at the end."""

    def passed(batches: Batches) -> Iterator[pa.RecordBatch]:
        from pyspark import TaskContext

        context = TaskContext.get()
        assert context is not None
        attempt = context.attemptNumber() if context.partitionId() == task else None
        for batch in batches:
            half = batch.num_rows // 2
            yield batch.slice(0, half)
            if attempt == 0:
                go.read_bytes()
            yield batch.slice(half)
        if attempt == 1:
            go.write_bytes(b"go")

    return passed
