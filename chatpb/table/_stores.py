"""Files of tables as pyarrow reads and writes them, on disks and object stores."""

from __future__ import annotations

import functools
from typing import Any

import pyarrow.fs
from deltalake.fs import DeltaStorageHandler

from chatpb.table._away import is_usable
from chatpb.table._errors import DatasetError
from chatpb.table._location import Location


def filesystem(location: Location) -> Any:
    """What reads the files of a table; their names are as in the table, or local paths.

    Raises:
        DatasetError: The table is on an object store, and this process is a forked child.
    """
    if location.folder is not None:
        return pyarrow.fs.LocalFileSystem()
    if not is_usable():
        raise DatasetError(
            location.uri,
            "object stores cannot be used in a forked child of a process that has used tables;"
            " start processes with `spawn`",
        )
    return _store(location.uri, tuple(sorted(location.options.items())))


@functools.lru_cache(maxsize=16)
def _store(uri: str, options: tuple[tuple[str, str], ...]) -> Any:
    return pyarrow.fs.PyFileSystem(DeltaStorageHandler(uri, dict(options)))
