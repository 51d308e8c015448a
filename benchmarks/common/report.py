"""How tables are printed: in colour on a terminal, as plain text elsewhere."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from itertools import zip_longest

from common.tables import Table

_STYLES = {"not reached": "red", "reached": "green", "chatpb": "bold"}


def show(tables: Iterable[Table]) -> None:
    """Prints the tables."""
    if sys.stdout.isatty():
        try:
            importlib.import_module("rich")
        except ImportError:
            pass
        else:
            _print_rich(tables)
            return
    for table in tables:
        print("\n".join(_plain(table)), end="\n\n")


def _plain(table: Table) -> list[str]:
    header = zip_longest(*(name.split("\n") for name in table.header), fillvalue="")
    lines = [[part or "" for part in line] for line in header] + table.rows
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    text = [table.title, rule, *(_line(cells, widths) for cells in lines)]
    text.insert(len(text) - len(table.rows), rule)
    return text


def _line(cells: list[str], widths: list[int]) -> str:
    first, *numbers, note = cells
    padded = [first.ljust(widths[0]), *map(str.rjust, numbers, widths[1:-1]), note]
    return "  ".join(padded).rstrip()


def _print_rich(tables: Iterable[Table]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable

    console = Console()
    for table in tables:
        shown = RichTable(title=table.title, title_justify="left", box=box.SIMPLE_HEAD)
        last = len(table.header) - 1
        for position, name in enumerate(table.header):
            shown.add_column(name, justify="left" if position in (0, last) else "right")
        for row in table.rows:
            keys = (key for key in _STYLES if row[0].startswith(key) or row[-1].startswith(key))
            shown.add_row(*row, style=_STYLES.get(next(keys, "")))
        console.print(shown)
