"""What was found at scale: the targets, the tables, and the part of the documentation."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from common import limits
from common.limits import at_most, judge
from common.marks import Marks, markdown
from common.tables import Table, number
from relay import distance, fleet
from relay.subject import DIRECT, EDGE, RELAY

MARKS: Final = Marks("make bench-scale")
PAGE: Final = Path("docs/scale.md")

Found = dict[str, dict[str, float]]
_STREAMS: Final = re.compile(r"([\d,]+) x ([\d.]+)/s")
_BYTES: Final = re.compile(r"([\d,]+) bytes")
_CHUNKS: Final = re.compile(r"([\d,]+) chunks")
_SMALLEST: Final = 100_000  # bytes; below, a call's own cost is most of it
_LARGE: Final = 10_000_000  # below, what the allocator keeps is a large part
_MIB: Final = 2**20


def _points(found: Found, pattern: re.Pattern[str], key: str) -> list[tuple[float, float]]:
    return [
        (float(match[1].replace(",", "")), values[key])
        for name, values in found.items()
        if (match := pattern.fullmatch(name))
    ]


def exponent(points: list[tuple[float, float]]) -> float | None:
    """The power of the size that a cost grows with, by least squares: 1 is linear.

    Args:
        points: Sizes and costs. None is returned for fewer than two.
    """
    logs = [(math.log(size), math.log(cost)) for size, cost in points if cost > 0]
    if len(logs) < 2:
        return None
    middle = [sum(axis) / len(logs) for axis in zip(*logs, strict=True)]
    spread = sum((x - middle[0]) ** 2 for x, _ in logs)
    return float(sum((x - middle[0]) * (y - middle[1]) for x, y in logs) / spread)


def _of_bytes(edge: str) -> Callable[[dict[str, Found]], float | None]:
    return lambda found: exponent(
        [p for p in _points(found[edge], _BYTES, "cpu_us_of_calls") if p[0] >= _SMALLEST]
    )


def _of_chunks(edge: str) -> Callable[[dict[str, Found]], float | None]:
    return lambda found: exponent(_points(found[edge], _CHUNKS, "cpu_us_of_calls"))


def _most_per_byte(edge: str) -> Callable[[dict[str, Found]], float | None]:
    def value(found: dict[str, Found]) -> float | None:
        points = _points(found[edge], _BYTES, "peak")
        return max((peak / size for size, peak in points if size >= _LARGE), default=None)

    return value


def _most_of_stream(edge: str) -> Callable[[dict[str, Found]], float | None]:
    return lambda found: max(
        (peak / _MIB for _, peak in _points(found[edge], _CHUNKS, "peak")), default=None
    )


_TARGETS: Final = tuple(
    limit
    for edge in (RELAY, EDGE)
    for limit in (
        at_most(f"{edge}: exponent of CPU over size, 0.1 to 50 MB", 1.1, _of_bytes(edge)),
        at_most(f"{edge}: the same of streams, 1 to 50 MB", 1.1, _of_chunks(edge)),
        at_most(f"{edge}: most memory of an answer / its size", 6, _most_per_byte(edge)),
        at_most(f"{edge}: most memory of a stream of any length, MiB", 16, _most_of_stream(edge)),
    )
)


def verdicts(found: dict[str, Found]) -> list[dict[str, Any]]:
    """Each target, with what was reached."""
    return judge(_TARGETS, {RELAY: found}, RELAY)


def tables(results: dict[str, Any]) -> Iterator[Table]:
    """All tables, the targets last."""
    found = results["found"]
    yield _streams(found)
    yield _sizes(found)
    yield fleet.table(results["fleet"])
    yield distance.table(results["distance"])
    yield limits.table(results["targets"], [RELAY])


def _streams(found: dict[str, Found]) -> Table:
    heads = ["chunks/s", "/ what is\nasked for", "chunks in\na message"]
    heads += ["between chunks,\nms: p50", "p99", "p99\ndirect"]
    heads += ["memory,\nMiB", "KiB a\nstream", "us a\nchunk", "cores:\nrelay", "upstream", "load"]
    table = Table("Open streams", ["", *heads, ""])
    for edge in (RELAY, EDGE):
        for name, values in found[edge].items():
            match = _STREAMS.fullmatch(name)
            if not match:
                continue
            count = float(match[1].replace(",", ""))
            asked = count * float(match[2])
            direct = found[DIRECT].get(name, {})
            opened = values["opened_calls"]
            row = [f"{values.get('chunks_per_s', 0):,.0f}"]
            row += [number(values.get("chunks_per_s", 0) / asked)]
            row += [number(values.get("chunks_per_message"))]
            row += [number(values.get(key)) for key in ("gap_p50_ms", "gap_p99_ms")]
            row += [number(direct.get("gap_p99_ms"))]
            row += [f"{(values['before'] + values['grown']) / _MIB:,.0f}"]
            row += [number(values["grown"] / opened / 1024) if opened >= 100 else "-"]
            row += [number(values.get("cpu_us_of_chunks"))]
            row += [number(values[f"{who}cores"]) for who in ("", "upstream_", "load_")]
            note = "" if opened >= count else f"{opened:,.0f} had begun"
            table.rows.append([f"{edge}: {name}", *row, note])
    return table


def _sizes(found: dict[str, Found]) -> Table:
    heads = ["CPU, ms", "ms of CPU\nfor each MB", "p50, ms", "p50, ms\ndirect", "most memory,\nMiB"]
    table = Table("Answers by size, one after the other", ["", *heads, ""])
    for edge in (RELAY, EDGE):
        for name, values in found[edge].items():
            whole, parts = _BYTES.fullmatch(name), _CHUNKS.fullmatch(name)
            if not (whole or parts) or "cpu_us_of_calls" not in values:
                continue
            match = whole or parts
            assert match
            megabytes = float(match[1].replace(",", "")) / 1e6 * (1 if whole else _CHUNK_BYTES)
            cpu = values["cpu_us_of_calls"] / 1000
            row = [number(cpu), number(cpu / megabytes), number(values["duration_p50_ms"])]
            row += [number(found[DIRECT].get(name, {}).get("duration_p50_ms"))]
            row += [number(values["peak"] / _MIB)]
            note = "" if whole else f"{megabytes:.0f} MB of events"
            table.rows.append([f"{edge}: {name}", *row, note])
    return table


_CHUNK_BYTES: Final = 330  # of an event, on average


def parts(results: dict[str, Any]) -> list[str]:
    """What goes between the marks."""
    return [results["about"], *map(_markdown, tables(results))]


def _markdown(table: Table) -> str:
    heads = [name.replace("\n", " ") for name in table.header[1:]]
    return markdown(table.title, heads, table.rows)
