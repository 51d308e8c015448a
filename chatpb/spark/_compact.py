"""The input of a job that compacts, in parts for tasks, and what the table has of it already."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import pyarrow as pa
from google.protobuf.message import Message
from pyspark.sql import SparkSession

from chatpb import _endings
from chatpb._compressed import Opened
from chatpb._errors import ConversionError
from chatpb._known import PREFIX, Known, log_id, proofs_of
from chatpb._mapping.convert import json_to_binary
from chatpb._record import record_of
from chatpb.log import SUFFIX, LogReader, Position, header
from chatpb.spark._column import Errors, check
from chatpb.spark._source import find, warn
from chatpb.spark._write import write
from chatpb.table import Added, Dataset, DatasetConflictError, DatasetWriter
from chatpb.v1.chat_completion_pb2 import ChatCompletion

LINES: Final = _endings.compressible(_endings.JSON_LINES)
_SPLIT_BYTES: Final = 128 << 20  # of a file of JSON lines that is not compressed
_ATTEMPTS: Final = 3  # while other processes add the same input
_logger: Final = logging.getLogger(__name__)


class _Work(Protocol):
    """A part of the input."""

    def write(self, writer: DatasetWriter) -> Mapping[str, int]:
        """Writes its records, and returns the app transactions that this makes."""
        ...


@dataclass(frozen=True)
class _Log:
    """A log from where the table has it to."""

    path: str
    file_id: str
    start: tuple[int, int] | None
    keys: str | None

    def write(self, writer: DatasetWriter) -> Mapping[str, int]:
        start = None if self.start is None else Position(Path(self.path), *self.start)
        following = start
        with LogReader(self.path, start=start, on_damage=warn, keys=self.keys) as reader:
            for data, position in reader:
                writer.write(data)
                following = position.next
        if following is None or following == start:
            return {}
        known = Known({})
        if self.start is not None:  # so that the index is noted if it becomes 0
            known.take_log(self.file_id, *self.start)
        known.take_log(self.file_id, following.frame_offset, following.index)
        return known.taken()


@dataclass(frozen=True)
class _Lines:
    """The JSON lines that begin in a range of a file, or all of a compressed one."""

    path: str
    start: int
    end: int
    message_type: type[Message]
    errors: Errors

    def write(self, writer: DatasetWriter) -> Mapping[str, int]:
        for line in self._lines():
            if not line.strip():
                continue
            try:
                data = record_of([(self.message_type, json_to_binary(line, self.message_type))])
            except ConversionError as error:
                if self.errors == "raise":
                    raise _in_file(error, self.path) from None
                continue
            writer.write(data, len(line))
        return {}

    def _lines(self) -> Iterator[bytes]:
        with open(self.path, "rb") as stream:
            if self.end == 0:
                yield from Opened(self.path, stream, ConversionError).lines()
                return
            if self.start:
                stream.seek(self.start - 1)
                stream.readline()  # of the range before, unless it ends right there
            while stream.tell() < self.end and (line := stream.readline()):
                yield line


def _in_file(error: ConversionError, path: str) -> ConversionError:
    return ConversionError(f"{error.reason} (a line of {path})", error.path, error.offset)


def compact(
    spark: SparkSession,
    path: str | os.PathLike[str],
    table: str | os.PathLike[str],
    message_type: type[Message] = ChatCompletion,
    *,
    errors: Errors = "raise",
    keys: str | os.PathLike[str] | None = None,
    storage_options: Mapping[str, str] | None = None,
    **options: Any,
) -> Added:
    """Adds logs and JSON lines to a table, all or nothing, and nothing twice.

    Input that is in the table already, by this or by ``chatpb compact``, is recognised, even if it
    was moved: only what logs and files of JSON lines have grown by is added.

    Args:
        spark: The session.
        path: A log or a file of JSON lines, or a directory with such files anywhere below it, which
            the driver and all executors see.
        table: As for `write_table`. It is created if there is none.
        message_type: What the JSON lines are.
        errors: What happens to a line that is not a JSON object: as for `read_json_lines`.
        keys: The file of keys of logs that are encrypted, which all executors see.
        storage_options: As for `write_table`.
        **options: Of the files, as for `chatpb.table.Dataset.writer`.

    Raises:
        FileNotFoundError: There is no input.
        chatpb.table.DatasetError: The table cannot be added to.
    """
    check(errors)
    logs = find(path, (SUFFIX,))
    lines = [os.path.abspath(path)] if os.path.isfile(path) and not logs else find(path, LINES)
    if not logs and not lines:
        endings = ", ".join(f"*{ending}" for ending in (SUFFIX, *LINES))
        raise FileNotFoundError(f"{os.fspath(path)}: there are no logs or JSON lines ({endings})")
    uri = table if isinstance(table, str) and "://" in table else Path(table).absolute()
    dataset = Dataset(uri, storage_options)
    keys_path = None if keys is None else os.path.abspath(keys)
    for attempt in range(_ATTEMPTS):
        try:
            with dataset.writer(**options) as writer:
                before = writer.taken_before(PREFIX)
                work = _of_logs(logs, Known(before), keys_path)
                known, more = _of_lines(spark, lines, before, message_type, errors)
                work += more
                if work:
                    rows = spark.range(0, len(work), 1, len(work))
                    write(rows, dataset, writer, _filler(work), options)
                writer.taken |= known.taken()
                writer.input = known.new_files()
            break
        except DatasetConflictError:
            if attempt == _ATTEMPTS - 1:
                raise
            _logger.warning("another process has added some of the input: reading again")
    return writer.added


def _filler(work: Sequence[_Work]) -> Any:
    def fill(writer: DatasetWriter, batches: Iterable[pa.RecordBatch]) -> Mapping[str, int]:
        taken: dict[str, int] = {}
        for batch in batches:
            for number in batch.column(0):
                taken |= work[number.as_py()].write(writer)
        return taken

    return fill


def _of_logs(paths: Sequence[str], known: Known, keys: str | None) -> list[_Work]:
    work: list[_Work] = []
    for path in paths:
        if os.path.getsize(path):
            file_id = log_id(path, header(path).file_id)
            work.append(_Log(path, file_id, known.log(file_id), keys))
    return work


def _of_lines(
    spark: SparkSession,
    paths: Sequence[str],
    before: Mapping[str, int],
    message_type: type[Message],
    errors: Errors,
) -> tuple[Known, list[_Work]]:
    """What is to be read of files, and what the table has then. Tasks compute the digests."""
    known = Known(before)
    files = [(path, os.path.getsize(path), _is_compressed(path)) for path in paths]
    files = [file for file in files if file[1]]
    ends = {path: known.ends(path, whole=whole) for path, _, whole in files}
    proofs = _proofs(spark, {path: sorted({*ends[path], size}) for path, size, _ in files})
    known = Known(before, lambda path, ends, _: {end: proofs[path][end] for end in ends})
    work: list[_Work] = []
    for path, size, whole in files:
        met = known.meet(path, whole=whole)
        start = 0 if met is None else met[1]
        if start == size:
            continue
        if met is None:
            known.take(path, size)
        else:
            known.take_more(path, size)
        if whole:
            work.append(_Lines(path, 0, 0, message_type, errors))
            continue
        for at in range(start, size, _SPLIT_BYTES):
            end = min(at + _SPLIT_BYTES, size)
            work.append(_Lines(path, at, end, message_type, errors))
    return known, work


def _is_compressed(path: str) -> bool:
    with open(path, "rb") as stream:
        return Opened(path, stream, ConversionError).is_compressed


def _proofs(
    spark: SparkSession, ends: Mapping[str, Sequence[int]]
) -> dict[str, Mapping[int, tuple[int, int]]]:
    if not ends:
        return {}
    given = spark.sparkContext.parallelize(list(ends.items()), len(ends))
    return dict(given.map(lambda file: (file[0], proofs_of(*file))).collect())
