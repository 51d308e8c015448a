"""The npm package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from release.steps import ROOT, Step, run

SOURCES = "polyglot/typescript"


def build(folder: Path, _targets: Sequence[str]) -> None:
    """Compiles the package in the checkout, and packs what package.json names into `folder`."""
    package = ROOT / SOURCES
    if not (package / "node_modules").is_dir():
        run(
            ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"],
            cwd=package,
        )
    run(["npm", "pack", "--loglevel=error", "--pack-destination", folder], cwd=package)


STEP = Step("npm", [SOURCES], build)
