"""Builds the packages into dist/: `python -m release.build [--all] [STEP ...]`."""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from release import crate, go, libchatpb, maven, npm, python, sbom, sums, targets

#: Those that take long first. Two at once: linking, the longest part, uses one processor.
_STEPS: Final = [
    python.STEP,
    maven.STEP,
    libchatpb.STEP,
    npm.STEP,
    crate.STEP,
    go.STEP,
    sbom.STEP,
]
STEPS: Final = {step.name: step for step in _STEPS}


def main() -> None:
    """Runs the steps, and writes dist/SHA256SUMS."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="for each system possible here")
    parser.add_argument("steps", nargs="*", metavar="STEP", help=", ".join(STEPS))
    arguments = parser.parse_args()
    systems = targets.chosen(arguments.all)
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(STEPS[name].run, systems) for name in arguments.steps or STEPS]:
            done.result()
    sums.main()


if __name__ == "__main__":
    main()
