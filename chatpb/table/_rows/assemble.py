"""Columns to records: the reference, in pure Python."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Final

import pyarrow as pa

from chatpb.table._rows.columns import (
    COLUMNS,
    CORRECTIONS,
    COUNTS,
    DECIMAL,
    RECORD,
    ROOT,
    TOKENS,
    TOKENS_COLUMN,
)
from chatpb.table._rows.conform import column_like
from chatpb.table._rows.kernels import kernel
from chatpb.table._rows.tokens import Token, assemble_token, put_in_ids, unspell
from chatpb.table._rows.tree import KEY, VALUE, Column, Kind, Leaf, ListColumn, Node
from chatpb.v1.completion_record_pb2 import CompletionRecord

_LISTS: Final = frozenset((Kind.INT32_LIST, Kind.INT64_LIST, Kind.STRING_LIST))


def assemble(batch: pa.RecordBatch) -> Iterator[CompletionRecord]:
    """A record batch to records.

    A column or a field of a struct that is missing is the same as one that is null everywhere.
    """
    columns = _Columns(batch)
    tokens, counts, decimal, corrections, rests = (
        _others(batch, name) for name in (TOKENS_COLUMN, COUNTS, DECIMAL, CORRECTIONS, RECORD)
    )
    for row, rest in enumerate(rests):
        record = CompletionRecord.FromString(rest)
        positions, counted = tokens[row], counts[row]
        if positions is None or counted is None:
            positions = counted = None
        else:
            unspell(positions, decimal[row], corrections[row])
            put_in_ids(positions)
        assembler = _Assembler(columns, positions, counted)
        assembler.fill(ROOT, record, row)
        assembler.close()
        yield record


def _others(batch: pa.RecordBatch, name: str) -> list[Any]:
    """The values of a column that no field declares."""
    array = column_like(batch, name)
    return [None] * len(batch) if array is None else array.to_pylist()


class _Structs:
    """The structs of a list column: which of them each struct around it has."""

    def __init__(self, column: ListColumn, lengths: list[int | None]) -> None:
        self._name = column.name
        self._lengths = lengths
        self._starts: list[int] = []
        end = 0
        for length in lengths:
            self._starts.append(end)
            end += length or 0
        self._around = -1
        self._next = 0

    def take(self, around: int, count: int) -> Iterable[int | None]:
        """The places of the next structs of a list, or None for each if the list is null.

        Raises:
            LookupError: The list does not have that many.
        """
        length = self._lengths[around]
        if length is None:
            return [None] * count
        if around != self._around:
            self._around = around
            self._next = self._starts[around]
        first = self._next
        self._next += count
        if self._next > self._starts[around] + length:
            raise LookupError(f"the record has more elements of {self._name} than the list")
        return range(first, self._next)


class _Columns:
    """The columns that a batch has, as Python values.

    Attributes:
        values: The values of each column.
        structs: The structs of each list.
    """

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.values: dict[Column, list[Any]] = {}
        self.structs: dict[ListColumn, _Structs] = {}
        for column in COLUMNS:
            if (array := column_like(batch, column.name)) is not None:
                self._read(column, array)

    def _read(self, column: Column | ListColumn, array: pa.Array) -> None:
        if isinstance(column, Column):
            if array.null_count < len(array):
                plain = array.cast(pa.int64()) if column.time_unit else array
                self.values[column] = plain.to_pylist()
            return
        lengths = kernel("list_value_length", array).to_pylist()
        self.structs[column] = _Structs(column, lengths)
        inner = array.flatten()
        for index, each in enumerate(column.columns):
            self._read(each, inner.field(index))


class _Assembler:
    """Puts the values of a row back.

    Args:
        columns: The columns.
        tokens: The row's tokens; None if it has none to put back.
        counts: How many of them are in each list; None if there are none.
    """

    def __init__(
        self, columns: _Columns, tokens: list[Token] | None, counts: list[int] | None
    ) -> None:
        self._columns = columns
        self._tokens = deque(tokens or ())
        self._counts = None if counts is None else deque(counts)

    def fill(self, node: Node, message: Any, place: int | None) -> None:
        """Fills a message.

        Args:
            node: The place of the message below the record.
            message: What is left of it.
            place: The place of the struct that it is in, among all of that list in the batch; the
                row if it is in none; None if its list is null.
        """
        if place is not None:
            for leaf in node.leaves:
                values = self._columns.values.get(leaf.column)
                if values is not None and (value := values[place]) is not None:
                    _put(message, leaf, value)
        if self._counts is not None:
            for tokens in node.tokens:
                found = getattr(message, tokens.name)
                for _ in range(self._counts.popleft()):
                    assemble_token(TOKENS, self._tokens.popleft(), found.add())
        for branch in node.branches:
            if message.HasField(branch.name):
                self.fill(branch.node, getattr(message, branch.name), place)
        for elements in node.lists:
            found = getattr(message, elements.name)
            structs = self._columns.structs.get(elements.column)
            places: Iterable[int | None] = [None] * len(found)
            if structs is not None and place is not None and found:
                places = structs.take(place, len(found))
            for element, below in zip(found, places, strict=True):
                self.fill(elements.node, element, below)

    def close(self) -> None:
        """Checks that no token is left.

        Raises:
            ValueError: There are more tokens than the record has room for.
        """
        if self._tokens or self._counts:
            raise ValueError(f"{len(self._tokens)} tokens are left")


def _put(message: Any, leaf: Leaf, value: Any) -> None:
    column = leaf.column
    if column.kind in _LISTS:
        getattr(message, leaf.name).extend(value)
    elif column.kind is Kind.MAP:
        found = getattr(message, leaf.name)
        for pair in value:
            found[pair[KEY]] = pair[VALUE]
    elif column.words is None:
        setattr(message, leaf.name, value)
    elif (number := column.words.numbers[value]) != leaf.unset:
        setattr(message, leaf.name, number)
