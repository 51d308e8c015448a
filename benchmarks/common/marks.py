"""A part of a text that a command writes, between two marks."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_END: Final = "<!-- end -->"


@dataclass(frozen=True)
class Marks:
    """The marks of a command.

    Attributes:
        command: What writes between them.
    """

    command: str

    @property
    def _begin(self) -> str:
        return f"<!-- begin: written by `{self.command}` -->"

    def fill(self, text: str, parts: Iterable[str]) -> str:
        """The text with the parts, which a blank line keeps apart, between the marks.

        Raises:
            ValueError: The marks are not there.
        """
        before, after = self.split(text)
        return "\n\n".join([before + self._begin, *parts, _END + after])

    def split(self, text: str) -> tuple[str, str]:
        """The text before the first mark, and the text after the second.

        Raises:
            ValueError: The marks are not there.
        """
        before, begin, rest = text.partition(self._begin)
        _, end, after = rest.partition(_END)
        if not (begin and end):
            raise ValueError(f"expected {self._begin} and, after it, {_END}")
        return before, after

    def check(self, page: Path, parser: argparse.ArgumentParser) -> None:
        """Ends the command with an error, before it measures, if a page is without the marks."""
        try:
            self.split(page.read_text("utf-8"))
        except (OSError, ValueError) as error:
            parser.error(str(error))


def markdown(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose columns between the first and the last hold numbers."""
    lines = [[title, *header], ["---", *["--:"] * (len(header) - 1), "---"], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
