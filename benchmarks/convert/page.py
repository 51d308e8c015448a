"""The results as Markdown for docs/benchmarks.md, between two marks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from common.marks import Marks, markdown
from common.tables import Table
from convert.inputs import LARGE, SMALL, STREAM
from convert.rows import Work
from convert.tables import several, speed, targets

MARKS: Final = Marks("make bench")
_INPUTS: Final = (SMALL, STREAM, LARGE[0])


def parts(results: dict[str, Any]) -> list[str]:
    """What goes between the marks."""
    lines = [work for work in Work if work.is_of_lines]
    dicts = [work for work in Work if work.is_of_dicts]
    others = [work for work in Work if work not in (*lines, *dicts)]
    shown = (
        targets(results),
        _speeds(results, "Time / orjson's", others, _INPUTS),
        _speeds(results, "Many documents at once, time / orjson's", lines, several(results)),
        _speeds(results, "Dicts, time / that by way of JSON text", dicts, _INPUTS),
    )
    tables = (markdown(table.title, table.header[1:], table.rows) for table in shown)
    return [_about(results), *tables]


def _about(results: dict[str, Any]) -> str:
    environment = results["environment"]
    versions = [f"{name} {version}" for name, version in environment["packages"].items()]
    return (
        "Times are ratios to orjson's for the same JSON in the same process (`orjson.loads` from"
        f" JSON, `orjson.dumps` to JSON): less is faster. The least of {results['rounds']} rounds;"
        f" {environment['python']}, {environment['system']}, {environment['cores']} cores;"
        f" {', '.join(versions)}. {_sizes(results)}"
    )


def _sizes(results: dict[str, Any]) -> str:
    return " ".join(
        f"`{size['input']}` has {size['json_bytes']:,} bytes as JSON in {_texts(size['texts'])},"
        f" {size['binary_bytes']:,} in binary form."
        for size in results["sizes"]
        if size["input"] in _INPUTS or size["is_many"]
    )


def _texts(count: int) -> str:
    return f"{count:,} texts" if count > 1 else "one text"


def _speeds(
    results: dict[str, Any], title: str, works: Sequence[Work], inputs: Sequence[str]
) -> Table:
    table = Table(title, ["", *inputs, ""])
    for work in works:
        for name, *cells, note in speed(results, work, inputs).rows:
            # The ratio of the reference is 1. To other libraries binary is a small step more.
            is_binary = work in (Work.TO_BINARY, Work.FROM_BINARY)
            if name != work.reference and (name.startswith("chatpb ") or not is_binary):
                table.rows.append([name, *cells, "; ".join(filter(None, (work, note)))])
    return table
