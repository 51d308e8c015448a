"""Several workers next to one.

Upstream and load generator need cores too, so that calls for each second of the clock do not show
what the workers could do on cores of their own. Processor time does: N saturated workers on N cores
answer N calls in the processor time of one. It does not show how evenly the kernel spreads
connections; so the busiest worker's share is measured as well.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from statistics import median
from typing import Any, Final

from common.tables import Table, number
from relay.plan import Plan
from relay.scenarios import Effort, Scenario
from relay.subject import EDGE, RELAY, Subject
from relay.subjects import Stage

WORKERS: Final = "workers"  # the key of what is found
EFFICIENCY: Final = "efficiency"
#: How many workers are compared with one.
COUNT: Final = max(2, os.cpu_count() or 2)
_CONNECTIONS: Final = 64


def measure_workers(
    ready: Stage, effort: Effort, fail: Callable[[str, str], None]
) -> dict[str, dict[str, float]]:
    """Has one worker and several answer calls, in turns, over gRPC and over HTTP.

    Args:
        ready: The stage.
        effort: How much time is spent.
        fail: Called with the place and the reason of what fails.

    Returns:
        What was found for each of both edges.
    """
    scenario = Scenario(
        WORKERS, Plan(), _CONNECTIONS, effort.throughput_s, 0.3, connections=_CONNECTIONS
    )
    rounds: dict[tuple[str, int], list[dict[str, Any]]] = {}
    with contextlib.ExitStack() as stack:
        subjects: list[tuple[int, Subject]] = []
        for count in (1, COUNT):
            flags = () if count == 1 else ("--workers", str(count))
            subjects += [(count, edge) for edge in stack.enter_context(ready.relay(*flags))]
        for turn in range(effort.rounds + 1):
            for count, subject in subjects:
                found = ready.load.measure(scenario.order(subject))
                if "error" in found:
                    fail(f"{subject.name}, {count} workers", found["error"])
                elif turn:  # the first is the warm-up
                    rounds.setdefault((subject.name, count), []).append(found)
    return {
        edge: _compared(rounds[edge, 1], rounds[edge, COUNT])
        for edge in (RELAY, EDGE)
        if (edge, 1) in rounds and (edge, COUNT) in rounds
    }


def _compared(one: list[dict[str, Any]], many: list[dict[str, Any]]) -> dict[str, float]:
    per_cpu, per_clock = (
        [median(f["calls"] / f[what] for f in found) for found in (one, many)]
        for what in ("cpu_s", "seconds")
    )
    return {
        EFFICIENCY: per_cpu[1] / per_cpu[0],
        "one": per_cpu[0],
        "many": per_cpu[1],
        "share": median(f["busiest_s"] / f["cpu_s"] for f in many) * COUNT,
        "clock": per_clock[1] / per_clock[0] / COUNT,
        "cores": median(sum(f[name] for name in _ALL) / f["seconds"] for f in many),
    }


_ALL: Final = ("cpu_s", "upstream_s", "load_s")


def table(found: dict[str, dict[str, float]]) -> Table:
    """The table of workers."""
    heads = ["calls/s per core\none worker", f"\n{COUNT} workers", "ratio"]
    heads += [
        "busiest worker\n/ its fair share",
        f"by the clock\n/ {COUNT} x one",
        "cores that\nall used",
    ]
    shown = Table(f"--workers {COUNT}", ["", *heads, ""])
    for edge, values in found.items():
        row = [f"{values[name]:,.0f}" for name in ("one", "many")]
        row += [number(values[name]) for name in (EFFICIENCY, "share", "clock", "cores")]
        shown.rows.append([edge, *row, f"{_CONNECTIONS} connections"])
    return shown
