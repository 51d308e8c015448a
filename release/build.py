"""Builds the packages into dist/: `python -m release.build [--all] [STEP ...]`."""

from __future__ import annotations

import argparse
from typing import Final

from release import crate, go, libchatpb, maven, npm, python, sbom, sums, targets

STEPS: Final = {
    step.name: step
    for step in (crate.STEP, go.STEP, libchatpb.STEP, maven.STEP, npm.STEP, python.STEP, sbom.STEP)
}


def main() -> None:
    """Runs the steps, and writes dist/SHA256SUMS."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="for each system possible here")
    parser.add_argument("steps", nargs="*", metavar="STEP", help=", ".join(STEPS))
    arguments = parser.parse_args()
    for name in arguments.steps or STEPS:
        STEPS[name].run(targets.chosen(arguments.all))
    sums.main()


if __name__ == "__main__":
    main()
