"""Record batches from and to the buffers of the native implementation.

The buffers are in the order of the schema: for each array its bitmap, its offsets, its values, and
then those of the arrays inside; a struct has none of its own. A word is its place in the enum. See https://arrow.apache.org/docs/format/Columnar.html.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute

from chatpb.table._columns import (
    COLUMNS,
    CORRECTIONS,
    COUNTS,
    DECIMAL,
    FOLDED,
    RECORD,
    ROOT,
    SCHEMA,
    SOURCE,
    SOURCES,
    TOKENS,
    TOKENS_COLUMN,
    Column,
    ListColumn,
    Node,
)
from chatpb.table._conform import column_like, plain
from chatpb.table._token_type import TokenFields

#: The columns after that of the tokens.
OTHERS: Final = (COUNTS, DECIMAL, CORRECTIONS, RECORD)


@functools.cache
def shredder() -> Any:
    """The native implementation of shredding; None if it is not in use."""
    # TODO(native): compile `native_plan()` in the native implementation, and return it here.
    return None


#: A builder of an array: its kind, the builder of the list around it (-1: the record), and the
#: numbers of the words of an enum, by their places in its dictionary.
_Builder = tuple[str, int, list[int]]
#: A node: leaves, branches, lists, lists of tokens, and the number of the owner's field or 0.
_Node = tuple[
    list[tuple[int, int, bool, int]],
    list[tuple[int, int]],
    list[tuple[int, int, int]],
    list[tuple[int, int]],
    int,
]


@dataclass(frozen=True)
class NativePlan:
    """What the native implementation is compiled from: numbers only.

    Attributes:
        builders: One for each column of `COLUMNS` and for each inside them, depth first. The kind
            is one of `Kind`, or "list" for a list of structs, whose fields are the builders that
            name it as theirs.
        nodes: One for each message type at a place; the first is the record. Each has

            - leaves: the field's number, its builder, whether it has its zero while it is unset,
              and the number of the word that its column has while it is unset (0: null). A value
              that is this word is in the column and stays in the message;
            - branches, of messages: the field's number, the node of the message;
            - lists, of repeated messages: the field's number, the builder of the list, the node of
              an element;
            - lists of tokens: the field's number, the place of its name in `SOURCES`;
            - the number of the int32 field that each token inside the message gets a copy of, also
              in nested messages, or 0.
        token: The numbers of the fields of a token: text, log probability, bytes, id, alternatives.
        alternative: The same of an alternative; the last is 0.
        repeats: Whether an alternative may repeat the token.
        folded: The number of the record's field for the completion that the chunks make.
    """

    builders: list[_Builder]
    nodes: list[_Node]
    token: tuple[int, int, int, int, int]
    alternative: tuple[int, int, int, int, int]
    repeats: bool
    folded: int


def native_plan() -> NativePlan:
    """The plan of the native implementation."""
    places: dict[int, int] = {}
    builders: list[_Builder] = []
    _build(COLUMNS, -1, places, builders)
    nodes: list[Any] = []
    _compile(ROOT, places, nodes)
    assert TOKENS.inner is not None
    token, alternative = _numbers(TOKENS), _numbers(TOKENS.inner)
    return NativePlan(builders, nodes, token, alternative, TOKENS.repeats, FOLDED.number)


def _build(
    columns: Iterable[Column | ListColumn],
    around: int,
    places: dict[int, int],
    builders: list[_Builder],
) -> None:
    """Appends the builders of columns; `places` gets the place of each column by its identity."""
    for column in columns:
        place = places[id(column)] = len(builders)
        if isinstance(column, ListColumn):
            builders.append(("list", around, []))
            _build(column.columns, place, places, builders)
        else:
            words = list(column.words.words) if column.words is not None else []
            builders.append((str(column.kind), around, words))


def _compile(node: Node, places: dict[int, int], nodes: list[Any]) -> int:
    """Appends a message type, and those in it; gives its place."""
    place = len(nodes)
    nodes.append(None)
    nodes[place] = (
        [(f.number, places[id(f.column)], f.implicit is not None, f.unset) for f in node.leaves],
        [(f.number, _compile(f.node, places, nodes)) for f in node.branches],
        [(f.number, places[id(f.column)], _compile(f.node, places, nodes)) for f in node.lists],
        [(f.number, SOURCES.index(f.name)) for f in node.tokens],
        node.owner.number if node.owner is not None else 0,
    )
    return place


def _numbers(fields: TokenFields) -> tuple[int, int, int, int, int]:
    inner = fields.list.number if fields.list is not None else 0
    token, logprob = fields.token.number, fields.logprob.number
    return token, logprob, fields.data.number, fields.id.number, inner


def to_arrays(buffers: list[bytes | None], rows: int) -> pa.RecordBatch:
    """Buffers to a record batch."""
    source = iter(buffers)
    arrays = [_column(column, rows, source) for column in COLUMNS]
    structs = _lists(rows, source, lambda length: _tokens(length, source))
    others = [_read(SCHEMA.field(name).type, rows, source) for name in OTHERS]
    return pa.RecordBatch.from_arrays([*arrays, structs, *others], schema=SCHEMA)


def _next(source: Iterator[bytes | None]) -> Any:
    buffer = next(source)
    return None if buffer is None else pa.py_buffer(buffer)


def _column(column: Column | ListColumn, length: int, source: Iterator[bytes | None]) -> pa.Array:
    if isinstance(column, ListColumn):
        return _lists(length, source, lambda inner: _structs(column, inner, source))
    if column.words is None:
        return _read(column.type, length, source)
    return _words(list(column.words.words.values()), length, source)


def _lists(
    length: int, source: Iterator[bytes | None], read: Callable[[int], pa.Array]
) -> pa.Array:
    """Lists, whose values `read` gives, of a number of them."""
    validity, offsets = _next(source), _next(source)
    values = read(_last(offsets))
    kind = pa.list_(values.type)
    return pa.Array.from_buffers(kind, length, [validity, offsets], children=[values])


def _structs(column: ListColumn, length: int, source: Iterator[bytes | None]) -> pa.Array:
    fields = [_column(each, length, source) for each in column.columns]
    return pa.StructArray.from_arrays(fields, fields=list(column.type.value_type))


def _tokens(length: int, source: Iterator[bytes | None]) -> pa.Array:
    kind = SCHEMA.field(TOKENS_COLUMN).type.value_type
    fields = [
        _words(list(SOURCES), length, source)
        if field.name == SOURCE
        else _read(field.type, length, source)
        for field in kind
    ]
    return pa.StructArray.from_arrays(fields, fields=list(kind))


def _words(words: list[str], length: int, source: Iterator[bytes | None]) -> pa.Array:
    places = _read(pa.int32(), length, source)
    return pa.DictionaryArray.from_arrays(places, pa.array(words, pa.string()))


def _read(kind: pa.DataType, length: int, source: Iterator[bytes | None]) -> pa.Array:
    if pa.types.is_struct(kind):
        fields = [_read(field.type, length, source) for field in kind]
        return pa.StructArray.from_arrays(fields, fields=list(kind))
    if pa.types.is_list(kind):
        return _lists(length, source, lambda inner: _read(kind.value_type, inner, source))
    validity = _next(source)
    if pa.types.is_dictionary(kind):
        indices = pa.Array.from_buffers(kind.index_type, length, [validity, _next(source)])
        offsets, data = _next(source), _next(source)
        values = pa.Array.from_buffers(
            kind.value_type, offsets.size // 4 - 1, [None, offsets, data]
        )
        return pa.DictionaryArray.from_arrays(indices, values)
    values = _next(source)
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return pa.Array.from_buffers(kind, length, [validity, values, _next(source)])
    return pa.Array.from_buffers(kind, length, [validity, values])


def _last(offsets: pa.Buffer) -> int:
    """The last offset: how many elements all lists have together."""
    return int.from_bytes(memoryview(offsets)[-4:], "little")


def to_buffers(batch: pa.RecordBatch) -> list[bytes | None]:
    """The buffers of a record batch; a column that it does not have is null.

    Raises:
        pyarrow.ArrowInvalid: A column is of another type.
    """
    buffers: list[bytes | None] = []
    for column in COLUMNS:
        _write_column(column, _found(batch, column.name), buffers)
    for name in (TOKENS_COLUMN, *OTHERS):
        _write(_found(batch, name), buffers)
    return buffers


def _found(batch: pa.RecordBatch, name: str) -> pa.Array:
    array = column_like(batch, name)
    return pa.nulls(len(batch), plain(SCHEMA.field(name).type)) if array is None else array


def _write_column(column: Column | ListColumn, array: pa.Array, out: list[bytes | None]) -> None:
    if isinstance(column, ListColumn):
        structs = _write_lists(array, out)
        for index, each in enumerate(column.columns):
            _write_column(each, structs.field(index), out)
    elif column.words is not None:
        words = pa.array(list(column.words.words.values()), pa.string())
        _write(pa.compute.index_in(array, words), out)
    else:
        _write(array, out)


def _write_lists(array: pa.Array, out: list[bytes | None]) -> pa.Array:
    """Writes bitmap and offsets of lists; gives their values."""
    array = _moved(array)
    own = array.buffers()
    out.append(own[0].to_pybytes() if array.null_count else None)
    out.append(own[1].to_pybytes() if own[1] is not None else bytes(4))
    return array.values


def _moved(array: pa.Array) -> pa.Array:
    """An array that begins where its buffers do."""
    return pa.concat_arrays([array, array[:0]]) if array.offset else array


def _write(array: pa.Array, out: list[bytes | None]) -> None:
    array = _moved(array)
    if pa.types.is_struct(array.type):
        for index in range(array.type.num_fields):
            _write(array.field(index), out)
    elif pa.types.is_list(array.type):
        _write(_write_lists(array, out), out)
    else:
        own = array.buffers()
        out.append(own[0].to_pybytes() if array.null_count else None)
        out.extend(buffer.to_pybytes() if buffer is not None else b"" for buffer in own[1:])
