"""The Rust crate, as cargo would publish it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from release.archive import read_tar, write_tar
from release.steps import ROOT, WORK, Step, run

MANIFEST = ROOT / "native" / "core" / "Cargo.toml"


def build(folder: Path, _targets: Sequence[str]) -> None:
    """Writes the .crate file into `folder`; `make test-dist` builds it."""
    target = WORK / "crate"
    options = ["--quiet", "--locked", "--allow-dirty", "--no-verify"]
    run(["cargo", "package", *options, f"--manifest-path={MANIFEST}", f"--target-dir={target}"])
    (package,) = target.glob("package/*.crate")
    files = read_tar(package)
    # The commit, which would make another file of each commit.
    del files[f"{package.stem}/.cargo_vcs_info.json"]
    write_tar(folder / package.name, files)
    shutil.rmtree(target)


STEP = Step("crate", ["native/core", "native/Cargo.*"], build)
