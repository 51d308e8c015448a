"""Which rows of a table are wanted: the language of ``chatpb grep``.

    predicate   = conjunction { "or" conjunction }
    conjunction = negation { "and" negation }
    negation    = "not" negation | "(" predicate ")" | comparison
    comparison  = column ( "=" | "!=" | "<" | "<=" | ">" | ">=" | "~" ) value
                | column [ "not" ] "in" "(" value { "," value } ")"
                | column "is" [ "not" ] "null"

A column is one of the table, or a key of a map, such as ``labels.team``. A value is a word or is
quoted; ``~`` takes a regular expression (RE2) that is searched for. Of a list, one element must
compare so; ``!=`` and ``not in`` hold if none is equal, and an empty list is null. What is null
compares to nothing, as in SQL.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from chatpb._cli.failure import USAGE_ERROR, CliError
from chatpb.table._columns import SCHEMA

_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<op><=|>=|!=|==|[=<>~(),])|"(?P<double>[^"]*)"|'(?P<single>[^']*)'"""
    r"""|(?P<word>[^\s()<>=!~,'"]+)|(?P<bad>\S))"""
)
_SWAPPED: Final = {"==": "="}
_COMPARE: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "=": lambda left, right: left == right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}
_EAGER: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "=": pc.equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}


class Predicate(Protocol):
    """Which rows are wanted."""

    def columns(self) -> set[str]:
        """The columns that it looks at."""

    def pushed(self) -> pc.Expression | None:
        """What Parquet's statistics can tell: true wherever the predicate may be; None: nothing."""

    def mask(self, rows: pa.RecordBatch) -> pa.BooleanArray:
        """For each row, whether it is wanted; null where that is not known."""


@dataclass(frozen=True)
class _Both:
    parts: Sequence[Predicate]
    is_or: bool

    def columns(self) -> set[str]:
        return set().union(*(part.columns() for part in self.parts))

    def pushed(self) -> pc.Expression | None:
        found = [part.pushed() for part in self.parts]
        told = [part for part in found if part is not None]
        if not told or (self.is_or and len(told) < len(found)):
            return None
        return functools.reduce(lambda a, b: a | b if self.is_or else a & b, told)

    def mask(self, rows: pa.RecordBatch) -> pa.BooleanArray:
        join = pc.or_kleene if self.is_or else pc.and_kleene
        return functools.reduce(join, [part.mask(rows) for part in self.parts])


@dataclass(frozen=True)
class _Not:
    part: Predicate

    def columns(self) -> set[str]:
        return self.part.columns()

    def pushed(self) -> pc.Expression | None:
        return None

    def mask(self, rows: pa.RecordBatch) -> pa.BooleanArray:
        return pc.invert(self.part.mask(rows))


@dataclass(frozen=True)
class _Comparison:
    column: str
    key: str | None
    op: str  # one of _EAGER, "~", "in" or "null"
    values: tuple[Any, ...] = ()

    def columns(self) -> set[str]:
        return {self.column}

    def pushed(self) -> pc.Expression | None:
        if self.key is not None or pa.types.is_nested(SCHEMA.field(self.column).type):
            return None
        field = pc.field(self.column)
        if self.op in _COMPARE:
            return _COMPARE[self.op](field, pa.scalar(self.values[0], _plain_type(self.column)))
        if self.op == "in":
            return field.isin(pa.array(self.values, _plain_type(self.column)))
        return field.is_null() if self.op == "null" else None

    def mask(self, rows: pa.RecordBatch) -> pa.BooleanArray:
        values = rows.column(self.column)
        if self.key is not None:
            values = pc.map_lookup(values, self.key, "last")
        is_list = pa.types.is_list(values.type)
        if self.op == "null":
            found = pc.is_null(values)
            return pc.or_(found, _is_empty(values)) if _has_length(values) else found
        if not is_list:
            return self._compare(values)
        # The rows that the elements for which it holds are in.
        parents = pc.list_parent_indices(values)
        hits = self._compare(pc.list_flatten(values))
        wanted = pc.is_in(pa.array(range(len(values)), pa.int64()), pc.filter(parents, hits))
        return pc.if_else(pc.or_(pc.is_null(values), _is_empty(values)), None, wanted)

    def _compare(self, values: pa.Array) -> pa.BooleanArray:
        if self.op == "~":
            return pc.match_substring_regex(values, self.values[0])
        if self.op == "in":
            found = pc.is_in(values, pa.array(self.values, values.type))
            return pc.if_else(pc.is_null(values), None, found)
        return _EAGER[self.op](values, pa.scalar(self.values[0], values.type))


def _has_length(values: pa.Array) -> Any:
    return pa.types.is_list(values.type) or pa.types.is_map(values.type)


def _is_empty(values: pa.Array) -> pa.BooleanArray:
    lengths = pc.subtract(values.offsets[1:], values.offsets[:-1])
    return pc.equal(lengths, 0)


def parse(text: str) -> Predicate:
    """Reads a predicate.

    Raises:
        CliError: It is none, or names a column that there is not.
    """
    parser = _Parser(text)
    found = parser.predicate()
    parser.end()
    return found


def matching_text(pattern: str, column: str) -> Predicate:
    """The rows with a text in a column in which a regular expression is found.

    Raises:
        CliError: It is no regular expression.
    """
    return _comparison(column, "~", [pattern])


def both(first: Predicate, second: Predicate) -> Predicate:
    """The rows that two predicates want."""
    return _Both([first, second], is_or=False)


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, bool]] = []  # with whether it is a quoted value
        for match in _TOKEN.finditer(text):
            if match["bad"] is not None:
                raise _wrong(f"{match['bad']!r} at character {match.start('bad') + 1}")
            quoted = match["double"] if match["double"] is not None else match["single"]
            token = quoted if quoted is not None else match["op"] or match["word"]
            self._tokens.append((token, quoted is not None))
        self._at = 0

    def predicate(self) -> Predicate:
        return self._joined("or", lambda: self._joined("and", self._negation))

    def end(self) -> None:
        if self._at < len(self._tokens):
            raise _wrong(f"expected and, or, or the end, got {self._tokens[self._at][0]!r}")

    def _joined(self, word: str, part: Callable[[], Predicate]) -> Predicate:
        parts = [part()]
        while self._is(word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else _Both(parts, is_or=word == "or")

    def _negation(self) -> Predicate:
        if self._is("not"):
            return _Not(self._negation())
        if self._is("("):
            found = self.predicate()
            self._expect(")")
            return found
        return self._comparison()

    def _comparison(self) -> Predicate:
        column = self._next("a column")
        if self._is("is"):
            negated = self._is("not")
            self._expect("null")
            found: Predicate = _comparison(column, "null", [])
            return _Not(found) if negated else found
        negated = self._is("not")
        if negated or self._peeks("in"):
            self._expect("in")
            found = _comparison(column, "in", list(self._list()))
            return _Not(found) if negated else found
        op = self._next("a comparison, such as =")
        op = _SWAPPED.get(op, op)
        if op != "!=" and op != "~" and op not in _COMPARE:
            raise _wrong(f"expected a comparison, such as =, after {column}, got {op!r}")
        value = self._next("a value")
        if op == "!=":
            return _Not(_comparison(column, "=", [value]))
        return _comparison(column, op, [value])

    def _list(self) -> Iterator[str]:
        self._expect("(")
        yield self._next("a value")
        while self._is(","):
            yield self._next("a value")
        self._expect(")")

    def _peeks(self, word: str) -> bool:
        if self._at == len(self._tokens):
            return False
        token, quoted = self._tokens[self._at]
        return not quoted and token.lower() == word

    def _is(self, word: str) -> bool:
        found = self._peeks(word)
        self._at += found
        return found

    def _expect(self, word: str) -> None:
        if not self._is(word):
            got = self._tokens[self._at][0] if self._at < len(self._tokens) else "the end"
            raise _wrong(f"expected {word}, got {got}")

    def _next(self, what: str) -> str:
        if self._at == len(self._tokens):
            raise _wrong(f"expected {what}, got the end")
        token, quoted = self._tokens[self._at]
        if what == "a value" and not quoted and re.fullmatch(r"[=<>~(),!]+", token):
            raise _wrong(f"expected {what}, got {token!r}")
        self._at += 1
        return token


def _comparison(name: str, op: str, texts: Sequence[str]) -> _Comparison:
    column, _, key = name.partition(".")
    if column not in SCHEMA.names:
        near = difflib.get_close_matches(column, SCHEMA.names, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise _wrong(f"no column {column}; {hint}there are: {', '.join(_searchable())}")
    kind = SCHEMA.field(column).type
    is_map = pa.types.is_map(kind)
    if is_map and not key and op != "null":
        raise _wrong(f"{column} is a map: name a key, such as {column}.team")
    if key and not is_map:
        raise _wrong(f"{column} is not a map, and has no {key}")
    if op != "null" and column not in _searchable():
        raise _wrong(f"{column} cannot be compared")
    plain = _plain_type(column)
    if op == "~":
        if not pa.types.is_string(plain):
            raise _wrong(f"{column} is no text that ~ could search")
        try:
            pc.match_substring_regex(pa.array([""]), texts[0])
        except pa.ArrowInvalid as error:
            raise _wrong(f"{texts[0]!r} is no regular expression: {error}") from None
    return _Comparison(column, key or None, op, tuple(_value(column, plain, t) for t in texts))


def _value(column: str, kind: pa.DataType, text: str) -> Any:
    """A value as one of the column's type."""
    if pa.types.is_string(kind):
        return text
    if pa.types.is_boolean(kind):
        if text.lower() not in ("true", "false"):
            raise _wrong(f"{column} is true or false, not {text!r}")
        return text.lower() == "true"
    if pa.types.is_timestamp(kind):
        try:
            time = datetime.fromisoformat(text)
        except ValueError:
            raise _wrong(f"{column} is a time such as 2026-01-31T12:00Z, not {text!r}") from None
        return time if time.tzinfo else time.replace(tzinfo=UTC)
    try:
        return pa.scalar(text).cast(kind).as_py()
    except pa.ArrowInvalid:
        what = "an integer" if pa.types.is_integer(kind) else "a number"
        raise _wrong(f"{column} is {what}, not {text!r}") from None


def _plain_type(column: str) -> pa.DataType:
    """The type of a column's values; of a list or a map, that of the values in it."""
    kind = SCHEMA.field(column).type
    if pa.types.is_map(kind):
        return kind.item_type
    return kind.value_type if pa.types.is_list(kind) else kind


def _searchable() -> list[str]:
    """The columns that can be compared."""
    found = []
    for name in SCHEMA.names:
        kind = _plain_type(name)
        if not pa.types.is_nested(kind) and not pa.types.is_binary(kind):
            found.append(name)
    return found


def _wrong(reason: str) -> CliError:
    return CliError(f"predicate: {reason}", USAGE_ERROR)
