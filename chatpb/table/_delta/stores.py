"""Files of tables as pyarrow reads and writes them, on disks and object stores."""

from __future__ import annotations

import functools
from typing import IO, Any, Final

import pyarrow.fs
from deltalake._internal import DeltaFileSystemHandler
from deltalake.fs import DeltaStorageHandler

from chatpb.table._delta.away import is_usable
from chatpb.table._delta.location import Location
from chatpb.table._errors import DatasetError

_PIECE: Final = 8 << 20  # bytes that are uploaded at once


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


def upload(location: Location, name: str, stream: IO[bytes]) -> None:
    """Copies a file to an object store, where it appears when it is whole.

    Raises:
        OSError: It cannot be written.
    """
    filesystem(location)  # which refuses in a forked child
    handler = DeltaFileSystemHandler(location.uri, dict(location.options) or None)
    out: Any = handler.open_output_stream(name)
    while piece := stream.read(_PIECE):
        out.write(piece)
    out.close()  # which a failure leaves out, so that the file does not appear


@functools.lru_cache(maxsize=16)
def _store(uri: str, options: tuple[tuple[str, str], ...]) -> Any:
    return pyarrow.fs.PyFileSystem(DeltaStorageHandler(uri, dict(options) or None))
