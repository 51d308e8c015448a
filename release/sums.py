"""Writes dist/SHA256SUMS, the digests of all files there: `python -m release.sums`."""

from __future__ import annotations

from release.steps import DIST, sha256


def main() -> None:
    """Writes the file."""
    files = sorted(path for path in DIST.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    lines = (f"{sha256(path)}  {path.relative_to(DIST).as_posix()}\n" for path in files)
    (DIST / "SHA256SUMS").write_text("".join(lines))


if __name__ == "__main__":
    main()
