"""The results as Markdown for the README, between two marks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from inputs import LARGE, SMALL
from rows import Work
from tables import Table, speed, targets

BEGIN: Final = "<!-- begin: written by `make bench` -->"
END: Final = "<!-- end -->"
_INPUTS: Final = (SMALL, LARGE[0])


def fill(text: str, results: dict[str, Any]) -> str:
    """The text with the results between its marks.

    Raises:
        ValueError: The marks are not there.
    """
    before, after = split(text)
    tables = (targets(results), _speeds(results))
    parts = [_about(results), *("\n".join(_markdown(table)) for table in tables)]
    return "\n\n".join([before + BEGIN, *parts, END + after])


def split(text: str) -> tuple[str, str]:
    """What stands before the first mark, and what after the second.

    Raises:
        ValueError: The marks are not there.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"expected {BEGIN} and, after it, {END}")
    return before, after


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
        f"`{size['input']}` has {size['json_bytes']:,} bytes as JSON, {size['binary_bytes']:,} in"
        " binary form."
        for size in results["sizes"]
        if size["input"] in _INPUTS
    )


def _speeds(results: dict[str, Any]) -> Table:
    table = Table("Time / orjson's", ["", *_INPUTS, ""])
    for work in Work:
        for name, *cells, note in speed(results, work, _INPUTS).rows:
            # The ratio of the reference is 1. To other libraries binary is a small step more.
            is_binary = work in (Work.TO_BINARY, Work.FROM_BINARY)
            if name != work.reference and (name.startswith("chatpb ") or not is_binary):
                table.rows.append([name, *cells, "; ".join(filter(None, (work, note)))])
    return table


def _markdown(table: Table) -> Iterator[str]:
    numbers = len(table.rows[0]) - 2
    yield _line([table.title, *table.header[1:]])
    yield _line(["---", *["--:"] * numbers, "---"])
    yield from map(_line, table.rows)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
