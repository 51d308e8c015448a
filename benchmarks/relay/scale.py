"""Measure one relay process at scale: 1 to 5,000 open streams, and answers of 1 KB to 50 MB.

Each row has a fresh process. The same load is put on the upstream without a relay: what comes late
there is late because of the benchmark. See `docs/scale.md`.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from common.limits import failed
from common.report import show
from relay.distance import rates
from relay.fleet import CALLS, USUAL, fleet
from relay.plan import Plan
from relay.results import reduce
from relay.run import about_machine, allow_open_files
from relay.scale_results import MARKS, PAGE, parts, tables, verdicts
from relay.scenarios import WARM_UP, Scenario
from relay.subject import DIRECT, EDGE, RELAY, Subject
from relay.subjects import Stage, stage

OUTPUT: Final = Path("build/bench-scale.json")
_PATIENCE_S: Final = 30.0  # until all streams have begun
_SHARED: Final = 1000  # streams that share a connection
_FLAGS: Final = ("--max-running", "6000", "--max-connections", "6000")


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        streams: How many streams are open, with the milliseconds between chunks of each.
        sizes: Bytes of whole answers.
        lengths: Chunks of streams that come as fast as they are taken.
        seconds: How long open streams are measured.
    """

    streams: tuple[tuple[int, int], ...]
    sizes: tuple[int, ...]
    lengths: tuple[int, ...]
    seconds: float


FULL: Final = Effort(
    ((1, 50), (100, 50), (250, 50), (500, 50), (1000, 50), (1000, 1000), (5000, 1000)),
    (1_000, 100_000, 1_000_000, 10_000_000, 50_000_000),
    (3_000, 30_000, 150_000),
    2.5,
)
QUICK: Final = Effort(((1, 50), (100, 50)), (1_000, 1_000_000), (3_000,), 1)


def main() -> int:
    """Measures, prints and writes what was found."""
    args = _arguments()
    effort = QUICK if args.quick else FULL
    allow_open_files()
    with tempfile.TemporaryDirectory() as folder, stage(Path(folder)) as ready:
        results = _measured(ready, effort)
    results["about"] = about_machine()
    results["targets"] = verdicts(results["found"])
    results["fleet"] = fleet(results["found"])
    show(tables(results))
    print(results["about"])
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(results, indent=1) + "\n")
    if args.docs:
        PAGE.write_text(MARKS.fill(PAGE.read_text("utf-8"), parts(results)), "utf-8")
    failures = failed(results["targets"], missed=args.check, unmeasured=False)
    failures += [f"{place}: {reason}" for place, reason in results["failed"].items()]
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


def _measured(ready: Stage, effort: Effort) -> dict[str, Any]:
    found: dict[str, dict[str, dict[str, float]]] = {DIRECT: {}, RELAY: {}, EDGE: {}}
    errors: dict[str, str] = {}
    for scenario in _scenarios(effort):
        print(f"measuring: {scenario.name}", file=sys.stderr, flush=True)
        for subject in _fresh(ready):
            measured = ready.load.measure(scenario.order(subject))
            if "error" in measured:
                errors[f"{subject.name}, {scenario.name}"] = measured["error"]
            else:
                found[subject.name][scenario.name] = reduce([measured])
    print("measuring: a long distance", file=sys.stderr, flush=True)
    with ready.relay() as (relay, _):
        distance = rates(relay)
    return {"found": found, "failed": errors, "usual": USUAL, "distance": distance}


def _fresh(ready: Stage) -> Iterator[Subject]:
    """The upstream itself, and fresh processes that are called over gRPC and over HTTP."""
    yield ready.direct
    for edge in range(2):
        with ready.relay(*_FLAGS) as both:
            for warm_up in WARM_UP:
                ready.load.measure(warm_up.order(both[edge]))
            yield both[edge]


def _scenarios(effort: Effort) -> Iterator[Scenario]:
    yield Scenario(CALLS, Plan(3), 16, effort.seconds, 0.3)
    for streams, gap_ms in effort.streams:
        # Long enough not to end while they are measured, even where they begin late.
        chunks = int((effort.seconds + _PATIENCE_S + 5) * 1000 / gap_ms)
        yield Scenario(
            f"{streams:,} x {1000 / gap_ms:g}/s",
            Plan(chunks, gap_ms=gap_ms),
            streams,
            effort.seconds,
            warm_s=1.5,
            connections=math.ceil(streams / _SHARED),
            gaps=True,
            patience_s=_PATIENCE_S,
        )
    for size in effort.sizes:
        yield Scenario(
            f"{size:,} bytes", Plan(size=size), 1, 0.5, 0.2, least=3, patience_s=_PATIENCE_S
        )
    for chunks in effort.lengths:
        yield Scenario(
            f"{chunks:,} chunks", Plan(chunks, 16), 1, 0.5, 0.2, least=2, patience_s=_PATIENCE_S
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-scale", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows, for less time")
    parser.add_argument("--output", type=Path, default=OUTPUT, help=f"JSON, by default {OUTPUT}")
    parser.add_argument("--docs", action="store_true", help=f"also write tables into {PAGE}")
    parser.add_argument("--check", action="store_true", help="fail if a target is missed")
    args = parser.parse_args()
    if args.docs:
        MARKS.check(PAGE, parser)
    return args


if __name__ == "__main__":
    sys.exit(main())
