"""The files of tables and logs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from chatpb import _endings
from chatpb._cli.failure import USAGE_ERROR, CliError
from chatpb._cli.log_keys import LogKeys
from chatpb._cli.options import storage_options
from chatpb._cli.reading.compressed import is_log
from chatpb.table import Dataset, Part
from chatpb.table._delta.diagnosis import LOG


@dataclass(frozen=True)
class LogFile:
    """A file of a log.

    Attributes:
        path: The file.
        keys: The file of keys, if there is one.
    """

    path: Path
    keys: LogKeys | None = None

    @property
    def place(self) -> str:
        """Its path, as messages name it."""
        return str(self.path)

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.path.stat().st_size

    def records(self) -> Iterator[bytes]:
        """Its records. A torn end is reported on standard error; other damage is raised.

        Raises:
            DamagedLogError: It is damaged before its end.
            LogKeyError: It is encrypted, and the key is missing.
        """
        from chatpb.log import LogReader

        with LogReader(
            self.path, on_damage=_report, keys=None if self.keys is None else self.keys.file
        ) as reader:
            for entry in reader:
                yield entry.data

    def record_count(self) -> int:
        """The number of its records. Needs no key, and checks every frame.

        Raises:
            DamagedLogError: It is damaged before its end.
        """
        from chatpb.log import frames

        return sum(frame.record_count for frame in frames(self.path, on_damage=_report))


def is_uri(name: str) -> bool:
    """Whether a name is a URI, not a path."""
    return "://" in name


def table_at(uri: str) -> Dataset:
    """A table, with the storage options that the user gave.

    Args:
        uri: Its directory or URI.
    """
    return Dataset(uri, storage_options())


def opened(paths: Sequence[str], keys: LogKeys | None = None) -> Iterator[Part | LogFile]:
    """The files of tables and logs.

    Args:
        paths: Directories, or files in them, or URIs of tables.
        keys: The file of keys of logs.

    Raises:
        CliError: A path is neither table nor log.
    """
    for name in paths:
        if is_uri(name):
            yield from table_at(name).files()
            continue
        path = Path(name)
        if not path.exists():
            raise CliError(f"{name}: no such file or directory", USAGE_ERROR)
        if path.is_file():
            if name.endswith(_endings.PARQUET):
                yield Part.of_file(path)
            elif is_log(name):
                yield LogFile(path, keys)
            else:
                raise CliError(f"{name}: neither a table nor a log", USAGE_ERROR)
            continue
        logs = [
            Path(folder, member)
            for folder, _, members in os.walk(path)
            for member in members
            if member.endswith(_endings.LOG)
        ]
        if is_dataset(path):
            yield from table_at(name).files()
        elif not logs:
            raise CliError(f"{name}: there is no table in it and no log", USAGE_ERROR)
        for log in sorted(logs):
            yield LogFile(log, keys)


def column_chunks(part: Part) -> Iterator[Any]:
    """Parquet's description of each column chunk of a file."""
    metadata = part.metadata
    for group in range(metadata.num_row_groups):
        for column in range(metadata.num_columns):
            yield metadata.row_group(group).column(column)


def is_dataset(path: Path) -> bool:
    """Whether a directory is a table."""
    return (path / LOG).is_dir() or any(
        name.endswith(_endings.PARQUET) for name in os.listdir(path)
    )


def _report(damage: object) -> None:
    click.echo(f"chatpb: note: {damage}", err=True)
