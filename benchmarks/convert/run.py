"""Measure chatpb: speed, memory and size, each as a ratio to a peer in the same run.

The inputs are made from a fixed seed or recorded from llama.cpp; your own files are measured too.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from common import pages
from common.documents import logprobs, shortest
from common.limits import failed
from common.report import show
from convert.inputs import TOKENS, of_files
from convert.measure import FULL, QUICK
from convert.page import MARKS, parts
from convert.svg import draw
from convert.tables import tables
from convert.targets import ratios, verdicts

BENCHMARKS: Final = Path(__file__).resolve().parents[1]
OUTPUT: Final = Path("build/bench.json")
PICTURE: Final = Path("docs/benchmarks.svg")
IMPLEMENTATIONS: Final = ("native", "python")
PACKAGES: Final = [
    "msgspec",
    "openai",
    "orjson",
    "protobuf",
    "protobuf-py",
    "pydantic",
    "pysimdjson",
]
EXAMPLES: Final = """\
examples:
  python -m convert.run                        all, about three minutes
  python -m convert.run --quick                less exact, about a minute
  python -m convert.run response.json          your own too: JSON, JSON lines, events, folders
  python -m convert.run --docs                 also update docs/benchmarks.md and the README
  python -m convert.run --check                exit code 1 if a target is missed

`make bench` installs the project and the peers into .venv-bench first.
"""


def main() -> int:
    """Measures, prints and writes what was found."""
    args = _arguments()
    results = measure_all(args.files, quick=args.quick)
    show(tables(results))
    print(results["method"])
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(results, indent=1) + "\n")
    if args.docs:
        PICTURE.write_text(draw(results))
        pages.write(MARKS, parts(results), results["targets"])
    failures = failed(results["targets"], missed=args.check, unmeasured=args.check or args.quick)
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


def measure_all(files: list[Path], *, quick: bool) -> dict[str, Any]:
    """Runs a process for the peers and two for each implementation, one after the other."""
    effort = QUICK if quick else FULL
    options = [*(str(file.resolve()) for file in files), *(["--quick"] if quick else [])]
    found = {name: _implementation(name) for name in IMPLEMENTATIONS}
    present = [name for name, reason in found.items() if not reason]
    if not present:
        sys.exit("\n".join(f"chatpb {name}: {reason}" for name, reason in found.items()))
    shares: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        large = _large_document(Path(folder), megabytes=2 if quick else 20)
        for name in present:
            speed = _work(name, "speed", *options)
            shares[name] = speed | _work(name, "memory", str(large))
    peers = _work(present[0], "peers", *options)
    cells = [cell for name in present for cell in shares[name]["cells"]] + peers["cells"]
    return {
        "environment": _environment(),
        "method": effort.describe(),
        "rounds": effort.rounds,
        "sizes": shares[present[0]]["sizes"],
        "implementations": {
            name: {key: share[key] for key in ("thread_gain", "memory")}
            for name, share in shares.items()
        },
        "missing": {name: reason for name, reason in found.items() if reason},
        "ratios": ratios(shares, peers["cells"]),
        "targets": verdicts(shares, peers["cells"], present[0]),
        "cells": cells,
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="a file or a folder of your own"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="fewer rounds, a smaller memory test; fail if a target was not measured",
    )
    parser.add_argument("--output", type=Path, default=OUTPUT, help=f"JSON, by default {OUTPUT}")
    parser.add_argument("--docs", action="store_true", help="update the documentation")
    parser.add_argument("--check", action="store_true", help="fail if a target is missed")
    args = parser.parse_args()
    names: list[str] = []
    for file in args.files:
        try:
            names += [found.name for found in of_files(file)]
        except (OSError, ValueError) as error:
            parser.error(str(error))
    if args.docs:
        try:
            pages.check(MARKS)
        except (OSError, ValueError) as error:
            parser.error(str(error))
    if len(set(names)) < len(names):
        parser.error("two files have the same name, which is how the tables tell them apart")
    return args


def _implementation(name: str) -> str:
    """Why an implementation of chatpb cannot be measured; nothing if it can."""
    code = "import chatpb; print(getattr(chatpb, 'implementation', 'python'))"
    process = subprocess.run(
        [sys.executable, "-c", code], env=_env(name), cwd=BENCHMARKS, capture_output=True, text=True
    )
    return "" if process.stdout.strip() == name else "not built"


def _work(implementation: str, share: str, *options: str) -> dict[str, Any]:
    print(f"measuring: {share}, chatpb {implementation}", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "convert.worker", share, *options]
    process = subprocess.run(
        command, env=_env(implementation), cwd=BENCHMARKS, stdout=subprocess.PIPE
    )
    if process.returncode:
        sys.exit(f"measuring {share} with chatpb {implementation} failed: {process.returncode}")
    found: dict[str, Any] = json.loads(process.stdout)
    return found


def _env(implementation: str) -> dict[str, str]:
    return {**os.environ, "CHATPB_IMPLEMENTATION": implementation, "PYTHONHASHSEED": "0"}


def _large_document(folder: Path, *, megabytes: int) -> Path:
    tokens = TOKENS * megabytes * 1_000_000 // len(logprobs(TOKENS, 20, shortest))
    path = folder / "large.json"
    path.write_bytes(logprobs(tokens, 20, shortest))
    return path


def _environment() -> dict[str, Any]:
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    system = f"{platform.system()} {platform.machine()}"
    return {"python": python, "system": system, "cores": os.cpu_count(), "packages": versions}


if __name__ == "__main__":
    sys.exit(main())
