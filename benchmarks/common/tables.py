"""Tables of words."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Table:
    """A title, a header and rows; the columns between the first and the last hold numbers."""

    title: str
    header: list[str]
    rows: list[list[str]] = field(default_factory=list)


def number(value: float | None) -> str:
    """A ratio, with as many digits as it deserves."""
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"
