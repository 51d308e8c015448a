"""The steps of a section of docs/polyglot.md: the commands and files a reader takes from it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

#: The first line of a fenced block that is a file: a comment with its name.
_NAME: Final = re.compile(r"(?://|#|<!--)\s*([\w./-]+\.\w+)\s*(?:-->)?")


@dataclass(frozen=True)
class Step:
    """What a reader does.

    Attributes:
        text: commands of a shell, or the contents of a file.
        file: the name of the file; None for commands.
    """

    text: str
    file: str | None = None


def section(page: str, title: str) -> str:
    """Returns the lines of a page from the heading `## title` to the next one."""
    found = re.search(rf"(?ms)^## {re.escape(title)}\n(.*?)(?=^## |\Z)", page)
    if not found:
        raise ValueError(f"the page has no section {title!r}")
    return found[1]


def steps(text: str) -> list[Step]:
    """Returns the steps of a section, in order.

    Indented blocks are commands. A fenced block is a file if its first line is a comment with the
    name of one; others are for the reader only.
    """
    return list(_steps(text.splitlines()))


def _steps(lines: list[str]) -> Iterator[Step]:
    at = 0
    while at < len(lines):
        if lines[at].startswith("```"):
            end = lines.index("```", at + 1)
            named = _NAME.fullmatch(lines[at + 1].strip()) if end > at + 1 else None
            if named:
                # XML has no comment before its first line.
                first = at + 2 if lines[at + 1].startswith("<!--") else at + 1
                yield Step("\n".join(lines[first:end]) + "\n", named[1])
            at = end + 1
        elif lines[at].startswith("    ") and (at == 0 or not lines[at - 1].strip()):
            end = at
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            yield Step("\n".join(line[4:] for line in lines[at:end]).rstrip() + "\n")
            at = end
        else:
            at += 1
