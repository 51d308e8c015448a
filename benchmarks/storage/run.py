"""Measure chatpb's forms of storage: sizes and speeds, next to those of others in the same run.

The inputs are made from a fixed seed; your own files are measured too. In `exchanges`, 1,500
conversations go on at once: with that number, the first form of chatpb's table was 1.17 times as
large as zstd -19. The more there are, the farther away is the text that comes again, and the
smaller is the table next to zstd -19: the sizes for 300 and 4,000 are measured too.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

from chatpb import implementation
from common import pages
from common.limits import failed
from common.report import show
from storage.forms import FORMS, TABLE, TABLE_19, ZSTD_19, Form, Work
from storage.inputs import EXCHANGE, EXCHANGES, Source, generated, named
from storage.queries import APPENDS, QUERIES
from storage.results import MARKS, fill_plan, parts, tables, verdicts
from storage.rows import COUNT, SUMS

OUTPUT: Final = Path("build/bench-storage.json")
PLAN: Final = Path("docs/spark.md")
PACKAGES: Final = ("botocore", "duckdb", "protobuf", "pyarrow", "zstandard")
EXAMPLES: Final = """\
examples:
  make bench-storage                       all, about twenty minutes; --rounds 1: ten
  make bench-storage ARGS=--quick          less exact, two minutes
  make bench-storage FILES="answers.jsonl recordings/"     your own too: JSON, JSON lines, folders
  make bench-storage ARGS=--docs     also update docs/benchmarks.md, docs/spark.md and the README
  make bench-storage ARGS=--check    exit code 1 if a target is missed

`make bench-storage` installs the project and what the rest needs into .venv-bench first.
"""


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        rounds: How often.
        share: How much of the inputs.
    """

    rounds: int
    share: float


_WORKERS: Final = 2
_QUERY_ROUNDS: Final = 5
FULL: Final = Effort(rounds=3, share=1)
QUICK: Final = Effort(rounds=1, share=0.03)


def main() -> int:
    """Measures, prints and writes what was found."""
    args = _arguments()
    effort = QUICK if args.quick else FULL
    if args.rounds:
        effort = replace(effort, rounds=args.rounds)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        try:
            sources = [source for path in args.files for source in named(Path(folder), path)]
        except (OSError, ValueError) as error:
            sys.exit(str(error))
        if not args.only_files:
            _say("making inputs")
            sources = [*generated(Path(folder), share=effort.share), *sources]
        results = measure_all(Path(folder), sources, effort, with_rows=not args.only_files)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(results, indent=1) + "\n")
    show(tables(results))
    print(results["about"])
    if args.docs:
        pages.write(MARKS, parts(results), results["targets"])
        PLAN.write_text(fill_plan(PLAN.read_text("utf-8"), results), "utf-8")
    is_whole = args.quick and not args.only_files
    failures = failed(results["targets"], missed=args.check, unmeasured=is_whole)
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


def measure_all(
    folder: Path, sources: list[Source], effort: Effort, *, with_rows: bool
) -> dict[str, Any]:
    """Has each form do its work on each input in each round, each time in a fresh process."""
    _say("what is written once, two at a time")
    once = [(source, form) for source in sources for form in _forms(source) if _once(source, form)]
    with ThreadPoolExecutor(_WORKERS) as workers:
        rounds = [*workers.map(lambda each: _write(folder, *each), once)]
    for turn in range(effort.rounds):
        for source in filter(attrgetter("is_timed"), sources):
            _say(f"round {turn + 1} of {effort.rounds}: {source.name}")
            for form in _forms(source):
                rounds += _turn(folder, source, form, is_first=turn == 0)
    queries: list[dict[str, Any]] = []
    appended: dict[str, Any] = {}
    for source in sources:
        if source.name == EXCHANGES:
            queries, appended = _queries(folder, source)
    count = round(COUNT * effort.share)
    sums = _sums(folder, count, effort.rounds) if with_rows else []
    return {
        "about": _about(effort),
        "inputs": [source.describe() for source in sources],
        "rounds": rounds,
        "sums": sums,
        "rows": count,
        "queries": queries,
        "appended": appended,
        "targets": verdicts(rounds, sums, queries, appended),
    }


def _forms(source: Source) -> list[Form]:
    if source.kind == EXCHANGE and not source.is_timed:
        return [form for form in FORMS if form.name in (ZSTD_19, TABLE, TABLE_19)]
    return [form for form in FORMS if form.takes_exchanges or source.kind != EXCHANGE]


def _once(source: Source, form: Form) -> bool:
    return form.writer is not None and (form.is_slow or not source.is_timed)


def _stored(folder: Path, source: Source, form: Form) -> Path:
    return folder / f"{source.path.stem}.{form.ending}"


def _write(folder: Path, source: Source, form: Form) -> dict[str, Any]:
    stored = _stored(folder, source, form)
    _remove(stored)
    written = _work("measure", Work.WRITE, form.name, source.kind, source.path, stored)
    if "refused" in written:
        print(f"{form.name}, {source.name}: {written['refused']}", file=sys.stderr)
    place = {"form": form.name, "input": source.name, "json_bytes": source.size}
    return place | {"work": Work.WRITE} | written


def _queries(folder: Path, source: Source) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Queries of a table made by one append, and of one made by many and an optimize."""
    _say(f"{APPENDS} appends")
    small, whole = folder / "small.table", folder / "whole.table"
    appended = _work("appends", APPENDS, source.path, small, whole)
    found = []
    for _ in range(_QUERY_ROUNDS):
        for name in QUERIES:
            for made, table in (("small", small), ("whole", whole)):
                place = {"query": name, "made": made}
                found.append(place | _work("query", name, table))
    for name in QUERIES:
        if len({each["result"] for each in found if each["query"] == name}) != 1:
            sys.exit(f"the results differ: {found}")
    return found, appended


def _turn(folder: Path, source: Source, form: Form, *, is_first: bool) -> Iterator[dict[str, Any]]:
    """Writes a form and reads it."""
    stored = _stored(folder, source, form)
    place = {"form": form.name, "input": source.name, "json_bytes": source.size}
    if form.writer and not form.is_slow:
        written = _write(folder, source, form)
        yield written
        if "refused" in written:
            return
    if form.reader and source.kind != EXCHANGE:
        target = folder / "read.jsonl"
        read = _work("measure", Work.READ, form.name, source.kind, stored, target)
        if is_first and "refused" not in read:
            read |= _work("compare", source.path, target)
        yield place | {"work": Work.READ} | read
        _remove(target)


def _sums(folder: Path, count: int, rounds: int) -> list[dict[str, Any]]:
    _say(f"making {count:,} rows")
    lines, table = folder / "rows.jsonl.zst", folder / "rows.table"
    size = _work("rows", count, lines, table)["bytes"]
    found = []
    for turn in range(rounds):
        _say(f"round {turn + 1} of {rounds}: a column of {count:,} rows")
        place = {"json_bytes": size}
        found += [{"sum_of": n} | place | _work("sum", n, lines, table) for n in SUMS]
    if len({each["sum"] for each in found}) != 1:
        sys.exit(f"the sums differ: {found}")
    return found


def _work(task: str, *arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-P", "-m", "storage.worker", task, *map(str, arguments)]
    process = subprocess.run(command, stdout=subprocess.PIPE)
    if process.returncode:
        sys.exit(f"{' '.join(command[4:])} failed: {process.returncode}")
    found: dict[str, Any] = json.loads(process.stdout)
    return found


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _say(what: str) -> None:
    print(f"measuring: {what}", file=sys.stderr, flush=True)


def _about(effort: Effort) -> str:
    versions = [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES]
    return (
        f"Medians of {effort.rounds} rounds; in each, every form has its turn at every input in a"
        " fresh process; what has zstd -19 is written once, two at a time. Speed is by"
        " processor time of all threads of the process, as MB (10^6 bytes) of JSON for each second"
        " and core; others have one thread. Writing begins with JSON lines in a file and ends with"
        " a file, reading the other way about. The log syncs once a second, the table at its end,"
        " others never."
        f" chatpb {implementation}; {platform.python_implementation()} {platform.python_version()},"
        f" {platform.system()} {platform.machine()}, {os.cpu_count()} cores;"
        f" {', '.join(versions)}."
    ) + (f" Inputs of {effort.share:.0%} of the usual size." if effort.share < 1 else "")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench-storage",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="a file or a folder")
    parser.add_argument("--only-files", action="store_true", help="leave out the other inputs")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one round, a tenth of the inputs; fail if a target was not measured",
    )
    parser.add_argument("--rounds", type=int, help=f"by default {FULL.rounds}")
    parser.add_argument("--output", type=Path, default=OUTPUT, help=f"JSON, by default {OUTPUT}")
    parser.add_argument("--folder", type=Path, help="where files are written, and then removed")
    parser.add_argument("--docs", action="store_true", help="update the documentation")
    parser.add_argument("--check", action="store_true", help="fail if a target is missed")
    args = parser.parse_args()
    if args.only_files and not args.files:
        parser.error("--only-files needs files")
    if len({file.name for file in args.files}) < len(args.files):
        parser.error("two files have the same name, which is how the tables tell them apart")
    if args.docs:
        try:
            pages.check(MARKS)
            MARKS.split(PLAN.read_text("utf-8"))
        except (OSError, ValueError) as error:
            parser.error(str(error))
    return args


if __name__ == "__main__":
    sys.exit(main())
