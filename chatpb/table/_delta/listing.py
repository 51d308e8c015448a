"""The files that are where a table is, whether or not they belong to it."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet

from chatpb.table._delta.location import Location
from chatpb.table._delta.stores import filesystem, upload
from chatpb.table._delta.trouble import one_line
from chatpb.table._errors import DatasetError


@dataclass(frozen=True, slots=True)
class Stored:
    """A file.

    Attributes:
        name: Its path, relative to the table.
        size: Its bytes.
        time: When it was last changed, in seconds since 1970.
    """

    name: str
    size: int
    time: float


def listed(location: Location, below: str = "") -> list[Stored]:
    """The files below a directory of the table, in all depths.

    Raises:
        DatasetError: They cannot be listed.
    """
    if location.folder is not None:
        return list(_on_disk(location.folder, below))
    try:
        selector = pyarrow.fs.FileSelector(below, recursive=True, allow_not_found=True)
        found = filesystem(location).get_file_info(selector)
    except OSError as error:
        raise DatasetError(location.uri, f"cannot be listed: {one_line(error)}") from error
    return [
        Stored(each.path, each.size, each.mtime.timestamp())
        for each in found
        if each.type == pyarrow.fs.FileType.File
    ]


def _on_disk(folder: Path, below: str) -> Iterable[Stored]:
    """The same on a disk, with the temporary files that object stores do not show."""
    for directory, _, names in os.walk(folder / below):
        for name in names:
            path = Path(directory, name)
            with suppress(FileNotFoundError):
                found = path.stat(follow_symlinks=False)
                yield Stored(path.relative_to(folder).as_posix(), found.st_size, found.st_mtime)


class AbsentError(DatasetError):
    """A file that is not there."""


def read_bytes(location: Location, name: str) -> bytes:
    """The content of a file.

    Raises:
        AbsentError: It is not there.
        DatasetError: It cannot be read.
    """
    try:
        with filesystem(location).open_input_file(location.local(name) or name) as stream:
            content: bytes = stream.read()
            return content
    except FileNotFoundError:
        raise AbsentError(location.place(name), "is missing") from None
    except OSError as error:
        raise DatasetError(location.place(name), f"cannot be read: {one_line(error)}") from error


def read_parquet(source: Any, columns: list[str] | None = None) -> pa.Table:
    """The rows of a Parquet file of the log.

    Not by `pyarrow.parquet.read_table`: a thread that it leaves behind may let go of a buffer of
    Python when the interpreter is about to end, which aborts the process.

    Args:
        source: The file.
        columns: The names of columns. Default: all.

    Raises:
        OSError, pyarrow.ArrowException: It is damaged, or does not have one of the columns.
    """
    file = pa.parquet.ParquetFile(source)
    missing = set(columns or ()).difference(file.schema_arrow.names)
    if missing:
        raise pa.ArrowInvalid(f"there is no column {min(missing)}")
    return file.read(columns, use_threads=False)


def is_there(location: Location, name: str) -> bool:
    """Whether a file exists, at its name or, if that is a URI, elsewhere.

    Raises:
        DatasetError: The store does not answer.
    """
    path = location.local(name)
    if path is not None:
        return os.path.exists(path)
    try:
        found = filesystem(location).get_file_info(name)
    except OSError as error:
        raise DatasetError(location.place(name), f"cannot be read: {one_line(error)}") from error
    return bool(found.type != pyarrow.fs.FileType.NotFound)


def write_bytes(location: Location, name: str, content: pa.Buffer) -> None:
    """Puts a file in the place of another, at once.

    Raises:
        DatasetError: It cannot be written.
    """
    path = location.local(name)
    try:
        if path is None:
            upload(location, name, io.BytesIO(content))
            return
        with open(f"{path}.tmp", "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(f"{path}.tmp", path)
    except OSError as error:
        raise DatasetError(location.place(name), f"cannot be written: {one_line(error)}") from error


def remove_all(location: Location, files: Iterable[Stored]) -> None:
    """Removes files; those that others have removed already are no failure.

    Raises:
        DatasetError: One cannot be removed.
    """
    store = filesystem(location)
    for file in files:
        try:
            store.delete_file(location.local(file.name) or file.name)
        except FileNotFoundError:
            continue
        except OSError as error:
            reason = f"cannot be removed: {one_line(error)}"
            raise DatasetError(location.place(file.name), reason) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
