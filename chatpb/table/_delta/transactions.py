"""What was taken of which input, as Delta's app transactions in the log of a table.

Delta's client looks up one app transaction at a time, and may read the whole log for each; here all
of them are read at once.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.fs

from chatpb.table._delta.diagnosis import LOG
from chatpb.table._delta.listing import read_parquet
from chatpb.table._delta.location import Location
from chatpb.table._delta.stores import filesystem
from chatpb.table._delta.trouble import one_line
from chatpb.table._errors import DatasetError

_COMMIT: Final = re.compile(r"(\d{20})\.json$")
_CHECKPOINT: Final = re.compile(r"(\d{20})\.checkpoint(?:\.(\d{10})\.(\d{10}))?\.parquet$")


def transactions(location: Location, version: int, prefix: str) -> Mapping[str, int]:
    """The versions of the app transactions whose IDs begin with a prefix, at a version of a table.

    Args:
        location: Where the table is.
        version: The version.
        prefix: The prefix.

    Raises:
        DatasetError: A file of the log is damaged.
    """
    files = filesystem(location)
    folder = location.local(LOG) or LOG
    names = [info.base_name for info in files.get_file_info(pyarrow.fs.FileSelector(folder))]
    checkpoint, parts = _newest_checkpoint(names, version)
    found: dict[str, int] = {}
    for name in parts:
        with _damage(location, name):
            _from_checkpoint(files, f"{folder}/{name}", prefix, found)
    commits = {int(m[1]): m[0] for name in names if (m := _COMMIT.match(name))}
    for number in range(checkpoint + 1, version + 1):
        name = commits.get(number, f"{number:020}.json")
        with _damage(location, name), files.open_input_file(f"{folder}/{name}") as stream:
            for line in stream.read().splitlines():
                action = json.loads(line).get("txn") if b'"txn"' in line else None
                if action is not None and action["appId"].startswith(prefix):
                    found[action["appId"]] = action["version"]
    return found


def checkpoints_of(names: list[str]) -> dict[int, list[str]]:
    """The files of each whole checkpoint, by version, among the names of the files of a log."""
    found: dict[int, list[str]] = {}
    parts: dict[int, list[str]] = {}
    for name in sorted(names):
        match = _CHECKPOINT.match(name)
        if match is not None and match[3] is None:
            found[int(match[1])] = [name]
        elif match is not None:
            some = parts.setdefault(int(match[1]), [])
            some.append(name)
            if len(some) == int(match[3]):
                found.setdefault(int(match[1]), some)
    return found


def _newest_checkpoint(names: list[str], version: int) -> tuple[int, list[str]]:
    """The version of the last whole checkpoint up to a version, and its files; -1 if none."""
    found = checkpoints_of(names)
    last = max((each for each in found if each <= version), default=-1)
    return last, found.get(last, [])


def _from_checkpoint(files: Any, path: str, prefix: str, found: dict[str, int]) -> None:
    import pyarrow.compute as pc  # takes time, see `kernels`

    with files.open_input_file(path) as stream:
        rows = read_parquet(stream, columns=["txn"]).column("txn").combine_chunks()
    ids = pc.struct_field(rows, "appId")
    rows = rows.filter(pc.fill_null(pc.starts_with(ids, prefix), False))
    found.update((row["appId"], row["version"]) for row in rows.to_pylist())


class _damage:  # noqa: N801
    """Names the file of the log that cannot be read."""

    def __init__(self, location: Location, name: str) -> None:
        self._place = location.place(f"{LOG}/{name}")

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and error.errno:
            raise DatasetError(self._place, os.strerror(error.errno).lower()) from error
        if isinstance(error, OSError | pa.ArrowException | ValueError | LookupError | TypeError):
            raise DatasetError(self._place, f"damaged: {one_line(error)}") from error
