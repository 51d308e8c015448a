"""Measure the relay: added latency, throughput and memory, next to three others in the same run.

The others are the upstream called directly, a grpc.aio pass-through that converts nothing, and,
where they are asked for, LiteLLM's proxy, TensorZero's gateway and Envoy's transcoder of JSON. The
upstream is a fast local server that computes nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from chatpb import implementation
from common import pages
from common.limits import failed
from common.report import show
from relay import peers
from relay.profiling import profiles
from relay.results import MARKS, parts, reduce, tables
from relay.scenarios import (
    BURSTS,
    BUSY,
    FULL,
    OPEN_STREAMS,
    PACED,
    QUICK,
    STREAMS,
    WARM_UP,
    Effort,
    Scenario,
    scenarios,
)
from relay.subject import Subject
from relay.subjects import SUBJECTS, Stage, missing, stage
from relay.targets import verdicts
from relay.workers import COUNT, WORKERS, measure_workers

OUTPUT: Final = Path("build/bench-relay.json")
PACKAGES: Final = ("aiohttp", "grpcio", "protobuf", "uvloop")
EXAMPLES: Final = """\
examples:
  make bench-relay                       all, about four minutes
  make bench-relay ARGS=--quick          less exact, about a minute and a half
  make bench-relay LITELLM=1             also LiteLLM's proxy; three minutes more
  make bench-relay TENSORZERO=1 ENVOY=1  also these, which take a minute more
  make bench-relay ARGS=--profile        what the relay spends its time on
  make bench-relay ARGS=--docs           also update docs/benchmarks.md and the README
  make bench-relay ARGS=--check          exit code 1 if a target is missed

`make bench-relay` installs the project and what the rest needs into .venv-bench first.
"""


def main() -> int:
    """Measures, prints and writes what was found."""
    args = _arguments()
    effort = QUICK if args.quick else FULL
    allow_open_files()
    plans = {each.plan for each in (*scenarios(effort), *WARM_UP, *OPEN_STREAMS)}
    with tempfile.TemporaryDirectory() as folder, stage(Path(folder), plans) as ready:
        if args.profile:
            wanted = (BUSY, PACED, BURSTS)
            show(profiles(ready, [s for s in scenarios(effort) if s.name in wanted]))
            return 0
        results = measure_all(ready, effort, args.peer)
    show(tables(results))
    print(results["about"])
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(results, indent=1) + "\n")
    if args.docs:
        pages.write(MARKS, parts(results), results["targets"])
    failures = failed(results["targets"], missed=args.check, unmeasured=args.quick)
    if args.check or args.quick:
        failures += [f"{place}: {reason}" for place, reason in results["failed"].items()]
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


def measure_all(ready: Stage, effort: Effort, asked: list[str]) -> dict[str, Any]:
    """Has each subject do each scenario in each round, one after the other.

    Args:
        ready: The stage.
        effort: How much time is spent.
        asked: The options of the peers that are measured too.
    """
    reasons = {name: missing(name) for name in SUBJECTS}
    for option, name in peers.OPTIONS.items():
        if option not in asked:
            reasons[name] = f"not asked for: {option.upper()}=1"
    names = [name for name, reason in reasons.items() if not reason]
    errors: dict[str, str] = {}
    rounds: dict[str, dict[str, list[dict[str, Any]]]] = {name: {} for name in names}

    def fail(place: str, reason: str) -> None:
        print(f"{place} failed: {reason}", file=sys.stderr)
        errors[place] = reason

    def measure(subject: Subject, scenario: Scenario) -> None:
        if scenario.plan.chunks and not subject.streams:
            return
        found = ready.load.measure(scenario.order(subject))
        if "error" in found:
            fail(f"{subject.name}, {scenario.name}", found["error"])
        else:
            rounds[subject.name].setdefault(scenario.name, []).append(found)

    with contextlib.ExitStack() as stack:
        subjects = [stack.enter_context(ready.subject(name)) for name in names]
        for subject in subjects:
            for scenario in WARM_UP:
                if subject.streams or not scenario.plan.chunks:
                    ready.load.measure(scenario.order(subject))
        for turn in range(effort.rounds):
            print(f"measuring: round {turn + 1} of {effort.rounds}", file=sys.stderr, flush=True)
            for scenario in scenarios(effort):
                for subject in subjects:
                    measure(subject, scenario)
    print(f"measuring: {STREAMS:,} open streams", file=sys.stderr, flush=True)
    for name in names:
        with ready.subject(name) as subject:  # a fresh process: memory is not given back
            warm_up, streams = OPEN_STREAMS
            if subject.streams:
                ready.load.measure(warm_up.order(subject))
                measure(subject, streams)
    print(f"measuring: {COUNT} workers", file=sys.stderr, flush=True)
    found = {
        name: {scenario: reduce(turns) for scenario, turns in by_scenario.items()}
        for name, by_scenario in rounds.items()
    }
    found[WORKERS] = measure_workers(ready, effort, fail)
    return {
        "about": _about(effort, [name for name in peers.OPTIONS.values() if name in names]),
        "missing": {name: reason for name, reason in reasons.items() if reason},
        "failed": errors,
        "targets": verdicts(found),
        "found": found,
        "rounds": rounds,
    }


def _about(effort: Effort, with_peers: list[str]) -> str:
    versions = [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES]
    versions += map(peers.version, with_peers)
    return (
        f"Medians of {effort.rounds} rounds, in which all take turns at every kind of load."
        " Upstream and load generator are processes of their own that speak just enough HTTP/1.1"
        " and HTTP/2; all gRPC calls share one connection. Calls run in a closed loop, so many"
        " open at any time. paced: 64 streams, each a chunk every 20 ms; bursts: 64 streams, each"
        " 16 chunks every 200 ms; unpaced: 64 streams of 200 chunks, each chunk a write of its own,"
        " as fast as they are taken. Per core: by the processor time of the server, in all its"
        f" threads; direct, that of the upstream. Memory: growth of a fresh process."
        f" {_about_python()};"
        f" {', '.join(versions)}."
    )


def about_machine() -> str:
    """Versions and machine, in one sentence."""
    versions = (f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    return f"{_about_python()}; {', '.join(versions)}."


def _about_python() -> str:
    return (
        f"chatpb {implementation}; {platform.python_implementation()} {platform.python_version()},"
        f" {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    )


def allow_open_files() -> None:
    """Lets this process and its children open as many files as the system allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench-relay",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="fewer and shorter rounds; fail if a target was not measured",
    )
    parser.add_argument(
        "--peer",
        action="append",
        choices=sorted(peers.OPTIONS),
        default=[],
        help="measure this one too; several times for several",
    )
    parser.add_argument("--profile", action="store_true", help="profile the relay instead")
    parser.add_argument("--output", type=Path, default=OUTPUT, help=f"JSON, by default {OUTPUT}")
    parser.add_argument("--docs", action="store_true", help="update the documentation")
    parser.add_argument("--check", action="store_true", help="fail if a target is missed")
    args = parser.parse_args()
    if args.docs:
        try:
            pages.check(MARKS)
        except (OSError, ValueError) as error:
            parser.error(str(error))
    return args


if __name__ == "__main__":
    sys.exit(main())
