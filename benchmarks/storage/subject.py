"""The forms of chatpb: the log, the table, and delimited messages."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow.compute
import zstandard

import chatpb.v1
from chatpb import binary_to_json, json_to_binary
from chatpb._wire import embedded, field_at
from chatpb.log import LogReader, LogWriter
from chatpb.table import Dataset
from chatpb.v1 import CompletionRecord
from storage.inputs import CHUNK, EXCHANGE, records

_NUMBERS: Final = {
    field.message_type.name: field.number
    for field in CompletionRecord.DESCRIPTOR.fields
    if field.message_type
}


class Converter:
    """JSON lines of one kind to records in binary form, and back.

    Args:
        kind: The name of the message type of a line.
    """

    def __init__(self, kind: str) -> None:
        self._type: Any = getattr(chatpb.v1, kind)
        self._kind = kind
        self._number = _NUMBERS[kind]
        binary_to_json(json_to_binary(b"{}", self._type), self._type)  # compiles what it needs

    def read(self, source: Path) -> Iterator[tuple[bytes, int]]:
        """The records of JSON lines, and how long the lines of each are."""
        return self.convert(records(source, self._kind))

    def convert(self, groups: Iterable[list[bytes]]) -> Iterator[tuple[bytes, int]]:
        """The records of lines that belong together, and how long these are."""
        for lines in groups:
            data = embedded(self._number, [json_to_binary(line, self._type) for line in lines])
            yield data, sum(map(len, lines))

    def write(self, found: Iterable[bytes], target: Path) -> None:
        """Writes the JSON lines of records."""
        with target.open("wb") as file:
            for record in found:
                end = 0
                while end < len(record):
                    _, start, end = field_at(record, end)
                    file.write(binary_to_json(record[start:end], self._type) + b"\n")


class Delimited:
    """Messages, each with its length before it, compressed with zstd -3 as a whole."""

    def __init__(self, kind: str) -> None:
        self._converter = Converter(kind)

    def write(self, source: Path, target: Path) -> None:
        """JSON lines to the form."""
        compressor = zstandard.ZstdCompressor(level=3, threads=0)
        with target.open("wb") as file, compressor.stream_writer(file) as out:
            for record, _ in self._converter.read(source):
                out.write(embedded(1, [record])[1:])  # the length, and the record

    def read(self, source: Path, target: Path) -> None:
        """The form to JSON lines."""
        with source.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as reader:
            self._converter.write(_delimited(reader), target)


class Table:
    """The table, as `Dataset` writes it with all defaults except the level of zstd.

    Args:
        kind: The name of the message type of a line.
        level: That level.
    """

    def __init__(self, kind: str, level: int = 3) -> None:
        self._kind = kind
        self._level = level
        if kind == EXCHANGE:  # imports what the command needs
            from chatpb._cli.app import app

            self._app = app
            return
        self._converter = Converter(kind)
        self._type: Any = getattr(chatpb.v1, kind)

    def write(self, source: Path, target: Path) -> None:
        """JSON lines to the form."""
        if self._kind == EXCHANGE:
            arguments = ["compact", "--level", str(self._level), str(source), str(target)]
            try:
                self._app(arguments)
            except SystemExit as end:
                if end.code:
                    raise RuntimeError(f"chatpb compact: exit code {end.code}") from None
            return
        if self._kind == CHUNK:  # of which several make a record
            with Dataset(target).writer(level=self._level) as writer:
                for record, json_bytes in self._converter.read(source):
                    writer.write(record, json_bytes)
            return
        with source.open("rb") as file:
            self.write_lines((line.rstrip(b"\n") for line in file), target)

    def write_lines(self, lines: Iterable[bytes], target: Path) -> None:
        """Lines, of which each is a record, to the form."""
        with Dataset(target).writer(level=self._level) as writer:
            for line in lines:
                writer.write_json(line, self._type)

    def read(self, source: Path, target: Path) -> None:
        """The form to JSON lines."""
        if self._kind == CHUNK:
            self._converter.write(Dataset(source).records(), target)
            return
        with target.open("wb") as file:
            for lines in Dataset(source).lines(self._type):
                file.write(lines)


class Command:
    """`chatpb compact`, as a process of its own: it starts, imports and plans too."""

    def __init__(self, _: str) -> None:
        pass

    def write(self, source: Path, target: Path) -> None:
        """JSON lines to the form."""
        command = [sys.executable, "-P", "-m", "chatpb", "compact", str(source), str(target)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


class Log:
    """The log, with `fsync` once a second, as `LogWriter` writes it with all other defaults."""

    def __init__(self, kind: str) -> None:
        self._converter = Converter(kind)

    def write(self, source: Path, target: Path) -> None:
        """JSON lines to the form."""
        with LogWriter(target) as writer:
            for record, _ in self._converter.read(source):
                writer.append(record)

    def read(self, source: Path, target: Path) -> None:
        """The form to JSON lines."""
        self._converter.write((entry.data for entry in LogReader(source)), target)


def sum_of_tokens(table: Path) -> int:
    """A sum over a column of a table."""
    batches = Dataset(table).scan(["total_tokens"])
    return sum(pyarrow.compute.sum(batch["total_tokens"]).as_py() for batch in batches)


def _delimited(reader: zstandard.ZstdDecompressionReader) -> Iterator[bytes]:
    held = b""
    while more := reader.read(1 << 20):
        held += more
        at = 0
        while found := _message(held, at):
            start, at = found
            yield held[start:at]
        held = held[at:]


def _message(data: bytes, at: int) -> tuple[int, int] | None:
    """Where a length-delimited message begins and ends, if all of it is there."""
    length = shift = 0
    for start in range(at, min(at + 10, len(data))):
        length |= (data[start] & 0x7F) << shift
        shift += 7
        if data[start] < 0x80:
            end = start + 1 + length
            return (start + 1, end) if end <= len(data) else None
    return None
