"""Measure how long chatpb takes to start: imports, first conversions, commands and the relay."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

from common.limits import Limit, at_most, failed, judge, table
from common.report import show
from common.tables import Table

OUTPUT: Final = Path("build/bench-startup.json")
SUBJECT: Final = "chatpb"
_DOCUMENT: Final = (
    '{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,'
    '"message":{"role":"assistant","content":"Hello","refusal":null,"annotations":[]},'
    '"logprobs":null,"finish_reason":"stop"}]}'
)
_READ: Final = f"chatpb.from_json({_DOCUMENT!r})"
_PYTHON: Final = "Python alone"
_PROTOBUF: Final = "import google.protobuf"
#: What a generated module needs whose fields have options, as those of chatpb do.
_STUBS: Final = "import google.protobuf.descriptor_pb2"
_IMPORT: Final = "import chatpb"
_FIRST: Final = "import chatpb; chatpb.from_json(...)"
_HELP: Final = "chatpb --help"
_TO_JSON: Final = "chatpb to-json FILE"
_RELAY: Final = "chatpb-server, until it listens"
_PURE: Final = "the same in pure Python"
_IMPORTS: Final = ("chatpb.v1", "chatpb.sse", "chatpb.client", "chatpb.log", "chatpb.store")
_MORE_IMPORTS: Final = ("chatpb.table", "chatpb.transport")
_COMMANDS: Final = ("roundtrip", "inspect")


@dataclass
class Times:
    """The milliseconds of the runs of one process: of processors, and on the clock."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)


Found = dict[str, Times]


def _ratio(one: str, other: str) -> Limit[Found]:
    """The least processor time of one process in that of another."""
    return at_most(
        f"{one} / {other}", 1.3, lambda found: min(found[one].cpu) / min(found[other].cpu)
    )


LIMITS: Final[tuple[Limit[Found], ...]] = (
    _ratio(_IMPORT, _PROTOBUF),
    _ratio(_FIRST, _STUBS),
    at_most(f"{_HELP}, ms", 150, lambda found: median(found[_HELP].wall)),
    at_most(f"{_TO_JSON}, ms", 150, lambda found: median(found[_TO_JSON].wall)),
)


def main() -> int:
    """Measures, prints tables and writes the figures; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--rounds", type=int, help="how often each process is started (40)")
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="FILE")
    parser.add_argument("--check", action="store_true", help="fail if a limit is missed")
    arguments = parser.parse_args()
    rounds = arguments.rounds or (2 if arguments.quick else 40)
    with tempfile.TemporaryDirectory() as folder:
        found = measured(Path(folder), rounds)
    shown = Table(f"ms of {rounds} runs, in turns", ["", "CPU, least", "median", "wall", ""])
    for name, times in found.items():
        numbers = (min(times.cpu), median(times.cpu), median(times.wall))
        shown.rows.append([name, *(f"{number:.1f}" for number in numbers), ""])
    verdicts = judge(LIMITS, {SUBJECT: found}, SUBJECT)
    show([shown, table(verdicts, [SUBJECT])])
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    figures = {name: {"cpu": times.cpu, "wall": times.wall} for name, times in found.items()}
    arguments.output.write_text(json.dumps({"found": figures, "targets": verdicts}, indent=1))
    missed = failed(verdicts, missed=arguments.check, unmeasured=False)
    print("\n".join(missed), end="\n" if missed else "", file=sys.stderr)
    return bool(missed)


def measured(folder: Path, rounds: int) -> Found:
    """The times of all processes, which are started in turns.

    Modules are compiled to bytecode first, as pip does when it installs them.

    Args:
        folder: For files.
        rounds: How often each process is started.
    """
    file = folder / "response.json"
    file.write_text(_DOCUMENT)
    python = [sys.executable, "-P"]
    cli = [*python, "-m", "chatpb"]
    commands = {
        _PYTHON: [*python, "-c", "pass"],
        _PROTOBUF: [*python, "-c", _PROTOBUF],
        _STUBS: [*python, "-c", _STUBS],
        _IMPORT: [*python, "-c", _IMPORT],
        _FIRST: [*python, "-c", f"import chatpb; {_READ}"],
        _PURE: [*python, "-c", f"import chatpb; {_READ}"],
        **{f"import {name}": [*python, "-c", f"import {name}"] for name in _IMPORTS},
        **{f"import {name}": [*python, "-c", f"import {name}"] for name in _MORE_IMPORTS},
        _HELP: [*cli, "--help"],
        _TO_JSON: [*cli, "to-json", str(file)],
        **{f"chatpb {name} FILE": [*cli, name, str(file)] for name in _COMMANDS},
        "chatpb-server --help": [*python, "-m", "chatpb_server", "--help"],
        _RELAY: [*python, "-m", "chatpb_server", "--listen", "127.0.0.1:0"],
    }
    env = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
    for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "CHATPB_IMPLEMENTATION"):
        env.pop(name, None)
    found = {name: Times() for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            pure = {"CHATPB_IMPLEMENTATION": "python"} if name == _PURE else {}
            cpu, wall = _run(command, {**env, **pure}, until_it_listens=name == _RELAY)
            if number:
                found[name].cpu.append(cpu)
                found[name].wall.append(wall)
    return found


def _run(
    command: Sequence[str], env: dict[str, str], *, until_it_listens: bool
) -> tuple[float, float]:
    """The milliseconds of a process: of processors, and on the clock.

    A process that listens is ended; its processor time includes its end.
    """
    begin = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=errors)
        assert process.stdout
        first = process.stdout.readline() if until_it_listens else process.stdout.read()
        wall = time.perf_counter() - begin
        if until_it_listens:
            process.terminate()
        _, status, used = os.wait4(process.pid, 0)
        if not until_it_listens:
            wall = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        process.stdout.close()
        if process.returncode or (until_it_listens and not first.startswith(b"listening on ")):
            errors.seek(0)
            sys.exit(f"{' '.join(command)}: {first!r} {errors.read().decode()}")
    return 1e3 * (used.ru_utime + used.ru_stime), 1e3 * wall


if __name__ == "__main__":
    sys.exit(main())
