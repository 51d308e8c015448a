"""Records to columns: the reference, in pure Python.

`docs/storage.md` has the rules. A value is moved to its column and leaves the message; what is left
of the message is a column of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import pyarrow as pa

from chatpb._mapping.canonical import canonical
from chatpb.table._rows.columns import (
    COLUMNS,
    CORRECTIONS,
    COUNTS,
    DECIMAL,
    FOLDED,
    OWNER,
    RECORD,
    ROOT,
    SCHEMA,
    SOURCE,
    TOKENS,
    TOKENS_COLUMN,
)
from chatpb.table._rows.tokens import Token, leave_out_ids, shred_token, spell
from chatpb.table._rows.tree import KEY, VALUE, Column, Kind, Leaf, ListColumn, Node
from chatpb.v1.completion_record_pb2 import CompletionRecord

_LISTS: Final = frozenset((Kind.INT32_LIST, Kind.INT64_LIST, Kind.STRING_LIST))


def shred(records: Sequence[tuple[CompletionRecord, Any]]) -> pa.RecordBatch:
    """Records to a record batch.

    Args:
        records: The records, which are emptied, each with the completion that its chunks make, or
            None.
    """
    shredder = _Shredder()
    tokens: list[list[Token] | None] = []
    counts: list[list[int] | None] = []
    decimal: list[bool | None] = []
    corrections: list[list[int] | None] = []
    rest: list[bytes] = []
    for record, folded in records:
        shredder.add(record, folded)
        rest.append(canonical(record))
        is_decimal, corrected = spell(shredder.tokens)
        leave_out_ids(shredder.tokens)
        tokens.append(shredder.tokens or None)
        counts.append(shredder.counts or None)
        decimal.append(is_decimal)
        corrections.append(corrected)
    arrays = [
        *shredder.arrays(),
        pa.array(tokens, SCHEMA.field(TOKENS_COLUMN).type),
        pa.array(counts, SCHEMA.field(COUNTS).type),
        pa.array(decimal, SCHEMA.field(DECIMAL).type),
        pa.array(corrections, SCHEMA.field(CORRECTIONS).type),
        pa.array(rest, SCHEMA.field(RECORD).type),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


class _Structs:
    """The structs of a list so far, over all rows; or the rows themselves."""

    def __init__(self, columns: Iterable[Column | ListColumn]) -> None:
        self._columns = list(columns)
        self._values: dict[Column, list[Any]] = {}
        self._lists: dict[ListColumn, _Structs] = {}
        for column in self._columns:
            if isinstance(column, Column):
                self._values[column] = []
            else:
                self._lists[column] = _Structs(column.columns)
        self._length = 0
        self._start = 0
        self._offsets: list[int | None] = []

    def values(self) -> dict[Column, list[Any]]:
        """The values of the columns at any depth."""
        found = dict(self._values)
        for each in self._lists.values():
            found.update(each.values())
        return found

    def lists(self) -> dict[ListColumn, _Structs]:
        """The lists at any depth."""
        found = dict(self._lists)
        for each in self._lists.values():
            found.update(each.lists())
        return found

    def end_struct(self) -> None:
        """Ends a struct: a column without a value for it gets a null."""
        self._length += 1
        length = self._length
        for values in self._values.values():
            if len(values) < length:
                values.append(None)
        for each in self._lists.values():
            each.end_list()

    def end_list(self) -> None:
        """Ends the list of one struct around it."""
        self._offsets.append(self._start if self._length > self._start else None)
        self._start = self._length

    def arrays(self) -> list[pa.Array]:
        """The columns."""
        return [
            _array(each, self._values[each])
            if isinstance(each, Column)
            else self._lists[each].array(each)
            for each in self._columns
        ]

    def array(self, column: ListColumn) -> pa.Array:
        """The lists, as the values of a column."""
        kind = column.type
        structs = pa.StructArray.from_arrays(self.arrays(), fields=list(kind.value_type))
        offsets = pa.array([*self._offsets, self._length], pa.int32())
        return pa.ListArray.from_arrays(offsets, structs, type=kind)


def _array(column: Column, values: list[Any]) -> pa.Array:
    if column.dictionary is None:
        kind = pa.int64() if column.time_unit else column.type
        return pa.array(values, kind).cast(column.type)
    return pa.DictionaryArray.from_arrays(pa.array(values, pa.int32()), column.dictionary)


class _Shredder:
    """Moves the values of records to columns.

    Attributes:
        tokens: The tokens of the last record.
        counts: How many of them each list of tokens has.
    """

    def __init__(self) -> None:
        self.tokens: list[Token] = []
        self.counts: list[int] = []
        self._rows = _Structs(COLUMNS)
        self._values = self._rows.values()
        self._lists = self._rows.lists()
        self._places = {
            column: {number: place for place, number in enumerate(column.words.words)}
            for column in self._values
            if column.words is not None
        }
        self._keeps_tokens = True

    def add(self, record: CompletionRecord, folded: Any) -> None:
        """Adds a row."""
        self.tokens, self.counts, self._keeps_tokens = [], [], True
        self._walk(ROOT, record, None)
        if folded is not None:  # only copies: the tokens are in the chunks
            self._keeps_tokens = False
            self._walk(FOLDED.node, folded, None)
        self._rows.end_struct()

    def arrays(self) -> list[pa.Array]:
        """The columns of all rows."""
        return self._rows.arrays()

    def _walk(self, node: Node, message: Any, owner: int | None) -> None:
        """Moves the values in a message to the columns; tokens in it get a copy of `owner`."""
        if node.owner is not None:
            owner = getattr(message, node.owner.name)
        for leaf in node.leaves:
            self._move(leaf, message)
        for tokens in node.tokens:
            self._move_tokens(getattr(message, tokens.name), {OWNER: owner, SOURCE: tokens.name})
        for branch in node.branches:
            if message.HasField(branch.name):
                self._walk(branch.node, getattr(message, branch.name), owner)
        for elements in node.lists:
            structs = self._lists[elements.column]
            for element in getattr(message, elements.name):
                self._walk(elements.node, element, owner)
                structs.end_struct()

    def _move(self, leaf: Leaf, message: Any) -> None:
        column = leaf.column
        values = self._values[column]
        if column.kind in _LISTS:
            if found := getattr(message, leaf.name):
                values.append(list(found))
                message.ClearField(leaf.name)
        elif column.kind is Kind.MAP:
            if found := getattr(message, leaf.name):
                values.append([{KEY: key, VALUE: value} for key, value in found.items()])
                message.ClearField(leaf.name)
        elif leaf.implicit is not None or message.HasField(leaf.name):
            value = getattr(message, leaf.name)
            is_unset = column.words is not None and value == leaf.unset
            if column.words is not None:
                value = self._places[column].get(value)  # what has no word stays in the message
            if value is not None and value == value:  # as does what is not equal to itself
                values.append(value)
                if not is_unset:
                    message.ClearField(leaf.name)
        elif leaf.unset:
            values.append(self._places[column][leaf.unset])

    def _move_tokens(self, tokens: Any, place: Token) -> None:
        if self._keeps_tokens:
            self.counts.append(len(tokens))
            self.tokens.extend(place | shred_token(TOKENS, token) for token in tokens)
        del tokens[:]
