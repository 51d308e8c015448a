"""Builds the packages into dist/: `python -m release.build [--all] [STEP ...]`."""

from __future__ import annotations

import argparse

from release import go, npm, python, sbom, targets
from release.steps import DIST, sha256

STEPS = {step.name: step for step in (go.STEP, npm.STEP, python.STEP, sbom.STEP)}


def main() -> None:
    """Runs the steps, and writes dist/SHA256SUMS."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--all", action="store_true", help="for every target that can be built here"
    )
    parser.add_argument(
        "steps", nargs="*", metavar="STEP", help=f"of {', '.join(STEPS)}; default: all"
    )
    arguments = parser.parse_args()
    for name in arguments.steps or STEPS:
        STEPS[name].run(targets.chosen(arguments.all))
    files = sorted(path for path in DIST.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    lines = (f"{sha256(path)}  {path.relative_to(DIST).as_posix()}\n" for path in files)
    (DIST / "SHA256SUMS").write_text("".join(lines))


if __name__ == "__main__":
    main()
