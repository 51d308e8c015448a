"""Where a table is: a directory of this machine, or a prefix of an object store."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from chatpb._errors import path_of
from chatpb.table._errors import DatasetError

_URI: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_FILE: Final = "file"
_SCHEMES: Final = frozenset(["s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "adl"])
#: What delta-rs reads as something else in the name of a directory.
_MISREAD: Final = re.compile(r"%[0-9A-Fa-f]{2}|\\|[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True)
class Location:
    """Where a table is.

    Attributes:
        uri: What the caller named it, for messages.
        folder: The directory; None on an object store.
        options: What the object store needs, such as keys and an endpoint.
    """

    uri: str
    folder: Path | None
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def delta_uri(self) -> str:
        """The URI that delta-rs takes.

        Raises:
            DatasetError: It misreads the name of the directory.
        """
        if self.folder is None:
            return self.uri
        path = Path(os.path.realpath(self.folder))
        if _MISREAD.search(str(path)):
            reason = (
                "the name of a table, and those of the directories around it, cannot contain"
                " backslashes, control characters, bytes that are not UTF-8, or a percent sign"
                " before two hexadecimal digits; rename the directory"
            )
            raise DatasetError(self.uri, reason)
        return path.as_uri()

    def place(self, name: str) -> str:
        """The path or URI of a file of the table, as messages name it."""
        if "://" in name:
            return name
        return f"{self.uri.rstrip('/')}/{name}" if self.folder is None else str(self.folder / name)

    def local(self, name: str) -> str | None:
        """The absolute path of a file of the table; None on an object store."""
        if name.startswith(f"{_FILE}://"):
            from urllib.request import url2pathname  # imports much, for a rare case

            return url2pathname(urlsplit(name).path)
        if self.folder is None or "://" in name:
            return None
        # Arrow takes a relative path with a colon for a URI.
        return os.path.join(os.path.abspath(self.folder), name)


def located(uri: Any, options: Mapping[str, str] | None) -> Location:
    """Where a table is.

    Args:
        uri: A path, or a URI with one of the schemes ``file``, ``s3``, ``gs`` and ``az``.
        options: The `storage_options` of `Dataset`.

    Raises:
        ArgumentTypeError: It is neither.
        DatasetError: The scheme is unknown.
    """
    options = {str(key): str(value) for key, value in (options or {}).items()}
    found = _URI.match(uri) if isinstance(uri, str) else None
    if found is None:
        return Location(os.fspath(path_of(uri)), path_of(uri), options)
    scheme = found[1].lower()
    if scheme == _FILE:
        parts = urlsplit(uri.partition("#")[0])
        if parts.netloc not in ("", "localhost"):
            raise DatasetError(uri, "a file URI has no host; write file:///PATH")
        return Location(uri, Path(unquote(parts.path)), options)
    if scheme not in _SCHEMES:
        known = "a path, file://, s3://, gs:// or az://"
        raise DatasetError(uri, f"the scheme {scheme} is unknown; a table is at {known}")
    return Location(uri, None, options)


def absence(location: Location) -> str:
    """Why there is no table."""
    folder = location.folder
    if folder is None:
        return "no table: there is no Delta log there"
    if not folder.exists():
        return "no such directory"
    if not folder.is_dir():
        return "not a directory, which a table is"
    if any(name.endswith(".parquet") for name in os.listdir(folder)):
        return (
            "no table: there are Parquet files in it, but no Delta log that says which of them"
            f" belong together; `chatpb cat --what record {folder}/FILE.parquet | chatpb compact -"
            " TABLE` adds one of them to a table"
        )
    return "no table: there is no Delta log in it"
