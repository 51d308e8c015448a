"""What a fleet of relays costs, computed from what one process costs.

load of a stream = chunks/s x CPU of a chunk + CPU of a call / seconds that a stream lasts
streams of a process = share of its core that is used / load of a stream
memory = processes x memory of one + streams x memory of one
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from common.tables import Table
from relay.subject import EDGE, RELAY

CALLS: Final = "calls"
#: The rows whose figures are used: not near the bound, and with many streams.
USUAL: Final = {"chunk": "100 x 20/s", "memory": "1,000 x 1/s"}
_STREAMS: Final = 1_000_000
_USED: Final = 0.6
_LASTING_S: Final = 20
_RATES: Final = (1, 20, 50)


@dataclass(frozen=True)
class Cost:
    """What one process costs.

    Attributes:
        chunk_us: Processor time of a chunk.
        call_us: Processor time of a stream's beginning and end.
        stream_kib: Memory of an open stream.
        process_mib: Memory of a process without streams.
    """

    chunk_us: float
    call_us: float
    stream_kib: float
    process_mib: float

    def fleet(self, rate: float) -> tuple[float, float, float]:
        """What a million streams cost.

        Args:
            rate: Chunks a second of each stream.

        Returns:
            Streams of a process, processes, which are cores, and GiB.
        """
        load = rate * self.chunk_us / 1e6 + self.call_us / 1e6 / _LASTING_S
        streams = _USED / load
        processes = _STREAMS / streams
        memory = processes * self.process_mib / 1024 + _STREAMS * self.stream_kib / 1024**2
        return streams, processes, memory


def fleet(found: dict[str, dict[str, dict[str, float]]]) -> list[list[Any]]:
    """The rows of the table: an edge, a rate, and what a million streams cost."""
    rows: list[list[Any]] = []
    for edge in (RELAY, EDGE):
        chunk, memory, calls = (
            found[edge].get(name) for name in (USUAL["chunk"], USUAL["memory"], CALLS)
        )
        if chunk and memory and calls:
            cost = Cost(
                chunk["cpu_us_of_chunks"],
                calls["cpu_us_of_calls"],
                memory["grown"] / memory["opened_calls"] / 1024,
                memory["before"] / 2**20,
            )
            rows += [[edge, rate, *cost.fleet(rate)] for rate in _RATES]
    return rows


def table(rows: list[list[Any]]) -> Table:
    """The table."""
    heads = [
        "chunks/s\nof a stream",
        "streams of\na process",
        "processes\nand cores",
        "memory, GiB",
    ]
    title = f"{_STREAMS:,} streams of {_LASTING_S} s, at {_USED:.0%} of each core"
    shown = Table(title, ["", *heads, ""])
    for edge, *values in rows:
        shown.rows.append([edge, *(f"{value:,.0f}" for value in values), ""])
    return shown
