"""The npm package, with the core as WebAssembly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from release import components
from release.steps import ROOT, Step, run
from release.wheels import NOTICES

SOURCES: Final = "polyglot/typescript"
INPUTS: Final = [SOURCES, "native/abi", "native/core", "native/Cargo.*"]


def build(folder: Path, _targets: Sequence[str]) -> None:
    """Compiles the package in the checkout, and packs what package.json names into `folder`."""
    package = ROOT / SOURCES
    if not (package / "node_modules").is_dir():
        options = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
        run(["npm", "ci", *options], cwd=package)
    run(["make", "wasm"], environment={"MAKEFLAGS": "", "MAKELEVEL": ""})
    run(["npm", "run", "--silent", "prepack"], cwd=package)
    notices = components.notices(components.rust("chatpb-abi"))
    (package / "dist" / "wasm" / NOTICES).write_bytes(notices)
    command = ["npm", "pack", "--ignore-scripts", "--loglevel=error", "--pack-destination"]
    run([*command, str(folder)], cwd=package)


STEP = Step("npm", INPUTS, build)
