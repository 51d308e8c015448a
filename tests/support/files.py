"""Files that change while they are in use."""

from __future__ import annotations

from pathlib import Path


def replace(path: Path, data: bytes | str) -> None:
    """Replaces a file in one step, as careful editors do."""
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(data.encode() if isinstance(data, str) else data)
    new.replace(path)


def link(path: Path, target: str) -> None:
    """Creates or changes a symbolic link in one step."""
    new = path.with_name(f"{path.name}.new")
    new.symlink_to(target)
    new.replace(path)
