"""What a conformance runner prints, and what it means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

KINDS: Final = (
    "parse",
    "serialize",
    "reject",
    "textformat",
    "json_view",
    "json",
    "fold",
    "unfold",
    "compact",
    "sse",
    "corpus",
    "relay",
)

Limits = Mapping[str, Mapping[str, str]]  # the reason, by kind and case


@dataclass
class Outcome:
    """The results of a language.

    Attributes:
        passed: How many cases of each kind are ok.
        limits: Of each kind, the cases that the language's runtime cannot do, and why.
        failures: What went wrong, one line each.
        skipped: Why the language was skipped; empty if it was not.
    """

    passed: Counter[str] = field(default_factory=Counter)
    limits: dict[str, dict[str, str]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    skipped: str = ""

    def cell(self, kind: str, note: Callable[[str], int]) -> str:
        """The counts of a kind; `note` gives the number of the footnote of a limit."""
        limits = self.limits.get(kind, {})
        cell = str(self.passed[kind]) if self.passed[kind] or limits else "-"
        for reason, count in sorted(Counter(limits.values()).items()):
            cell += f" + {count} [{note(reason)}]"
        return cell


def read_lines(text: str, cases: dict[str, set[str]]) -> Outcome:
    """Reads what a runner has printed.

    Args:
        text: Its output.
        cases: The cases that it must report, by kind.
    """
    outcome = Outcome()
    seen: set[tuple[str, str]] = set()
    for line in text.splitlines():
        kind, _, rest = line.partition("\t")
        case, _, result = rest.partition("\t")
        if kind not in KINDS or not case or (kind, case) in seen:
            outcome.failures.append(f"not a result, or a second one of the same case: {line}")
        elif result == "ok":
            outcome.passed[kind] += 1
        elif result.startswith("limit: "):
            outcome.limits.setdefault(kind, {})[case] = result.removeprefix("limit: ")
        else:
            outcome.failures.append(line)
        seen.add((kind, case))
    for kind, names in cases.items():
        missing = sorted(name for name in names if (kind, name) not in seen)
        if missing:
            outcome.failures.append(f"{kind}\tno result for {', '.join(missing)}")
    return outcome


def wrong_limits(printed: Limits, listed: Limits) -> list[str]:
    """The differences between the limits that a runner printed and those that are allowed."""
    wrong = []
    for kind in KINDS:
        found, allowed = printed.get(kind, {}), listed.get(kind, {})
        for case in sorted(found.keys() | allowed.keys()):
            if case not in allowed:
                wrong.append(f"{kind}\t{case}\ta limit that is not listed: {found[case]}")
            elif case not in found:
                wrong.append(f"{kind}\t{case}\tlisted, but no longer a limit: {allowed[case]}")
            elif found[case] != allowed[case]:
                reasons = f"{found[case]!r}, but {allowed[case]!r} is listed"
                wrong.append(f"{kind}\t{case}\ta limit for another reason: {reasons}")
    unknown = sorted(listed.keys() - set(KINDS))
    return wrong + [f"{kind}\tlisted, but not a kind" for kind in unknown]


def table(outcomes: dict[str, Outcome]) -> str:
    """The counts by title of the language and by kind, and the reasons of the limits below."""
    reasons: dict[str, int] = {}
    rows = [
        f"| | {' | '.join(KINDS)} |",
        f"|---|{'--:|' * len(KINDS)}",
    ]
    for title, outcome in outcomes.items():
        if outcome.skipped:
            cells = ["left out"] * len(KINDS)
        else:
            cells = [
                outcome.cell(kind, lambda reason: reasons.setdefault(reason, len(reasons) + 1))
                for kind in KINDS
            ]
        rows.append(f"| {title} | {' | '.join(cells)} |")
    notes = [f"[{number}] {reason}" for reason, number in reasons.items()]
    return "\n".join(rows) + "\n" + "".join(f"\n{note}\n" for note in notes)
