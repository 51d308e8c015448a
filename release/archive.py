"""Archives whose bytes depend only on what is in them: sorted, and with one time for all files."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

#: The time of all files: that of SOURCE_DATE_EPOCH, or the first that a zip file can have.
EPOCH: Final = max(315532800, int(os.environ.get("SOURCE_DATE_EPOCH", "0")))


def read_folder(folder: Path, prefix: str = "") -> dict[str, bytes]:
    """Reads all files below a folder; returns the contents by `prefix` and relative name."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {prefix + path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def write_zip(
    path: Path, files: Mapping[str, bytes], executable: frozenset[str] = frozenset()
) -> None:
    """Writes `files`, names to contents, in the order of their names."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, time.gmtime(EPOCH)[:6])
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix: the next line is its mode
            entry.external_attr = (0o100755 if name in executable else 0o100644) << 16
            archive.writestr(entry, files[name])


def write_tar(
    path: Path, files: Mapping[str, bytes], links: Mapping[str, str] | None = None, prefix: str = ""
) -> None:
    """Writes a .tar.gz file, in the order of the names.

    Args:
        path: where to.
        files: names to contents.
        links: names to what they link to; a name that is in `files` too is a link.
        prefix: put before each name.
    """
    plain = io.BytesIO()
    links = links or {}
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted({*files, *links}):
            entry = tarfile.TarInfo(prefix + name)
            entry.mtime = EPOCH
            entry.mode = 0o755 if ".so" in name else 0o644
            if name in links:
                entry.type, entry.linkname = tarfile.SYMTYPE, links[name]
                archive.addfile(entry)
            else:
                entry.size = len(files[name])
                archive.addfile(entry, io.BytesIO(files[name]))
    with path.open("wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=EPOCH) as packed:
        packed.write(plain.getvalue())


def read_tar(path: Path) -> dict[str, bytes]:
    """Reads the regular files of a .tar.gz file: names to contents."""
    with tarfile.open(path) as archive:
        entries = [(entry.name, archive.extractfile(entry)) for entry in archive if entry.isfile()]
        return {name: file.read() for name, file in entries if file}


def lay_out(folder: Path, files: Mapping[str, bytes]) -> None:
    """Makes `folder` hold exactly `files`; does not touch those that are the same already.

    So cargo, which looks at times of files, sees what changed, and only that.
    """
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.relative_to(folder).as_posix() not in files:
            path.unlink()
    for name, content in files.items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
