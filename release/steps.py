"""Steps of a build: each makes one folder of dist/, and is repeated only if its inputs changed."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
DIST: Final = ROOT / "dist"
#: What is between the inputs and the packages.
WORK: Final = ROOT / "build" / "dist"


@dataclass(frozen=True)
class Step:
    """One kind of package.

    Attributes:
        name: the folder in dist/ that the step fills.
        inputs: what it reads, as patterns of git, besides release/ itself.
        build: gets the folder, which is empty, and the targets (see `targets`).
    """

    name: str
    inputs: Sequence[str]
    build: Callable[[Path, Sequence[str]], None]

    def run(self, targets: Sequence[str]) -> None:
        """Builds the packages unless they are there, made from the same inputs."""
        folder, made_from = DIST / self.name, WORK / f"{self.name}.made-from"
        key = _digest([*self.inputs, "release", "LICENSE"], targets)
        if made_from.is_file() and made_from.read_text() == f"{key}\n{_listing(folder)}":
            print(f"{self.name}: unchanged")
            return
        print(f"{self.name}: building", flush=True)
        began = time.monotonic()
        made_from.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.build(folder, targets)
        WORK.mkdir(parents=True, exist_ok=True)
        made_from.write_text(f"{key}\n{_listing(folder)}")
        print(f"{self.name}: built in {time.monotonic() - began:.0f} s", flush=True)


def tracked(*patterns: str) -> list[str]:
    """Returns the files that git tracks, or would if they were added, relative to the checkout."""
    command = [
        "git",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
        "--",
        *patterns,
    ]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return sorted({name for name in names.split("\0") if name and (ROOT / name).is_file()})


def contents(folder: str, prefix: str = "") -> dict[str, bytes]:
    """Reads the tracked files below a folder; returns them by `prefix` and relative name."""
    names = tracked(folder)
    return {prefix + name.removeprefix(f"{folder}/"): (ROOT / name).read_bytes() for name in names}


def run(
    command: Sequence[str | Path], cwd: Path = ROOT, environment: Mapping[str, str] | None = None
) -> None:
    """Runs a command whose output matters only if it fails; then ends this program with it."""
    full = {**os.environ, **(environment or {})}
    done = subprocess.run(
        command, cwd=cwd, env=full, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        sys.exit(f"{done.stdout}\nfailed with {done.returncode}: {' '.join(map(str, command))}")


def _digest(patterns: Sequence[str], targets: Sequence[str]) -> str:
    digest = hashlib.sha256(repr((list(targets), os.environ.get("SOURCE_DATE_EPOCH"))).encode())
    for name in tracked(*patterns):
        content = (ROOT / name).read_bytes()
        digest.update(f"{name} {len(content)} {hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()


def _listing(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return "".join(f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files)


def sha256(path: Path) -> str:
    """Returns the digest of a file in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
