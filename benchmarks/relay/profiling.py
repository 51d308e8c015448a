"""What the relay's main thread spends its time on."""

from __future__ import annotations

import os
import pstats
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

from common.tables import Table
from relay.scenarios import Scenario
from relay.subject import RELAY
from relay.subjects import Stage

_WRITE_S: Final = 1.0
_FUNCTIONS: Final = 12

Key = tuple[str, int, str]  # file, line, function
_K = TypeVar("_K")


def profiles(ready: Stage, scenarios: list[Scenario]) -> Iterator[Table]:
    """Has a fresh relay do each scenario under a profiler."""
    for scenario in scenarios:
        path = ready.folder / f"{scenario.name.replace(' ', '-')}.prof"
        with ready.subject(RELAY, path) as subject:
            order = scenario.order(subject)
            ready.load.measure(order)  # warm-up
            os.kill(subject.pids[0], signal.SIGUSR1)
            found = ready.load.measure(order)
            if "error" in found:
                sys.exit(found["error"])
            os.kill(subject.pids[0], signal.SIGUSR2)
            time.sleep(_WRITE_S)
        yield _table(scenario.name, found, path)


def _table(name: str, found: dict[str, Any], path: Path) -> Table:
    stats: dict[Key, tuple[int, int, float, float, dict[Key, tuple[int, int, float, float]]]]
    stats = pstats.Stats(str(path)).stats  # type: ignore[attr-defined]
    packages: dict[str, float] = defaultdict(float)
    functions: dict[Key, float] = {}
    for key, (_, _, own, _, callers) in stats.items():
        if "'poll'" in key[2] or "'control'" in key[2]:  # waiting
            continue
        functions[key] = own
        if package := _package(key):
            packages[package] += own
        else:  # builtin: the time of those who call it
            for caller, (_, _, part, _) in callers.items():
                packages[_package(caller) or "builtin"] += part
    total = sum(functions.values())
    main = found["main_s"] / (found["cpu_s"] or 1)
    title = f"{name}: own time under the profiler; the main thread has {min(main, 1):.0%} of all"
    table = Table(title, ["", "share", "calls", ""])
    for package, own in _most(packages):
        if own >= total / 100:
            table.rows.append([package, f"{own / total:.0%}", "", ""])
    for key, own in _most(functions)[:_FUNCTIONS]:
        file, line, function = key
        place = f"{'/'.join(Path(file).parts[-2:])}:{line}" if line else ""
        row = [f"  {function[:60]}", f"{own / total:.1%}", f"{stats[key][1]:,}", place]
        table.rows.append(row)
    return table


def _most(times: dict[_K, float]) -> list[tuple[_K, float]]:
    return sorted(times.items(), key=lambda item: -item[1])


def _package(key: Key) -> str:
    file, _, function = key
    if "_contextvars.Context" in function:
        return "gRPC's callbacks: compiled, not seen one by one"
    if "_chatpb" in function:
        return "chatpb, native"
    if file == "~":
        return ""
    _, found, place = file.rpartition("site-packages/")
    if found:
        return place.partition("/")[0]
    return "asyncio" if Path(file).parent.name == "asyncio" else "the standard library"
