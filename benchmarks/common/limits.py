"""Limits for what a benchmark measured, and whether they are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from common.tables import Table, number

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class Limit(Generic[_Found]):
    """A limit for one number; `at_least` and `at_most` make one.

    Attributes:
        name: What the number is.
        limit: The limit.
        value: Computes the number from what was measured; None if it was not measured.
        more_is_better: Whether the number must reach the limit, or must not exceed it.
        only: The one subject that the limit is for; None if it is for all.
        readme: Whether the README has it.
    """

    name: str
    limit: float
    value: Callable[[_Found], float | None]
    more_is_better: bool
    only: str | None = None
    readme: bool = False

    def keeps(self, value: float | None) -> bool | None:
        """Whether a number keeps the limit; None if it was not measured."""
        if value is None:
            return None
        return value >= self.limit if self.more_is_better else value <= self.limit


def at_least(
    name: str,
    limit: float,
    value: Callable[[_Found], float | None],
    *,
    only: str | None = None,
    readme: bool = False,
) -> Limit[_Found]:
    """A number that must reach a limit."""
    return Limit(name, limit, value, more_is_better=True, only=only, readme=readme)


def at_most(
    name: str,
    limit: float,
    value: Callable[[_Found], float | None],
    *,
    only: str | None = None,
    readme: bool = False,
) -> Limit[_Found]:
    """A number that must not exceed a limit."""
    return Limit(name, limit, value, more_is_better=False, only=only, readme=readme)


def judge(
    limits: Iterable[Limit[_Found]], found: Mapping[str, _Found], judged: str
) -> list[dict[str, Any]]:
    """Each limit with the number of each subject, and whether the judged subject keeps it.

    Args:
        limits: The limits.
        found: What was measured, by subject.
        judged: The subject that is judged if a limit is for all of them.
    """
    verdicts = []
    for each in limits:
        values = {
            name: each.value(share) for name, share in found.items() if each.only in (None, name)
        }
        subject = each.only or judged
        verdicts.append(
            {
                "target": each.name,
                "limit": each.limit,
                "at_least": each.more_is_better,
                "values": values,
                "judged": subject,
                "readme": each.readme,
                "reached": each.keeps(values.get(subject)),
            }
        )
    return verdicts


def table(verdicts: Iterable[dict[str, Any]], subjects: Sequence[str]) -> Table:
    """Each limit, what each subject reached, and the verdict."""
    shown = Table("Targets", ["", "limit", *subjects, ""])
    for verdict in verdicts:
        values = [_exact(verdict["values"].get(name)) for name in subjects]
        shown.rows.append([verdict["target"], _limit(verdict), *values, _words(verdict)])
    return shown


def cells(verdict: dict[str, Any]) -> list[str]:
    """A limit, and what the judged subject reached."""
    value = verdict["values"].get(verdict["judged"])
    return [verdict["target"], _limit(verdict), _exact(value)]


def _limit(verdict: dict[str, Any]) -> str:
    return f"{'>=' if verdict['at_least'] else '<='} {verdict['limit']:g}"


def _exact(value: float | None) -> str:
    return f"{value:.3f}" if value is not None and value < 10 else number(value)


def _words(verdict: dict[str, Any]) -> str:
    if verdict["reached"] is None:
        return "not measured"
    if verdict["reached"]:
        return "reached"
    value = verdict["values"][verdict["judged"]]
    return f"not reached ({number(value / verdict['limit'])} x the limit)"


def failed(verdicts: Iterable[dict[str, Any]], *, missed: bool, unmeasured: bool) -> list[str]:
    """The limits that a run fails for, in words: those missed, those not measured, or both."""
    words: dict[bool | None, str] = {False: "not reached"} if missed else {}
    if unmeasured:
        words[None] = "not measured"
    return [
        f"{verdict['target']}: {words[verdict['reached']]}"
        for verdict in verdicts
        if verdict["reached"] in words
    ]
