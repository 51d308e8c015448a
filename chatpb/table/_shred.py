"""Records to columns and back: the reference, in pure Python.

`docs/storage.md` states the rules. A value is moved to its column and leaves the message; what is
left of the message is a column of its own.
"""

from __future__ import annotations

import struct
from collections import Counter, deque
from collections.abc import Container, Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from google.protobuf.message_factory import GetMessageClass

from chatpb.table._columns import (
    COLUMNS,
    CORRECTIONS,
    COUNTS,
    DECIMAL,
    RANK,
    RECORD,
    REST,
    ROOT,
    SCHEMA,
    TOKENS,
    TOKENS_COLUMN,
    Column,
    Kind,
    Leaf,
    Node,
    Text,
    TokenFields,
    column_of,
)
from chatpb.v1.completion_record_pb2 import CompletionRecord

_MOST_RANK: Final = 2**15 - 1
_LEAST: Final = 2.0**-126
_MOST: Final = (2 - 2.0**-23) * 2.0**127
_Token = dict[str, Any]


def shred(records: Sequence[tuple[CompletionRecord, Any]]) -> pa.RecordBatch:
    """Records to a record batch.

    Args:
        records: The records, which are emptied, each with the completion that its chunks make, or
            None.
    """
    columns = [_Values(column) for column in COLUMNS]
    tokens: list[list[_Token]] = []
    counts: list[list[int] | None] = []
    decimal: list[bool | None] = []
    corrections: list[list[int] | None] = []
    rest: list[bytes] = []
    for record, folded in records:
        row = _Row(columns)
        row.walk(ROOT, record)
        if folded is not None:
            row.walk_folded(folded)
        row.close(ROOT.scope)
        rest.append(record.SerializeToString(deterministic=True))
        for values in columns:
            values.end_row()
        is_decimal, corrected = _spell(row.tokens)
        _leave_out_ids(row.tokens)
        tokens.append(row.tokens)
        counts.append(row.counts or None)
        decimal.append(is_decimal)
        corrections.append(corrected)
    arrays = [
        *(values.array() for values in columns),
        pa.array([row or None for row in tokens], SCHEMA.field(TOKENS_COLUMN).type),
        pa.array(counts, SCHEMA.field(COUNTS).type),
        pa.array(decimal, SCHEMA.field(DECIMAL).type),
        pa.array(corrections, SCHEMA.field(CORRECTIONS).type),
        pa.array(rest, SCHEMA.field(RECORD).type),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def assemble(batch: pa.RecordBatch) -> Iterator[CompletionRecord]:
    """A record batch to records."""
    columns = [batch.column(column.name).cast(_plain(column)).to_pylist() for column in COLUMNS]
    tokens = batch.column(TOKENS_COLUMN).to_pylist()
    counts = batch.column(COUNTS).to_pylist()
    decimal = batch.column(DECIMAL).to_pylist()
    corrections = batch.column(CORRECTIONS).to_pylist()
    for row, rest in enumerate(batch.column(RECORD).to_pylist()):
        record = CompletionRecord.FromString(rest)
        positions = tokens[row] or []
        _unspell(positions, decimal[row], corrections[row])
        _put_in_ids(positions)
        values = [column[row] for column in columns]
        assembler = _Assembler(values, positions, counts[row] or [])
        assembler.fill(ROOT, record, None)
        assembler.close()
        yield record


class _Values:
    """The values of a column so far."""

    def __init__(self, column: Column) -> None:
        self.column = column
        self.is_filled = False
        self._rows: list[Any] = []
        self._row: list[Any] = []

    def add(self, value: Any) -> None:
        self._row.append(value)
        self.is_filled = True

    def end_element(self) -> None:
        if not self.is_filled:
            self._row.append(None)
        self.is_filled = False

    def end_row(self) -> None:
        row = self._row
        if self.column.is_list:
            is_null = all(value is None for value in row)
            self._rows.append(None if is_null else row)
        else:
            self._rows.append(row[0])
        self._row = []

    def array(self) -> pa.Array:
        return pa.array(self._rows, _plain(self.column)).cast(self.column.type)


class _Row:
    """What becomes of one record."""

    def __init__(self, columns: Sequence[_Values]) -> None:
        self._columns = columns
        self._keeps_tokens = True
        self.tokens: list[_Token] = []
        self.counts: list[int] = []

    def walk(self, node: Node, message: Any, made: Container[str] = ()) -> None:
        """Moves what is in a message to the columns.

        Args:
            node: The place of the message.
            message: The message.
            made: The names of its texts that tokens make.
        """
        of_tokens = {(text.holder.name, text.text.name) for text in _made_texts(node, message)}
        for leaf in node.leaves:
            if leaf.name in made:
                setattr(message, leaf.name, "")  # it stays, as a sign that the tokens spell it
            else:
                self._move(leaf, message)
        for tokens in node.tokens:
            self._move_tokens(getattr(message, tokens.name))
        for branch in node.branches:
            if branch.is_list:
                for element in getattr(message, branch.name):
                    self.walk(branch.node, element)
                    self.close(branch.node.scope)
            elif message.HasField(branch.name):
                names = [name for holder, name in of_tokens if holder == branch.name]
                self.walk(branch.node, getattr(message, branch.name), names)

    def walk_folded(self, folded: Any) -> None:
        """Copies what is in the completion that the chunks make."""
        self._keeps_tokens = False
        place = next(b for b in ROOT.branches if b.node.descriptor is folded.DESCRIPTOR)
        self.walk(place.node, folded)

    def close(self, scope: Sequence[int]) -> None:
        """Ends an element of a list: a column without a value for it gets a null."""
        for column in scope:
            self._columns[column].end_element()

    def _move(self, leaf: Leaf, message: Any) -> None:
        values = self._columns[leaf.column]
        column = values.column
        if column.kind in (Kind.MAP, Kind.INT32_LIST, Kind.INT64_LIST):
            found = getattr(message, leaf.name)
            if found:
                values.add(list(found.items() if column.kind is Kind.MAP else found))
                message.ClearField(leaf.name)
            return
        if leaf.implicit is None and not message.HasField(leaf.name):
            return
        value = getattr(message, leaf.name)
        if column.words is not None:
            value = column.words.words.get(value)  # what has no word stays in the message
        if value is None or value != value:  # as does what is not equal to itself
            return
        values.add(value)
        message.ClearField(leaf.name)

    def _move_tokens(self, tokens: Any) -> None:
        if self._keeps_tokens:
            self.counts.append(len(tokens))
            self.tokens.extend(_shred_token(TOKENS, token) for token in tokens)
        del tokens[:]


class _Assembler:
    """Puts the values of a row back.

    Args:
        values: The row's value in each column.
        tokens: The row's tokens.
        counts: How many of them are in each list.
    """

    def __init__(self, values: list[Any], tokens: list[_Token], counts: list[int]) -> None:
        self._values = values
        self._tokens = deque(tokens)
        self._counts = deque(counts)
        self._elements: Counter[int] = Counter()

    def fill(self, node: Node, message: Any, at: int | None) -> None:
        """Fills a message.

        Args:
            node: The place of the message.
            message: What is left of it.
            at: The number of the element that it is in, of all of that list in the record; None
                outside lists.
        """
        made = [
            text
            for text in node.texts
            if message.HasField(text.holder.name)
            and getattr(message, text.holder.name).HasField(text.text.name)
        ]
        for leaf in node.leaves:
            value = self._values[leaf.column]
            if value is not None and at is not None:
                value = value[at]
            if value is not None:
                _put(message, leaf.name, COLUMNS[leaf.column], value)
        for tokens in node.tokens:
            found = getattr(message, tokens.name)
            for _ in range(self._counts.popleft()):
                _assemble_token(TOKENS, self._tokens.popleft(), found.add())
        for branch in node.branches:
            if branch.is_list:
                for element in getattr(message, branch.name):
                    number = self._elements[id(branch)]
                    self._elements[id(branch)] += 1
                    self.fill(branch.node, element, number)
            elif message.HasField(branch.name):
                self.fill(branch.node, getattr(message, branch.name), at)
        for text in made:
            tokens_of = getattr(getattr(message, text.tokens_holder.name), text.tokens.name)
            setattr(getattr(message, text.holder.name), text.text.name, _joined(tokens_of).decode())

    def close(self) -> None:
        """Looks that nothing is left.

        Raises:
            ValueError: There are more tokens than the record has room for.
        """
        if self._tokens or self._counts:
            raise ValueError(f"{len(self._tokens)} tokens are left")


def _made_texts(node: Node, message: Any) -> Iterator[Text]:
    """The texts of a message that equal its tokens, joined."""
    for text in node.texts:
        if message.HasField(text.holder.name) and message.HasField(text.tokens_holder.name):
            said = getattr(getattr(message, text.holder.name), text.text.name)
            tokens = getattr(getattr(message, text.tokens_holder.name), text.tokens.name)
            if said and said.encode() == _joined(tokens):
                yield text


def _joined(tokens: Any) -> bytes:
    token, data = TOKENS.token.name, TOKENS.data.name
    return b"".join(
        getattr(each, data) if each.HasField(data) else getattr(each, token).encode()
        for each in tokens
    )


def _put(message: Any, name: str, column: Column, value: Any) -> None:
    if column.kind is Kind.MAP:
        getattr(message, name).update(value)
    elif column.kind in (Kind.INT32_LIST, Kind.INT64_LIST):
        getattr(message, name).extend(value)
    else:
        setattr(message, name, value if column.words is None else column.words.numbers[value])


def _plain(column: Column) -> pa.DataType:
    """The type of a column with numbers for times."""
    return pa.int64() if column.time_unit else column.type


def _shred_token(fields: TokenFields, message: Any) -> _Token:
    row: _Token = {
        column_of(fields.token): getattr(message, fields.token.name),
        column_of(fields.logprob): getattr(message, fields.logprob.name),
    }
    for field in (fields.data, fields.id):
        has_value = message.HasField(field.name)
        row[column_of(field)] = getattr(message, field.name) if has_value else None
    for field in (fields.token, fields.data, fields.id):
        message.ClearField(field.name)
    if not _is_spelled(row[column_of(fields.logprob)]):
        row[column_of(fields.logprob)] = None
    else:
        message.ClearField(fields.logprob.name)
    inner: list[_Token] = []
    if fields.list is not None and fields.inner is not None:
        inner = [_shred_token(fields.inner, each) for each in getattr(message, fields.list.name)]
        message.ClearField(fields.list.name)
    row[REST] = message.SerializeToString(deterministic=True) or None
    if fields.list is not None:
        own = _bits(row)
        row[RANK] = None
        if fields.repeats:
            ranks = (rank for rank, each in enumerate(inner) if _bits(each) == own)
            row[RANK] = next(ranks, None)
        if row[RANK] is not None and row[RANK] <= _MOST_RANK:
            del inner[row[RANK]]
        else:
            row[RANK] = None
        row[column_of(fields.list)] = inner or None
    return row


def _bits(row: _Token) -> list[Any]:
    """What tokens are compared by: -0.0 is not 0.0."""
    return [
        struct.pack("<d", value) if isinstance(value, float) else value for value in row.values()
    ]


def _assemble_token(fields: TokenFields, row: _Token, message: Any) -> None:
    setattr(message, fields.token.name, row[column_of(fields.token)])
    if row[column_of(fields.logprob)] is not None:
        setattr(message, fields.logprob.name, row[column_of(fields.logprob)])
    for field in (fields.data, fields.id):
        if row[column_of(field)] is not None:
            setattr(message, field.name, row[column_of(field)])
    if row[REST]:
        message.MergeFromString(row[REST])
    if fields.list is not None and fields.inner is not None:
        inner = list(row[column_of(fields.list)] or ())
        if row[RANK] is not None:
            inner.insert(row[RANK], row)
        for each in inner:
            _assemble_token(fields.inner, each, getattr(message, fields.list.name).add())


def _numbers(positions: Sequence[_Token]) -> Iterator[_Token]:
    """The tokens of a row, then their alternatives: the order of the log probabilities."""
    yield from positions
    if TOKENS.list is not None:
        for position in positions:
            yield from position[column_of(TOKENS.list)] or ()


def _in_order(positions: Sequence[_Token]) -> Iterator[tuple[TokenFields, _Token]]:
    """Each token of a row, and after it its alternatives: the order in which ids follow."""
    for position in positions:
        yield TOKENS, position
        if TOKENS.list is not None and TOKENS.inner is not None:
            for alternative in position[column_of(TOKENS.list)] or ():
                yield TOKENS.inner, alternative


def _known_id(fields: TokenFields, row: _Token, ids: dict[Any, int]) -> tuple[Any, int | None]:
    """What the id of a token follows from, and the last id of the tokens that have the same."""
    key = row[column_of(fields.token)], row[column_of(fields.data)]
    return key, ids.get(key)


def _leave_out_ids(positions: Sequence[_Token]) -> None:
    """Makes null of the ids of a row that follow; or moves all of them to the rest."""
    ids: dict[Any, int] = {}
    follow: list[_Token] = []
    for fields, row in _in_order(positions):
        key, known = _known_id(fields, row, ids)
        said = row[column_of(fields.id)]
        if said is not None:
            ids[key] = said
            if said == known:
                follow.append(row)
        elif known is not None:  # null would mean the known one
            return _keep_ids(positions)
    for row in follow:
        row[column_of(TOKENS.id)] = None
    return None


def _keep_ids(positions: Sequence[_Token]) -> None:
    """Moves the ids of a row to the rest of their tokens."""
    for fields, row in _in_order(positions):
        said = row[column_of(fields.id)]
        if said is not None:
            rest = GetMessageClass(fields.message).FromString(row[REST] or b"")
            setattr(rest, fields.id.name, said)
            row[REST] = rest.SerializeToString(deterministic=True)
            row[column_of(fields.id)] = None


def _put_in_ids(positions: Sequence[_Token]) -> None:
    """Gives the tokens of a row the ids that follow."""
    ids: dict[Any, int] = {}
    for fields, row in _in_order(positions):
        key, known = _known_id(fields, row, ids)
        if row[column_of(fields.id)] is None:
            row[column_of(fields.id)] = known
        else:
            ids[key] = row[column_of(fields.id)]


def _is_spelled(value: float) -> bool:
    """Whether a number is zero, or of a size that float32 has with all its digits."""
    return value == 0 or _LEAST <= abs(value) <= _MOST


def _spell(positions: Sequence[_Token]) -> tuple[bool | None, list[int] | None]:
    """Makes float32 of the log probabilities of a row.

    Returns:
        Whether the shortest decimals of the float32 are meant, rather than their exact values; None
        if there are none. And what must be added to the bits of the numbers that they say, if any.
    """
    name = column_of(TOKENS.logprob)
    rows = [row for row in _numbers(positions) if row[name] is not None]
    if not positions:
        return None, None
    values = np.array([row[name] for row in rows], np.float64)
    singles = values.astype(np.float32)
    of_decimals = _corrections(values, _decimals(singles))
    of_exact = _corrections(values, singles.astype(np.float64))
    is_decimal = bool(np.count_nonzero(of_decimals) <= np.count_nonzero(of_exact))
    corrections = of_decimals if is_decimal else of_exact
    for row, single in zip(rows, singles, strict=True):
        row[name] = single
    return is_decimal, corrections.tolist() if corrections.any() else None


def _unspell(
    positions: Sequence[_Token], is_decimal: bool | None, corrections: list[int] | None
) -> None:
    """Makes the log probabilities of a row what they were."""
    name = column_of(TOKENS.logprob)
    rows = [row for row in _numbers(positions) if row[name] is not None]
    singles = np.array([row[name] for row in rows], np.float32)
    numbers = _decimals(singles) if is_decimal else singles.astype(np.float64)
    if corrections is not None:
        numbers = (numbers.view(np.int64) + np.array(corrections, np.int64)).view(np.float64)
    for row, number in zip(rows, numbers.tolist(), strict=True):
        row[name] = number


def _corrections(
    values: npt.NDArray[np.float64], numbers: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    return values.view(np.int64) - numbers.view(np.int64)


def _decimals(singles: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """The doubles that the shortest decimals of float32 numbers name."""
    decimals = pa.array(singles, pa.float32()).cast(pa.string()).cast(pa.float64())
    numbers: npt.NDArray[np.float64] = decimals.to_numpy(zero_copy_only=False)
    return numbers
