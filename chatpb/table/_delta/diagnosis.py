"""Finds the file of a log because of which a table cannot be opened: Delta's errors name none."""

from __future__ import annotations

import json
import os
import re
from itertools import chain
from typing import Any, Final

import pyarrow as pa
import pyarrow.fs

from chatpb.table._delta.listing import read_parquet
from chatpb.table._delta.location import Location
from chatpb.table._delta.stores import filesystem
from chatpb.table._delta.trouble import one_line
from chatpb.table._errors import DatasetError

LOG: Final = "_delta_log"
_COMMIT: Final = re.compile(r"(\d{20})\.json")
_CHECKPOINT: Final = re.compile(r"(\d{20})\.checkpoint(\..+)?\.parquet")
_POINTER: Final = "_last_checkpoint"


def damage(location: Location) -> DatasetError | None:
    """The error of the first file of the log that is damaged or missing; None if all are whole."""
    try:
        files = filesystem(location)
        folder = location.local(LOG) or LOG
        names = {info.base_name for info in files.get_file_info(pyarrow.fs.FileSelector(folder))}
    except (DatasetError, OSError, pa.ArrowException):
        return None
    commits = sorted(int(match[1]) for name in names if (match := _COMMIT.fullmatch(name)))
    checkpoints = {name: int(m[1]) for name in names if (m := _CHECKPOINT.fullmatch(name))}
    first = max(checkpoints.values(), default=-1) + 1
    wanted = [_POINTER] if _POINTER in names else []
    wanted += sorted(name for name, version in checkpoints.items() if version == first - 1)
    following = (f"{number:020}.json" for number in range(first, max(commits, default=-1) + 1))
    for name in chain(wanted, following):
        reason = "missing" if name not in names else _reason(files, folder, name, names)
        if reason is not None:
            return DatasetError(location.place(f"{LOG}/{name}"), reason)
    return None


def _reason(files: Any, folder: str, name: str, names: set[str]) -> str | None:
    """What is wrong with a file of the log."""
    try:
        with files.open_input_file(f"{folder}/{name}") as stream:
            if name.endswith(".parquet"):
                read_parquet(stream)
                return None
            lines = stream.read().splitlines()
        for line in lines:
            if not isinstance(json.loads(line), dict):
                raise ValueError("a line is not an object")
        if not lines:
            raise ValueError("it is empty")
        if name == _POINTER:
            version = json.loads(lines[0])["version"]
            if not any(each.startswith(f"{version:020}.checkpoint.") for each in names):
                return f"names {version:020}.checkpoint.parquet, which is missing"
    except OSError as error:
        if error.errno:
            return os.strerror(error.errno).lower()
        return f"damaged: {one_line(error)}"
    except (pa.ArrowException, ValueError, LookupError, TypeError, RecursionError) as error:
        return f"damaged: {one_line(error)}"
    return None
