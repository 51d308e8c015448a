"""The results as tables of words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from common import limits
from common.tables import Table, number
from convert.rows import Work

_KEEPS = {
    "all": "gives the same JSON",
    "not empty": "drops or adds empty members",
    "changed": "changes the JSON",
}


def tables(results: dict[str, Any]) -> Iterator[Table]:
    """All tables, the targets last."""
    inputs = [size["input"] for size in results["sizes"] if not size["is_many"]]
    for work in Work:
        yield speed(results, work, several(results) if work.is_of_lines else inputs)
    yield sizes(results, inputs)
    yield _ratios(results, inputs)
    yield _others(results)
    yield targets(results)


def several(results: dict[str, Any]) -> list[str]:
    """The inputs that are more than one text."""
    return [size["input"] for size in results["sizes"] if size["texts"] > 1]


def speed(results: dict[str, Any], work: Work, inputs: Sequence[str]) -> Table:
    """The ratios of each contender at one kind of work."""
    table = Table(
        f"{work}, time / {work.reference}", ["", *(i.replace(" ", "\n") for i in inputs), ""]
    )
    by_row: dict[str, dict[str, Any]] = {}
    for cell in results["cells"]:
        if cell["work"] == work:
            by_row.setdefault(cell["row"], {}).setdefault(cell["input"], cell)
    for row, cells in by_row.items():
        numbers = [_cell(cells.get(name, {})) for name in inputs]
        table.rows.append([row, *numbers, _note(list(cells.values()))])
    for name, reason in results["missing"].items():
        table.rows.append([f"chatpb {name}", *("-" for _ in inputs), reason])
    return table


def _cell(cell: dict[str, Any]) -> str:
    return "refused" if cell.get("status") == "refused" else number(cell.get("ratio"))


def _note(cells: list[dict[str, Any]]) -> str:
    statuses = {cell["status"] for cell in cells}
    if statuses == {"not installed"}:
        return "not installed"
    grades = {cell.get("keeps") for cell in cells}
    return next((text for grade, text in reversed(_KEEPS.items()) if grade in grades), "")


def sizes(results: dict[str, Any], inputs: Sequence[str]) -> Table:
    """The bytes of both forms."""
    table = Table("Size, bytes", ["", "JSON", "binary", "ratio", ""])
    for size in results["sizes"]:
        if size["input"] not in inputs:
            continue
        in_json, in_binary = f"{size['json_bytes']:,}", f"{size['binary_bytes']:,}"
        ratio = f"{size['ratio']:.3f}"
        table.rows.append([size["input"], in_json, in_binary, ratio, size["about"]])
    return table


def _ratios(results: dict[str, Any], inputs: Sequence[str]) -> Table:
    """The ratios of the targets at each input, and so at the user's files."""
    table = Table("The ratios of the targets", ["", *(i.replace(" ", "\n") for i in inputs), ""])
    for each in results["ratios"]:
        cells = [number(each["values"].get(name)) for name in inputs]
        table.rows.append([f"chatpb {each['implementation']}: {each['ratio']}", *cells, ""])
    return table


def _others(results: dict[str, Any]) -> Table:
    names = list(results["implementations"])
    table = Table("Threads and memory", ["", *names, ""])
    shares = results["implementations"].values()
    gains = [number(share["thread_gain"]) for share in shares]
    table.rows.append(["two threads / one: throughput of json_to_binary", *gains, ""])
    for function in ("json_to_binary", "binary_to_json"):
        peaks = [number((share["memory"] or {}).get(function)) for share in shares]
        table.rows.append([f"peak memory of {function}", *peaks, "beyond input and output / JSON"])
    return table


def targets(results: dict[str, Any]) -> Table:
    """Each target, what each implementation reached, and the verdict."""
    return limits.table(results["targets"], list(results["implementations"]))
