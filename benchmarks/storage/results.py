"""What was found: the targets, the tables, and the part of docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any, Final

from common import limits
from common.limits import Limit, at_least, at_most, judge
from common.marks import Marks, markdown
from common.tables import Table, number
from storage.forms import COMPACT, DUCKDB, FORMS, LOG, TABLE, TABLE_19, ZSTD_19, Work
from storage.inputs import ANSWERS, CHATS, DECIMALS, EXCHANGES, FLOATS, OTHERS_AT_ONCE
from storage.queries import APPENDS, PHRASE_QUERY, QUERIES
from storage.rows import JSON_SUM, SUMS, TABLE_SUM, TYPED_SUM

MARKS: Final = Marks("make bench-storage")
_SUBJECT: Final = "chatpb"
_READ: Final = (DECIMALS, FLOATS, CHATS, ANSWERS)
_TIMED: Final = (*_READ, EXCHANGES)
_FOOTER: Final = 4_096
_MB: Final = 1e6
_TB: Final = 1e12
_PLANNED_TB: Final = 100
_PLANNED_CORES: Final = 100


class Found:
    """The medians of what the rounds found.

    Args:
        rounds: Each form's turn at an input.
        sums: The turns at the million rows.
        queries: The turns at the queries of a table made in one way or another.
        appended: The bytes of the table made in each way.
    """

    def __init__(
        self,
        rounds: Iterable[dict[str, Any]],
        sums: Iterable[dict[str, Any]],
        queries: Sequence[dict[str, Any]] = (),
        appended: Mapping[str, int] | None = None,
    ) -> None:
        self._queries, self._appended = queries, appended
        self._turns: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
        for turn in rounds:
            if "refused" not in turn:
                key = turn["work"], turn["form"], turn["input"]
                self._turns.setdefault(key, []).append(turn)
        for turn in sums:
            self._turns.setdefault((_SUM, turn["sum_of"], ""), []).append(turn)

    def size(self, form: str, source: str) -> float | None:
        """The bytes of a form, as a ratio to JSON lines with zstd -19."""
        own, base = (self._turns.get((Work.WRITE, name, source)) for name in (form, ZSTD_19))
        return own[0]["bytes"] / base[0]["bytes"] if own and base else None

    def share(self, form: str, source: str) -> float | None:
        """The bytes of a form, as a ratio to the JSON."""
        turns = self._turns.get((Work.WRITE, form, source))
        return turns[0]["bytes"] / turns[0]["json_bytes"] if turns else None

    def outside(self, form: str) -> float | None:
        """The most bytes of a file of a form that are outside of its columns."""
        every = [
            turn["outside"]
            for (work, name, _), turns in self._turns.items()
            for turn in turns
            if work == Work.WRITE and name == form and turn.get("outside") is not None
        ]
        return max(every, default=None)

    def speed(self, work: str, form: str, source: str, by: str = "cpu_s") -> float | None:
        """MB of JSON in a second."""
        turns = self._turns.get((work, form, source))
        return turns[0]["json_bytes"] / _MB / median(t[by] for t in turns) if turns else None

    def milliseconds(self, name: str, by: str = "cpu_s") -> float | None:
        """The time of a sum."""
        turns = self._turns.get((_SUM, name, ""))
        return median(turn[by] for turn in turns) * 1e3 if turns else None

    def query(self, name: str, made: str = "whole") -> float | None:
        """The time of a query in ms: of a table made by one append, or by many small ones."""
        turns = [t for t in self._queries if (t["query"], t["made"]) == (name, made)]
        return median(turn["cpu_s"] for turn in turns) * 1e3 if turns else None

    def longer(self) -> float | None:
        """A query of a table made by small appends, as a ratio to the other: the worst."""
        pairs = [(self.query(name, "small"), self.query(name)) for name in QUERIES]
        return max((a / b for a, b in pairs if a and b), default=None)

    def appended(self) -> float | None:
        """The bytes of the table made by small appends, as a ratio to the other."""
        return self._appended["small"] / self._appended["whole"] if self._appended else None

    def unequal(self, form: str) -> int | None:
        """How many lines did not come back; None if none were read."""
        counts = [
            turn["unequal"]
            for (work, name, _), turns in self._turns.items()
            for turn in turns
            if work == Work.READ and name == form and "unequal" in turn
        ]
        return sum(counts) if counts else None


_SUM: Final = "sum"


def _least(
    value: Callable[[Found, str], float | None], sources: Sequence[str] = _TIMED
) -> Callable[[Found], float | None]:
    """Of several inputs the worst counts; if one is missing, none does."""

    def least(found: Found) -> float | None:
        values = [value(found, source) for source in sources]
        present = [each for each in values if each is not None]
        return min(present) if len(present) == len(values) else None

    return least


def _faster(work: str, form: str, peer: str) -> Callable[[Found, str], float | None]:
    def value(found: Found, source: str) -> float | None:
        own, other = (found.speed(work, name, source) for name in (form, peer))
        return own / other if own and other else None

    return value


def _sum_faster(found: Found) -> float | None:
    own = found.milliseconds(TABLE_SUM)
    others = [found.milliseconds(name) for name in (JSON_SUM, TYPED_SUM)]
    fastest = min((other for other in others if other), default=None)
    return fastest / own if own and fastest else None


def _size_target(
    source: str, limit: float, form: str = TABLE, *, readme: bool = False
) -> Limit[Found]:
    level = 19 if form == TABLE_19 else 3
    name = f"{source}: table at zstd -{level} / JSON lines at zstd -19, bytes"
    return at_most(name, limit, lambda found: found.size(form, source), readme=readme)


# Of several inputs the worst counts, and of DuckDB's two ways to the sum the faster one.
_TARGETS: Final[tuple[Limit[Found], ...]] = (
    _size_target(EXCHANGES, 0.88, readme=True),
    _size_target(EXCHANGES, 0.75, TABLE_19),
    _size_target(ANSWERS, 1.0),
    _size_target(ANSWERS, 0.86, TABLE_19),
    _size_target(DECIMALS, 0.53),
    _size_target(FLOATS, 0.42),
    _size_target(CHATS, 0.85),
    _size_target(CHATS, 0.85, TABLE_19),
    at_most(
        "the most bytes of a file outside of its columns, row groups of 64 MiB",
        _FOOTER,
        lambda found: found.outside(TABLE),
    ),
    at_least(
        "write: table's speed / that of JSON lines at zstd -19",
        5,
        _least(_faster(Work.WRITE, TABLE, ZSTD_19)),
    ),
    at_least(
        "write: JSON to table, MB/s per core",
        100,
        _least(lambda found, source: found.speed(Work.WRITE, TABLE, source)),
    ),
    at_least(
        "chatpb compact with its start: JSON to table, MB/s per core",
        100,
        _least(lambda found, source: found.speed(Work.WRITE, COMPACT, source)),
    ),
    at_most(f"{APPENDS} small appends, then optimize: bytes / one append", 1.05, Found.appended),
    at_most(f"{APPENDS} small appends, then optimize: a query / one append", 1.2, Found.longer),
    at_most(
        "a phrase in prompts and answers of 40,000 exchanges, ms",
        100,
        lambda found: found.query(PHRASE_QUERY),
    ),
    at_least("a column of a million rows: speed / DuckDB's over JSON lines", 10, _sum_faster),
    at_least(
        "full read to JSON: speed / DuckDB's over JSON lines",
        2,
        _least(_faster(Work.READ, TABLE, DUCKDB), _READ),
        readme=True,
    ),
    at_least(
        "log: JSON to log, fsync each second, MB/s per core",
        50,
        _least(lambda found, source: found.speed(Work.WRITE, LOG, source), _READ),
    ),
)


def verdicts(
    rounds: list[dict[str, Any]],
    sums: list[dict[str, Any]],
    queries: list[dict[str, Any]],
    appended: dict[str, int],
) -> list[dict[str, Any]]:
    """Each target, with what chatpb reached: None where it was not measured."""
    return judge(_TARGETS, {_SUBJECT: Found(rounds, sums, queries, appended)}, _SUBJECT)


def tables(results: dict[str, Any]) -> Iterator[Table]:
    """All tables, the targets last."""
    found = Found(results["rounds"], results["sums"])
    names = [each["name"] for each in results["inputs"]]
    timed = [each["name"] for each in results["inputs"] if each["is_timed"]]
    yield _inputs(results)
    yield _grid("Bytes / those of JSON lines, zstd -19", names, found.size)
    yield _grid("Bytes / those of the JSON", names, found.share)
    for by, title in (("cpu_s", "per core"), ("wall_s", "by the clock")):
        for work, verb in ((Work.WRITE, "Write JSON to"), (Work.READ, "Read to JSON")):
            yield _speeds(found, work, f"{verb}, MB/s {title}", timed, by)
    if results["sums"]:
        yield _sums(results, found)
    if results["queries"]:
        yield _queries(results)
    yield limits.table(results["targets"], [_SUBJECT])


def _inputs(results: dict[str, Any]) -> Table:
    table = Table("Inputs", ["", "lines", "MB", ""])
    for each in results["inputs"]:
        size = f"{each['size'] / _MB:.1f}"
        table.rows.append([each["name"], f"{each['lines']:,}", size, each["about"]])
    return table


def _grid(title: str, names: Sequence[str], value: Callable[[str, str], float | None]) -> Table:
    table = Table(title, ["", *(name.replace(" ", "\n") for name in names), ""])
    for form in FORMS:
        values = [value(form.name, name) for name in names]
        if any(each is not None for each in values):
            cells = ["-" if each is None else f"{each:.3f}" for each in values]
            table.rows.append([form.name, *cells, ""])
    return table


def _speeds(found: Found, work: Work, title: str, names: Sequence[str], by: str) -> Table:
    table = Table(title, ["", *(name.replace(" ", "\n") for name in names), ""])
    for form in FORMS:
        values = [found.speed(work, form.name, name, by) for name in names]
        if any(each is not None for each in values):
            note = _kept(found.unequal(form.name)) if work is Work.READ else ""
            table.rows.append([form.name, *map(number, values), note])
    return table


def _kept(unequal: int | None) -> str:
    if unequal is None:
        return ""
    return f"{unequal:,} lines come back changed" if unequal else "all come back equal"


def _sums(results: dict[str, Any], found: Found) -> Table:
    title = f"Sum of total_tokens of {results['rows']:,} rows, ms"
    table = Table(title, ["", "processor", "clock", ""])
    for name in SUMS:
        times = [number(found.milliseconds(name, by)) for by in ("cpu_s", "wall_s")]
        table.rows.append([name, *times, ""])
    return table


def _queries(results: dict[str, Any]) -> Table:
    found = Found([], [], results["queries"], results["appended"])
    title = "Queries of the exchanges with the opening of the table, ms of processor"
    table = Table(title, ["", "one append", f"{APPENDS} appends, optimized", ""])
    for name in QUERIES:
        table.rows.append([name, *(number(found.query(name, m)) for m in ("whole", "small")), ""])
    return table


def _at_once(found: Found) -> Table:
    """How the number of conversations that go on at once changes the sizes."""
    table = Table("Bytes / zstd -19's; conversations at once", ["", "300", "1,500", "4,000", ""])
    for form in (TABLE, TABLE_19):
        names = (f"{OTHERS_AT_ONCE[0]:,} at once", EXCHANGES, f"{OTHERS_AT_ONCE[1]:,} at once")
        table.rows.append([form, *(_cell(found.size(form, name), ".3f") for name in names), ""])
    return table


def parts(results: dict[str, Any]) -> list[str]:
    """What goes between the marks: the results that matter most."""
    found = Found(results["rounds"], results["sums"])
    names = [each["name"] for each in results["inputs"] if each["is_timed"]]
    shown = [limits.table(results["targets"], [_SUBJECT]), _compact(found, names)]
    if results["sums"]:
        shown.append(_sums(results, found))
    if results["queries"]:
        shown += [_queries(results), _at_once(found)]
    return [results["about"] + _about_inputs(results), *map(_markdown, shown)]


def fill_plan(text: str, results: dict[str, Any]) -> str:
    """The text with what a plan for much data is reckoned from between its marks.

    Raises:
        ValueError: The marks are not there.
    """
    found = Found(results["rounds"], results["sums"])
    table = Table("", ["", "figure", "for logprobs of 20 alternatives, OpenAI's decimals"])
    shares = {"r": (TABLE, "table"), "l": (LOG, "log"), "z": (ZSTD_19, "JSON lines with zstd -19")}
    for letter, (form, name) in shares.items():
        share = found.share(form, DECIMALS)
        table.rows.append(
            [f"`{letter}`", _cell(share, ".3f"), f"bytes of the {name} / of the JSON"]
        )
    speeds = {"w": (Work.WRITE, "JSON to table"), "s": (Work.READ, "table to JSON")}
    for letter, (work, name) in speeds.items():
        speed = found.speed(work, TABLE, DECIMALS)
        table.rows.append(
            [f"`{letter}`", _cell(speed, ".0f"), f"MB of JSON per s and core, {name}"]
        )
        hours = None if speed is None else _TB / _MB / speed / 3600
        table.rows.append(["", _cell(hours, ".1f"), f"core hours for 1 TB of JSON, {name}"])
        planned = None if hours is None else hours * _PLANNED_TB / _PLANNED_CORES
        about = f"hours for {_PLANNED_TB} TB with {_PLANNED_CORES} cores, {name}"
        table.rows.append(["", _cell(planned, ".1f"), about])
    share = found.share(TABLE, DECIMALS)
    kept = None if share is None else share * _PLANNED_TB
    table.rows.append(["", _cell(kept, ".1f"), f"TB of table for {_PLANNED_TB} TB of JSON"])
    return MARKS.fill(text, [results["about"], _markdown(table)])


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _about_inputs(results: dict[str, Any]) -> str:
    said = (
        f" `{each['name']}`: {each['size'] / _MB:.0f} MB, {each['about']}."
        for each in results["inputs"]
        if each["is_timed"]
    )
    return "".join(said)


def _compact(found: Found, names: Sequence[str]) -> Table:
    """Sizes and speeds in one table."""
    heads = [f"{what}: {name}" for what in ("bytes", "write", "read") for name in names]
    table = Table("Bytes / zstd -19's; MB/s per core", ["", *heads, ""])
    for form in FORMS:
        row = [form.name]
        row += ["-" if v is None else f"{v:.3f}" for v in (found.size(form.name, n) for n in names)]
        for work in Work:
            row += [number(found.speed(work, form.name, name)) for name in names]
        table.rows.append([*row, _kept(found.unequal(form.name))])
    return table


def _markdown(table: Table) -> str:
    heads = [name.replace("\n", " ") for name in table.header[1:]]
    return markdown(table.title, heads, table.rows)
