"""Where the results of benchmarks are written: a page of docs, and the README's table."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from common.limits import cells
from common.marks import Marks, markdown

PAGE: Final = Path("docs/benchmarks.md")
README: Final = Path("README.md")
_SUMMARY: Final = Marks("make bench*")
_HEADER: Final = ("limit", "chatpb", "measured by")


def write(marks: Marks, parts: Iterable[str], verdicts: Iterable[dict[str, Any]]) -> None:
    """Writes what a command found between its marks, and its rows of the README's table.

    Args:
        marks: The marks of the command.
        parts: What goes between them, in Markdown.
        verdicts: What `limits.judge` gave. Rows of the README that the command wrote before are
            replaced by those that are for it; rows of other commands stay.

    Raises:
        OSError: A page cannot be read or written.
        ValueError: The marks are not there.
    """
    page, readme = PAGE.read_text("utf-8"), README.read_text("utf-8")
    PAGE.write_text(marks.fill(page, parts), "utf-8")
    README.write_text(_SUMMARY.fill(readme, [_table(marks, readme, verdicts)]), "utf-8")


def check(*every: Marks) -> None:
    """Sees, before anything is measured, that the marks are there.

    Raises:
        OSError: A page cannot be read.
        ValueError: The marks are not there.
    """
    _SUMMARY.split(README.read_text("utf-8"))
    for marks in every:
        marks.split(PAGE.read_text("utf-8"))


def _table(marks: Marks, readme: str, verdicts: Iterable[dict[str, Any]]) -> str:
    before, after = _SUMMARY.split(readme)
    lines = readme[len(before) : len(readme) - len(after)].splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    by_command: dict[str, list[list[str]]] = {}
    for row in rows[2:]:
        by_command.setdefault(row[-1], []).append(row)
    own = f"`{marks.command}`"
    by_command[own] = [[*cells(each), own] for each in verdicts if each["readme"]]
    commands = sorted(by_command, key=lambda command: command.strip("`"))
    return markdown("", _HEADER, [row for command in commands for row in by_command[command]])
