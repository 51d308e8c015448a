"""The job that compacts logs or JSON lines to a table."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

import chatpb.v1 as schema
from chatpb._pairs import key_and_value
from chatpb.spark._compact import compact
from chatpb.table import DatasetError

_KINDS: Final = {
    "completion": schema.ChatCompletion,
    "request": schema.ChatCompletionRequest,
    "error": schema.ErrorResponse,
}
_GATEWAY: Final = "PYSPARK_GATEWAY_PORT"  # which spark-submit sets
_RAISED: Final = re.compile(r"(?:\w+\.)*\w*Error: ")
_HELP: Final = """\
Compact logs or JSON lines to a table, on Spark.

  python -m chatpb.spark logs/ table/                   every *.chatpb.zst below logs/
  python -m chatpb.spark responses.jsonl table/         JSON lines, of completions
  python -m chatpb.spark logs/ s3://bucket/table        the same to an object store
  python -m chatpb.spark --errors null lines/ table/    leave out lines that are not JSON objects

  spark-submit --master spark://10.0.0.1:7077 \\
    "$(python -c 'import chatpb.spark.__main__ as job; print(job.__file__)')" /mnt/logs /mnt/table

A task reads one log, or one part of a file of lines. The driver and the executors see both paths
under the same names. All is added to the table, or nothing, whatever becomes of executors
meanwhile; and nothing twice: what is in the table already is recognised, even if it was moved."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs the job and exits: 0 all is well, 1 the data is wrong, 2 the command line is."""
    options = _parser().parse_args(arguments)
    if _GATEWAY not in os.environ and (options.master or "local").startswith("local"):
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # else it would be any python3
    builder = SparkSession.builder.appName("chatpb")
    for key, value in options.conf:
        builder = builder.config(key, value)
    if options.master:
        builder = builder.master(options.master)
    try:
        is_ours = SparkSession.getActiveSession() is None
        session = builder.getOrCreate()
        try:
            added = compact(
                session,
                options.input,
                options.dataset,
                _KINDS[options.kind],
                errors=options.errors,
                keys=options.keys,
                storage_options=dict(options.storage_option),
                partition_by=options.partition_by,
            )
        finally:
            if is_ours:
                session.stop()
    except (DatasetError, OSError) as error:
        sys.exit(_tell(str(error)))
    except PySparkException as error:
        sys.exit(_tell(_reason(error)))
    if added.records:
        ratio = added.table_bytes / max(added.json_bytes, 1)
        print(
            f"{added.records:,} records in {len(added.parts):,} files,"
            f" {added.table_bytes:,} bytes, {ratio:.1%} of their JSON"
        )
    else:
        print("nothing new")
    sys.exit(0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="chatpb.spark",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("input", metavar="INPUT", help="a file, or a directory")
    parser.add_argument(
        "dataset", metavar="DATASET", help="the table: a directory, or a URI such as s3://bucket/a"
    )
    parser.add_argument(
        "--partition-by",
        choices=("day", "month", "model", "caller"),
        help="which records share a file; a table keeps what it was created with",
    )
    parser.add_argument(
        "--storage-option",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        type=_setting,
        help="what the object store needs, as delta-rs names it; else the environment says it",
    )
    parser.add_argument(
        "--kind", choices=_KINDS, default="completion", help="what JSON lines are (completion)"
    )
    parser.add_argument(
        "--errors",
        choices=("raise", "null"),
        default="raise",
        help="for a line that is not a JSON object: fail the job, or leave it out (raise)",
    )
    parser.add_argument(
        "--keys",
        metavar="FILE",
        default=os.environ.get("CHATPB_LOG_KEYS"),
        help="the keys of logs that are encrypted, as a file that all executors see"
        " (CHATPB_LOG_KEYS)",
    )
    parser.add_argument("--master", metavar="URL", help="where Spark runs, if not by spark-submit")
    parser.add_argument(
        "--conf",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        type=_setting,
        help="a setting of Spark",
    )
    return parser


def _setting(text: str) -> tuple[str, str]:
    try:
        return key_and_value(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _reason(error: PySparkException) -> str:
    """The error of a task, without the stacks of Python and of the JVM."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    raised = [line for line in lines if _RAISED.match(line)]
    return _RAISED.sub("", raised[0]) if raised else lines[0]


def _tell(text: str) -> int:
    print("chatpb.spark: error:", " ".join(text.split()), file=sys.stderr)
    return 1
