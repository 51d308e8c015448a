"""Files that change under those who read them."""

from __future__ import annotations

from pathlib import Path


def replace(path: Path, data: bytes | str) -> None:
    """Puts another file in the place of one, as careful editors do."""
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(data.encode() if isinstance(data, str) else data)
    new.replace(path)


def link(path: Path, target: str) -> None:
    """Makes a symbolic link, or points it elsewhere, in one step."""
    new = path.with_name(f"{path.name}.new")
    new.symlink_to(target)
    new.replace(path)
