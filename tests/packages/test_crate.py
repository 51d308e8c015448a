"""The crate is used from its file."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

from packages.conftest import DIST, ROOT, SMOKE, Clean

PROGRAMS = ("cargo", "rustc", "cc", "ld", "as")


def test_a_new_project_uses_the_crate(clean: Clean) -> None:
    (package,) = (DIST / "crate").glob("*.crate")
    with tarfile.open(package) as archive:
        archive.extractall(clean.folder, filter="data")
    home = Path.home()
    environment = {
        "CARGO_HOME": os.environ.get("CARGO_HOME", str(home / ".cargo")),
        "RUSTUP_HOME": os.environ.get("RUSTUP_HOME", str(home / ".rustup")),
        "RUSTFLAGS": "-D warnings",
        "CARGO_TARGET_DIR": str(ROOT / "build" / "dist" / "smoke-target"),
    }
    name, _, version = package.stem.partition("-")
    smoke = clean.folder / "smoke"
    (smoke / "src").mkdir(parents=True)
    (smoke / "src" / "main.rs").write_bytes((SMOKE / "main.rs").read_bytes())
    (smoke / "Cargo.toml").write_text(
        '[package]\nname = "smoke"\nedition = "2024"\n'
        f'[dependencies]\n{name} = "{version}"\n'
        f'[patch.crates-io]\n{name} = {{ path = "../{package.stem}" }}\n'
    )
    manifest = "--manifest-path=smoke/Cargo.toml"
    run = ["cargo", "run", "--quiet", manifest, "--", str(clean.data)]
    assert "passed\n" == clean.run(*run, programs=PROGRAMS, environment=environment)


def test_the_crate_is_complete() -> None:
    (package,) = (DIST / "crate").glob("*.crate")
    with tarfile.open(package) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"Cargo.toml", "LICENSE", "src/lib.rs", "src/descriptor_set.binpb"} <= names
