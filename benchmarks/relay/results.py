"""What was found: the tables, and the part of docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Any, Final

from common import limits
from common.marks import Marks, markdown
from common.tables import Table, number
from relay import workers
from relay.scenarios import BURSTS, BUSY, CONCURRENCY, MEMORY, PACED, UNPACED
from relay.subject import DIRECT, PAIR, RELAY, TWO
from relay.subjects import SUBJECTS
from relay.targets import Found

MARKS: Final = Marks("make bench-relay")
_STREAMS: Final = (PACED, BURSTS, UNPACED)


def reduce(rounds: list[dict[str, Any]]) -> dict[str, float]:
    """The medians of what the rounds of one scenario found."""
    numbers: dict[str, list[float]] = {}
    for found in rounds:
        for name, value in _numbers(found):
            numbers.setdefault(name, []).append(value)
    return {name: median(values) for name, values in numbers.items()}


def _numbers(found: dict[str, Any]) -> Iterator[tuple[str, float]]:
    if "opened" in found:
        yield from found.items()
        return
    for kind in ("duration", "first", "gap"):
        for name, value in (found[kind] or {}).items():
            yield f"{kind}_{name}_ms", value * 1e3
    cpu = found["cpu_s"] or 0.01  # the clock's tick
    for kind in ("calls", "chunks"):
        if found[kind]:
            yield f"{kind}_per_s", found[kind] / found["seconds"]
            yield f"{kind}_per_cpu_s", found[kind] / cpu
            yield f"cpu_us_of_{kind}", cpu / found[kind] * 1e6
    if found["chunks"]:
        yield "all_cpu_us_of_chunks", found["all_cpu_s"] / found["chunks"] * 1e6
    if found["messages"]:
        yield "chunks_per_message", found["chunks"] / found["messages"]
    yield "cores", cpu / found["seconds"]
    yield "main_thread", found["main_s"] / cpu
    for name in ("upstream", "load"):
        yield f"{name}_cores", found[f"{name}_s"] / found["seconds"]
    for name in ("opened_calls", "before", "grown", "peak"):
        yield name, found[name]


def tables(results: dict[str, Any]) -> Iterator[Table]:
    """All tables, the targets last."""
    yield _latency(results, "unary", "duration", "A unary call, ms")
    yield _latency(results, "first", "first", "The first chunk of a stream, ms")
    yield _throughput(results)
    yield _cost(results)
    yield _memory(results)
    yield workers.table(results["found"].get(workers.WORKERS, {}))
    yield _harness(results)
    yield limits.table(results["targets"], [RELAY])


def _rows(results: dict[str, Any], width: int) -> Iterator[tuple[list[str], Found]]:
    for name in SUBJECTS:
        if name in results["missing"]:
            yield [name, *["-"] * width, results["missing"][name]], {}
        else:
            yield [name], results["found"][name]


def _latency(results: dict[str, Any], scenario: str, kind: str, title: str) -> Table:
    columns = [(c, q) for c in CONCURRENCY for q in ("p50", "p99")]
    heads = [f"{concurrency} open\n{quantile}" for concurrency, quantile in columns]
    table = Table(title, ["", *heads, ""])
    base = results["found"][DIRECT]
    for row, found in _rows(results, len(columns)):
        if found:
            is_base = row[0] == DIRECT
            for concurrency, quantile in columns:
                name, key = f"{scenario} {concurrency}", f"{kind}_{quantile}_ms"
                value = found.get(name, {}).get(key)
                beyond = 0.0 if is_base else base.get(name, {}).get(key, 0.0)
                row.append(_number(value, beyond, "" if is_base else "+"))
            row.append("" if is_base else "more than direct")
        table.rows.append(row)
    return table


def _number(value: float | None, beyond: float = 0.0, sign: str = "") -> str:
    return "-" if value is None else f"{value - beyond:{sign}.2f}"


def _throughput(results: dict[str, Any]) -> Table:
    heads = ["calls/s", "calls/s\nper core"]
    heads += [f"chunks/s\n{name}" for name in _STREAMS]
    heads += [f"per core\n{name}" for name in _STREAMS]
    table = Table("Throughput", ["", *heads, ""])
    for row, found in _rows(results, len(heads)):
        if found:
            keys = ("calls_per_s", "calls_per_cpu_s")
            row += [_count(found.get(BUSY, {}).get(key)) for key in keys]
            for key in ("chunks_per_s", "chunks_per_cpu_s"):
                row += [_count(found.get(name, {}).get(key)) for name in _STREAMS]
            row.append(_whose(row[0], "per core: "))
        table.rows.append(row)
    return table


def _cost(results: dict[str, Any]) -> Table:
    heads = ["a call", *(f"a chunk\n{name}" for name in _STREAMS)]
    heads += [f"chunks in a\nmessage: {name}" for name in _STREAMS]
    heads += ["a paced chunk,\nboth relays", "main thread's\nshare: paced"]
    table = Table("Processor time, us", ["", *heads, ""])
    for row, found in _rows(results, len(heads)):
        if found:
            row.append(_count(found.get(BUSY, {}).get("cpu_us_of_calls")))
            row += [_short(found.get(name, {}).get("cpu_us_of_chunks")) for name in _STREAMS]
            row += [_short(found.get(name, {}).get("chunks_per_message")) for name in _STREAMS]
            both = found.get(PACED, {}).get("all_cpu_us_of_chunks")
            row.append(_short(both) if row[0] in (PAIR, TWO) else "")
            row.append(_short(found.get(PACED, {}).get("main_thread")))
            row.append(_whose(row[0]))
        table.rows.append(row)
    return table


def _memory(results: dict[str, Any]) -> Table:
    table = Table("Memory of open streams", ["", "open", "KiB each", ""])
    for row, found in _rows(results, 2):
        if found:
            memory = found.get(MEMORY, {})
            each = memory.get("bytes_per_stream")
            row += [_count(memory.get("opened")), _short(each and each / 1024)]
            row.append(_whose(row[0]))
        table.rows.append(row)
    return table


def _harness(results: dict[str, Any]) -> Table:
    """How busy the processes were: whose clock it was, if any."""
    kinds = (BUSY, *_STREAMS)
    heads = [f"{name}\n{kind}" for name in ("server", "upstream", "load") for kind in kinds]
    table = Table(
        "Cores that the server, the upstream and the load generator used", ["", *heads, ""]
    )
    for row, found in _rows(results, len(heads)):
        if found:
            for key in ("cores", "upstream_cores", "load_cores"):
                row += [_short(found.get(kind, {}).get(key)) for kind in kinds]
            row.append("server and upstream are one" if row[0] == DIRECT else "")
        table.rows.append(row)
    return table


def _whose(name: str, what: str = "") -> str:
    """Whose processor time and memory it is, if the row's name does not tell."""
    processes = {DIRECT: "of the upstream", PAIR: "of the first alone", TWO: "of the edge alone"}
    return f"{what}{processes[name]}" if name in processes else ""


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _short(value: float | None) -> str:
    return number(value)


def parts(results: dict[str, Any]) -> list[str]:
    """What goes between the marks: the results that matter most."""
    unary = _latency(results, "unary", "duration", "A unary call, ms")
    shown = (limits.table(results["targets"], [RELAY]), unary, _throughput(results))
    return [results["about"], *map(_markdown, shown)]


def _markdown(table: Table) -> str:
    heads = [name.replace("\n", " ") for name in table.header[1:]]
    return markdown(table.title, heads, table.rows)
