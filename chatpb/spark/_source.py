"""Logs and JSON lines, read by Spark as records."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa
from google.protobuf.message import Message
from pyspark.sql import DataFrame, SparkSession

from chatpb._compressed import Opened
from chatpb._errors import ConversionError
from chatpb._mapping.convert import json_to_binary
from chatpb._record import holds, record_of
from chatpb.log import SUFFIX, Damage, read
from chatpb.spark._column import (
    DATA_DDL,
    Errors,
    as_bytes,
    check,
    converted,
    data_batch,
    local,
    slices,
)
from chatpb.v1.chat_completion_pb2 import ChatCompletion

_logger: Final = logging.getLogger(__name__)
_ZSTD: Final = ".zst"


def read_logs(
    spark: SparkSession,
    path: str | os.PathLike[str],
    *,
    keys: str | os.PathLike[str] | None = None,
) -> DataFrame:
    """The records of logs, in the column ``data``; one task for each file.

    The tail of a log that is still being written may be torn: it is left out, with a warning.

    Args:
        spark: The session.
        path: A log, or a directory with logs anywhere below it, which all executors see.
        keys: The file of keys of logs that are encrypted, which all executors see.

    Raises:
        FileNotFoundError: There is none.
        chatpb.log.LogKeyError: A key is missing; the job fails with its text.
        chatpb.log.DamagedLogError: A log is damaged; the job fails with its text.
    """
    files = find(path, (SUFFIX,))
    if not files:
        raise FileNotFoundError(f"{os.fspath(path)}: there is no log (*{SUFFIX})")

    # The jobs get the path of the file, and no key.
    keys_path = None if keys is None else os.path.abspath(keys)

    def records(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0):
                with read(files[number.as_py()], on_damage=warn, keys=keys_path) as entries:
                    for some in slices(entry.data for entry in entries):
                        yield data_batch(some)

    numbers = spark.range(0, len(files), 1, len(files))
    return numbers.mapInArrow(records, DATA_DDL)


def read_json_lines(
    spark: SparkSession,
    path: str | list[str],
    message_type: type[Message] = ChatCompletion,
    *,
    errors: Errors = "raise",
) -> DataFrame:
    """JSON lines as records that hold one message each, in the column ``data``.

    Args:
        spark: The session.
        path: Files or directories, as Spark takes them; it splits large files that are not
            compressed. Spark reads gzip, but zstd only with a library of Hadoop that it does not
            bring: files whose names end in ``.zst`` are read here, one task for each, and all
            executors must see them.
        message_type: What the lines are: a type that a record has one field of.
        errors: What happens to a line that is not a JSON object: as for `from_json`; with
            ``null`` it is left out.
    """
    check(errors)
    if not holds(message_type):
        raise ValueError(f"a record has no field of type {message_type.DESCRIPTOR.full_name}")

    def record(line: bytes) -> bytes | None:
        if not line.strip():
            return None
        return record_of([(message_type, json_to_binary(line, message_type))])

    def convert(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield data_batch(converted(batch.column(0), errors, record).drop_null())

    others, files = _apart([path] if isinstance(path, str) else path)
    frames: list[DataFrame] = []
    if others or not files:
        lines = spark.read.option("lineSep", "\n").text(others)
        frames.append(lines.select(as_bytes("value")).mapInArrow(convert, DATA_DDL))
    if files:

        def convert_files(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for batch in batches:
                for number in batch.column(0):
                    name = files[number.as_py()]
                    with open(name, "rb") as stream:
                        for some in slices(Opened(name, stream, ConversionError).lines()):
                            yield from convert([data_batch(some)])

        numbers = spark.range(0, len(files), 1, len(files))
        frames.append(numbers.mapInArrow(convert_files, DATA_DDL))
    return functools.reduce(DataFrame.union, frames)


def _apart(paths: list[str]) -> tuple[list[str], list[str]]:
    """What Spark reads, and the files of this machine that are compressed with zstd."""
    others: list[str] = []
    files: list[str] = []
    for path in paths:
        top = Path(path.removeprefix("file://") if path.startswith("file:///") else path)
        below = sorted(top.iterdir()) if top.is_dir() else [top]
        ours = [str(file.absolute()) for file in below if file.name.endswith(_ZSTD)]
        files += [file for file in ours if os.path.isfile(file)]
        if not any(map(os.path.isfile, ours)):
            others.append(path)
        elif top.is_dir():  # as Spark, which skips hidden files
            rest = (file for file in below if not file.name.endswith(_ZSTD))
            others += [local(file) for file in rest if file.is_file() and file.name[0] not in "._"]
    return others, files


def find(path: str | os.PathLike[str], endings: tuple[str, ...]) -> list[str]:
    """The files below a directory whose names end so, in order; or the file itself, if it does."""
    top = Path(path).absolute()
    files = [top] if top.is_file() else sorted(top.rglob("*"))
    return [str(file) for file in files if file.name.endswith(endings)]


def warn(damage: Damage) -> None:
    """Notes what cannot be read and is left out, such as a torn tail."""
    _logger.warning("left out: %s", damage)
