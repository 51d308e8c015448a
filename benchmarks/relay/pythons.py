"""Measure the relay on several versions of Python, each on asyncio's event loop and on uvloop.

uv finds the interpreters, or downloads them; a path names one that it does not find. Each gets an
environment in .venv-pythons, with the versions of uv.lock and the same wheel.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from common.marks import Marks, markdown
from common.report import show
from common.tables import Table, number
from relay.results import reduce
from relay.run import about_machine, allow_open_files
from relay.scale_results import PAGE
from relay.scenarios import BUSY, MEMORY, OPEN_STREAMS, PACED, WARM_UP, Effort, scenarios
from relay.subject import EDGE, RELAY, Subject
from relay.subjects import Stage, stage

MARKS: Final = Marks("make bench-pythons")
OUTPUT: Final = Path("build/bench-pythons.json")
_VERSIONS: Final = ("3.11", "3.12", "3.13", "3.14", "3.14t")
_LOOPS: Final = ("asyncio", "uvloop")
_ENVIRONMENTS: Final = Path(".venv-pythons")
_UV: Final = Path(".venv-uv/bin/uv")
_WHEELS: Final = Path("build/pythons")
_FULL: Final = Effort(rounds=3, latency_s=1.0, throughput_s=1.0)
_QUICK: Final = Effort(rounds=1, latency_s=0.6, throughput_s=0.6)


class UnfitError(Exception):
    """A Python that the relay cannot be installed on, and why."""


@dataclass(frozen=True)
class Candidate:
    """What is measured.

    Attributes:
        version: The version of Python, as it says itself.
        python: Its interpreter, in its environment.
        loop: The event loop.
    """

    version: str
    python: Path
    loop: str

    @property
    def name(self) -> str:
        """What the table calls it."""
        return f"{self.version}, {self.loop}"


def main() -> int:
    """Measures, prints and writes what was found."""
    args = _arguments()
    allow_open_files()
    candidates: list[Candidate] = []
    unfit: dict[str, str] = {}
    wheel = _wheel()
    for version in args.python or _VERSIONS:
        try:
            python = _environment(version, wheel)
        except UnfitError as error:
            unfit[Path(version).name] = str(error)
        else:
            exact = _output(python, "-c", "import platform; print(platform.python_version())")
            candidates += [Candidate(exact, python, loop) for loop in _LOOPS]
    with tempfile.TemporaryDirectory() as folder, stage(Path(folder)) as ready:
        found = _measured(ready, candidates, _QUICK if args.quick else _FULL)
    results = {"about": about_machine(), "found": found, "unfit": unfit}
    shown = _table(found, unfit)
    show([shown])
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(results, indent=1) + "\n")
    if args.docs:
        heads = [name.replace("\n", " ") for name in shown.header[1:]]
        parts = [str(results["about"]), markdown(shown.title, heads, shown.rows)]
        PAGE.write_text(MARKS.fill(PAGE.read_text("utf-8"), parts), "utf-8")
    return 0


def _wheel() -> Path:
    """Builds the wheel, which fits all versions that have a lock around the interpreter."""
    for old in _WHEELS.glob("*.whl"):
        old.unlink()
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    subprocess.run([*pip, "--wheel-dir", str(_WHEELS), "."], check=True)
    [wheel] = _WHEELS.glob("*.whl")
    return wheel


def _environment(version: str, wheel: Path) -> Path:
    """Makes the environment of a Python; returns its interpreter.

    Raises:
        UnfitError: There is no such Python, or a package has no wheel for it.
    """
    folder = _ENVIRONMENTS / Path(version).name
    python = folder / "bin" / "python"
    sync = ("sync", "--locked", "--no-install-project", "--no-default-groups", "--no-build")
    env = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(folder)}
    steps = (
        ("venv", "--clear", "--python", version, str(folder)),
        (*sync, "--python", str(python), "--extra", "server", "--group", "loop"),
        ("pip", "install", "--no-deps", "--python", str(python), str(wheel)),
    )
    for step, reason in zip(steps, ("no such Python here, and no download", "", ""), strict=True):
        command = [str(_UV), "--quiet", *step]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            print(done.stderr, file=sys.stderr)
            raise UnfitError(reason or _reason(done.stderr))
    return python


def _reason(output: str) -> str:
    """What went wrong, in a line."""
    lines = output.encode("ascii", "ignore").decode().split()  # without uv's drawings
    return " ".join(lines)[:160] or "unknown"


def _output(*command: str | Path) -> str:
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, check=True)
    return done.stdout.decode().strip()


def _measured(
    ready: Stage, candidates: list[Candidate], effort: Effort
) -> dict[str, dict[str, dict[str, float]]]:
    """Has each candidate do each scenario in each round, over gRPC and over HTTP."""
    wanted = [each for each in scenarios(effort) if each.name in (BUSY, PACED)]
    rounds: dict[str, dict[str, list[dict[str, Any]]]] = {each.name: {} for each in candidates}

    def take(name: str, subject: Subject, scenario: Any) -> None:
        found = ready.load.measure(scenario.order(subject))
        if "error" in found:
            sys.exit(f"{name}: {found['error']}")
        rounds[name].setdefault(f"{subject.name}: {scenario.name}", []).append(found)

    with contextlib.ExitStack() as stack:
        both = {each.name: stack.enter_context(_running(ready, each)) for each in candidates}
        for subjects in both.values():
            for subject in subjects:
                for scenario in WARM_UP:
                    ready.load.measure(scenario.order(subject))
        for turn in range(effort.rounds):
            print(f"measuring: round {turn + 1} of {effort.rounds}", file=sys.stderr, flush=True)
            for scenario in wanted:
                for name, subjects in both.items():
                    for subject in subjects:
                        take(name, subject, scenario)
    for each in candidates:
        with _running(ready, each) as (relay, _):  # a fresh process: memory is not given back
            warm_up, streams = OPEN_STREAMS
            ready.load.measure(warm_up.order(relay))
            take(each.name, relay, streams)
    return {
        name: {scenario: reduce(turns) for scenario, turns in by_scenario.items()}
        for name, by_scenario in rounds.items()
    }


@contextlib.contextmanager
def _running(ready: Stage, candidate: Candidate) -> Iterator[tuple[Subject, Subject]]:
    script = Path(__file__).with_name("on_loop.py")
    command = (candidate.python, "-P", script, candidate.loop)
    with ready.relay(command=command) as both:
        yield both


def _table(found: dict[str, dict[str, dict[str, float]]], unfit: dict[str, str]) -> Table:
    heads = ["calls/s a core\ngRPC", "\nHTTP", "us of CPU a paced\nchunk: gRPC", "\nHTTP"]
    heads += ["KiB of an\nopen stream"]
    table = Table("Python and event loop", ["", *heads, ""])
    for name, values in found.items():

        def of(
            kind: str, key: str, values: dict[str, dict[str, float]] = values
        ) -> list[float | None]:
            return [values.get(f"{edge}: {kind}", {}).get(key) for edge in (RELAY, EDGE)]

        row = [f"{value:,.0f}" if value else "-" for value in of(BUSY, "calls_per_cpu_s")]
        row += map(number, of(PACED, "cpu_us_of_chunks"))
        memory = of(MEMORY, "bytes_per_stream")[0]
        table.rows.append([name, *row, number(memory and memory / 1024), ""])
    for version, reason in unfit.items():
        table.rows.append([version, *["-"] * len(heads), reason])
    return table


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-pythons", description=__doc__)
    parser.add_argument("python", nargs="*", help=f"versions or paths; else {' '.join(_VERSIONS)}")
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--output", type=Path, default=OUTPUT, help=f"JSON, by default {OUTPUT}")
    parser.add_argument("--docs", action="store_true", help=f"also write the table into {PAGE}")
    args = parser.parse_args()
    if args.docs:
        MARKS.check(PAGE, parser)
    return args


if __name__ == "__main__":
    sys.exit(main())
