"""Builds the packages into dist/: `python -m release.build [--all] [STEP ...]`."""

from __future__ import annotations

import argparse
from typing import Final

from release import crate, go, libchatpb, npm, python, sbom, targets
from release.steps import DIST, sha256

STEPS: Final = {
    step.name: step
    for step in (crate.STEP, go.STEP, libchatpb.STEP, npm.STEP, python.STEP, sbom.STEP)
}


def main() -> None:
    """Runs the steps, and writes dist/SHA256SUMS."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--all", action="store_true", help="for each system that can be built for here"
    )
    parser.add_argument("steps", nargs="*", metavar="STEP", help=", ".join(STEPS))
    arguments = parser.parse_args()
    for name in arguments.steps or STEPS:
        STEPS[name].run(targets.chosen(arguments.all))
    files = sorted(path for path in DIST.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    lines = (f"{sha256(path)}  {path.relative_to(DIST).as_posix()}\n" for path in files)
    (DIST / "SHA256SUMS").write_text("".join(lines))


if __name__ == "__main__":
    main()
