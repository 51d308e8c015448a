"""The files of a table on an object store, as DuckDB reads them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import fsspec
import pyarrow as pa

PROTOCOL: Final = "chatpb"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Files(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """A file system for DuckDB that only reads.

    Args:
        files: Where the files are.
    """

    protocol = PROTOCOL
    cachable = False

    def __init__(self, files: pa.fs.FileSystem) -> None:
        super().__init__()
        self._files = files

    def open(self, path: str, mode: str = "rb", **_: Any) -> Any:  # noqa: ARG002
        """Opens a file to read."""
        return self._files.open_input_file(self._strip_protocol(path))

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """The size of a file."""
        path = self._strip_protocol(path)
        return {"name": path, "size": self._files.get_file_info(path).size, "type": "file"}

    def modified(self, path: str) -> datetime:  # noqa: ARG002
        """When a file was written: files of a table never change."""
        return _EPOCH

    def glob(self, path: str, **_: Any) -> list[str]:
        """The file itself: names are no patterns."""
        return [path]
