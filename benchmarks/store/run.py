"""Measure stored completions: the relay's latency, the store's speed, and the bytes of a row."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from chatpb.store import StoredCompletion
from common.limits import Limit, at_most, failed, judge, table
from common.report import show
from common.tables import Table
from store.databases import postgres_bytes, speeds, sqlite_get
from store.latency import latencies
from store.rows import Row, rows

OUTPUT: Final = Path("build/bench-store.json")
#: So many different exchanges there are; more rows repeat them, with other ids.
DIFFERENT: Final = 20_000
SQLITE: Final = "SQLite"
POSTGRES: Final = "PostgreSQL"
Found = dict[str, float]
LIMITS: Final[tuple[Limit[Found], ...]] = (
    at_most("relay: median of unary calls, more with a store, ms", 0.5, lambda x: x["latency"]),
    at_most("get: median above the driver's own, ms", 1, lambda x: x["get"] - x["driver"]),
)
BYTES: Final[Limit[Found]] = at_most(
    "bytes of a row without indexes / as jsonb",
    0.5,
    lambda x: x["store alone"] / x["jsonb alone"],
)


def main() -> int:
    """Measures, prints tables and writes the figures; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows and calls")
    parser.add_argument("--rows", type=int, help="how many rows the store has (1,000,000)")
    parser.add_argument("--postgres", metavar="URL", help="measure an empty database there too")
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="FILE")
    parser.add_argument("--check", action="store_true", help="fail if a limit is missed")
    arguments = parser.parse_args()
    count = arguments.rows or (2_000 if arguments.quick else 1_000_000)
    calls = 100 if arguments.quick else 3_000
    different = [*rows(min(count, DIFFERENT))]
    found: dict[str, Found] = {}
    with tempfile.TemporaryDirectory() as folder:
        found["latency"] = latencies(calls, f"sqlite:///{folder}/relay.db")
        path = Path(folder, "rows.db")
        found[SQLITE] = asyncio.run(speeds(f"sqlite:///{path}", _many(different, count), 2_000))
        found[SQLITE]["driver"] = sqlite_get(path, [each.completion.id for each in different][:500])
        size = sum(each.stat().st_size for each in Path(folder).glob("rows.db*"))
        found[SQLITE]["bytes"] = size / count
    mean = sum(len(each.json) for each in different) / len(different)
    found[SQLITE]["JSON"] = mean
    if arguments.postgres:
        asked = _many(different, len(different))
        found[POSTGRES] = asyncio.run(speeds(arguments.postgres, asked, 2_000))
        texts = [each.json for each in different]
        found["bytes"] = asyncio.run(postgres_bytes(arguments.postgres, texts))
    latency = found["latency"]["difference"]
    judged = {"get": found[SQLITE]["get p50"], "driver": found[SQLITE]["driver"]}
    verdicts = judge(LIMITS, {SQLITE: judged | {"latency": latency}}, SQLITE)
    if "bytes" in found:
        verdicts += judge((BYTES,), {POSTGRES: found["bytes"]}, POSTGRES)
    shown = Table(f"{count:,} rows, {os.cpu_count()} cores", ["", "", "", ""])
    for name, each in found.items():
        shown.rows += [[name, key, f"{value:,.3f}", ""] for key, value in each.items()]
    show([shown, table(verdicts, [SQLITE, POSTGRES])])
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps({"found": found, "targets": verdicts}, indent=1))
    missed = failed(verdicts, missed=arguments.check, unmeasured=False)
    print("\n".join(missed), end="\n" if missed else "", file=sys.stderr)
    return 1 if missed else 0


def _many(different: list[Row], count: int) -> Iterator[StoredCompletion]:
    """So many rows with different ids."""
    for number in range(count):
        completion = different[number % len(different)].completion
        again = number // len(different)
        yield replace(completion, id=f"{completion.id}-{again}") if again else completion


if __name__ == "__main__":
    sys.exit(main())
