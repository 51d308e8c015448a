"""Which rows of a table are wanted: predicates, evaluated by Arrow."""

from __future__ import annotations

import difflib
import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from chatpb._cli.failure import USAGE_ERROR, CliError
from chatpb.table import SCHEMA
from chatpb.table._columns import TOKENS_COLUMN
from chatpb.table._tree import KEY, VALUE

COMPARISONS: Final[dict[str, Callable[[Any, Any], Any]]] = {
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
        """The names of the columns that the predicate reads."""

    def pushed(self) -> pc.Expression | None:
        """A condition on Parquet's statistics, true wherever this may be; None if there is none."""

    def mask(self, rows: pa.RecordBatch) -> pa.BooleanArray:
        """For each row, whether it matches; null if the predicate is null there."""


@dataclass(frozen=True)
class Joined:
    """Predicates joined by ``and`` or ``or``."""

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
class Not:
    """A predicate after ``not``."""

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
    key: str | None  # of a map, or a field of the structs of a list, with dots
    op: str  # one of _EAGER, "~", "in" or "null"
    values: tuple[Any, ...] = ()

    def columns(self) -> set[str]:
        return {self.column}

    def pushed(self) -> pc.Expression | None:
        if self.key is not None or pa.types.is_nested(SCHEMA.field(self.column).type):
            return None
        field = pc.field(self.column)
        if self.op in COMPARISONS:
            return COMPARISONS[self.op](field, pa.scalar(self.values[0], _plain_type(self.column)))
        if self.op == "in":
            return field.isin(pa.array(self.values, _plain_type(self.column)))
        return field.is_null() if self.op == "null" else None

    def mask(self, rows: pa.RecordBatch) -> pa.BooleanArray:
        values = rows.column(self.column)
        if self.key is not None and _is_map(values.type):
            values = pc.map_lookup(_as_map(values), self.key, "last")
        elif self.key is not None:
            return self._mask_of_structs(values, self.key.split("."))
        is_list = pa.types.is_list(values.type)
        if self.op == "null":
            found = pc.is_null(values)
            return pc.or_(found, _is_empty(values)) if _has_length(values) else found
        if not is_list:
            return self._compare(values)
        # A row matches if one of its elements does.
        parents = pc.list_parent_indices(values)
        hits = self._compare(pc.list_flatten(values))
        wanted = pc.is_in(pa.array(range(len(values)), pa.int64()), pc.filter(parents, hits))
        return pc.if_else(pc.or_(pc.is_null(values), _is_empty(values)), None, wanted)

    def _mask_of_structs(self, lists: pa.Array, path: list[str]) -> pa.BooleanArray:
        """Whether a field in one of the structs matches; null if no struct has it."""
        rows, values = pa.array(range(len(lists)), pa.int64()), lists
        for name in path:
            rows = rows.take(pc.list_parent_indices(values))
            values = pc.list_flatten(values).field(name)
        rows, values = rows.filter(values.is_valid()), values.drop_null()
        every = pa.array(range(len(lists)), pa.int64())
        has_any = pc.is_in(every, rows)
        if self.op == "null":
            return pc.invert(has_any)
        hits = pc.is_in(every, rows.filter(self._compare(values)))
        return pc.if_else(has_any, hits, None)

    def _compare(self, values: pa.Array) -> pa.BooleanArray:
        if pa.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        if self.op == "~":
            return pc.match_substring_regex(values, self.values[0])
        if self.op == "in":
            found = pc.is_in(values, pa.array(self.values, values.type))
            return pc.if_else(pc.is_null(values), None, found)
        return _EAGER[self.op](values, pa.scalar(self.values[0], values.type))


def _is_map(kind: pa.DataType) -> bool:
    if not pa.types.is_list(kind) or not pa.types.is_struct(kind.value_type):
        return False
    return [field.name for field in kind.value_type] == [KEY, VALUE]


def _as_map(lists: pa.Array) -> pa.Array:
    entries = lists.flatten()
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_pylist()
    offsets = pa.array([0, *itertools.accumulate(lengths)], pa.int32())
    return pa.MapArray.from_arrays(offsets, entries.field(KEY), entries.field(VALUE))


def _has_length(values: pa.Array) -> Any:
    return pa.types.is_list(values.type) or pa.types.is_map(values.type)


def _is_empty(values: pa.Array) -> pa.BooleanArray:
    lengths = pc.subtract(values.offsets[1:], values.offsets[:-1])
    return pc.equal(lengths, 0)


def matching_text(pattern: str, column: str) -> Predicate:
    """The rows with a text in a column that a regular expression matches anywhere.

    Raises:
        CliError: The pattern is not a regular expression.
    """
    return comparison(column, "~", [pattern])


def both(first: Predicate, second: Predicate) -> Predicate:
    """The rows that match two predicates."""
    return Joined([first, second], is_or=False)


def comparison(name: str, op: str, texts: Sequence[str]) -> Predicate:
    """A comparison of a column, or of a key of a map column, with values.

    Args:
        name: The column, with the key after a dot.
        op: One of `COMPARISONS`, ``~``, ``in`` or ``null``.
        texts: The values as they are written.

    Raises:
        CliError: There is no such column, or it cannot be compared with these values.
    """
    column, _, key = name.partition(".")
    if column not in SCHEMA.names:
        near = difflib.get_close_matches(column, SCHEMA.names, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise wrong(f"no column {column}; {hint}there are: {', '.join(_searchable())}")
    kind = SCHEMA.field(column).type
    is_map = _is_map(kind)
    if is_map and not key and op != "null":
        raise wrong(f"{column} is a map: name a key, such as {column}.team")
    if key and not is_map and name not in _searchable():
        raise wrong(f"{column} is not a map, and has no {key}")
    if op != "null" and not is_map and name not in _searchable():
        raise wrong(f"{column} cannot be compared")
    plain = _plain_type(column) if is_map or not key else _searchable()[name]
    if op == "~":
        if not pa.types.is_string(plain):
            raise wrong(f"{column} is not text, which ~ needs")
        try:
            pc.match_substring_regex(pa.array([""]), texts[0])
        except pa.ArrowInvalid as error:
            raise wrong(f"{texts[0]!r} is not a regular expression: {error}") from None
    return _Comparison(column, key or None, op, tuple(_value(column, plain, t) for t in texts))


def _value(column: str, kind: pa.DataType, text: str) -> Any:
    """A value, converted to the type of the column."""
    if pa.types.is_string(kind):
        return text
    if pa.types.is_boolean(kind):
        if text.lower() not in ("true", "false"):
            raise wrong(f"{column} is true or false, not {text!r}")
        return text.lower() == "true"
    if pa.types.is_timestamp(kind):
        try:
            time = datetime.fromisoformat(text)
        except ValueError:
            raise wrong(f"{column} is a time such as 2026-01-31T12:00Z, not {text!r}") from None
        return time if time.tzinfo else time.replace(tzinfo=UTC)
    try:
        return pa.scalar(text).cast(kind).as_py()
    except pa.ArrowInvalid:
        what = "an integer" if pa.types.is_integer(kind) else "a number"
        raise wrong(f"{column} is {what}, not {text!r}") from None


def _plain_type(column: str) -> pa.DataType:
    """The type of a column's values; for a list or a map, of the values inside."""
    kind = SCHEMA.field(column).type
    if _is_map(kind):
        return kind.value_type.field(VALUE).type
    kind = kind.value_type if pa.types.is_list(kind) else kind
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _searchable() -> dict[str, pa.DataType]:
    """The columns that can be compared, and the fields of structs, with dots."""
    found: dict[str, pa.DataType] = {}
    todo = [(name, _plain_type(name)) for name in reversed(SCHEMA.names)]
    while todo:
        name, kind = todo.pop()
        if pa.types.is_struct(kind):
            below = [(f"{name}.{field.name}", _value_type(field.type)) for field in kind]
            todo += reversed(below)
        elif not pa.types.is_nested(kind) and not pa.types.is_binary(kind):
            found[name] = kind
    return {name: kind for name, kind in found.items() if not name.startswith(TOKENS_COLUMN)}


def _value_type(kind: pa.DataType) -> pa.DataType:
    is_inner = pa.types.is_list(kind) or pa.types.is_dictionary(kind)
    return kind.value_type if is_inner else kind


def wrong(reason: str) -> CliError:
    """The error of a predicate."""
    return CliError(f"predicate: {reason}", USAGE_ERROR)
