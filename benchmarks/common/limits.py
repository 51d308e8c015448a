"""Limits for what a benchmark found, and whether they are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class Limit(Generic[_Found]):
    """A limit for one number.

    Attributes:
        name: What the number is.
        limit: The limit.
        value: From what was found to the number; None if it was not measured.
        at_least: Whether more is better.
    """

    name: str
    limit: float
    value: Callable[[_Found], float | None]
    at_least: bool = True


def judge(limits: Iterable[Limit[_Found]], found: _Found) -> list[dict[str, Any]]:
    """Each limit, with what was reached: None where it was not measured."""
    verdicts = []
    for each in limits:
        value = each.value(found)
        within = value is not None and (
            value >= each.limit if each.at_least else value <= each.limit
        )
        verdicts.append(
            {
                "target": each.name,
                "limit": each.limit,
                "at_least": each.at_least,
                "value": value,
                "reached": None if value is None else within,
            }
        )
    return verdicts
