"""Record batches from and to the buffers of the native implementation.

The buffers are in the order of the schema: for each array its bitmap, its offsets, its values, and
then those of the arrays inside. See https://arrow.apache.org/docs/format/Columnar.html.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute

from chatpb._mapping.native import transcoder
from chatpb.table._columns import COLUMNS, ROOT, SCHEMA, TOKENS, Column, Node, TokenFields
from chatpb.v1.chat_completion_pb2 import ChatCompletion

_WORDS = {column.name: column for column in COLUMNS if column.words is not None}


@functools.cache
def shredder() -> Any:
    """The native implementation of shredding; None if it is not in use."""
    if transcoder is None:
        return None
    from _chatpb import Shredder

    nodes: list[Any] = []
    _compile(ROOT, nodes)
    assert TOKENS.inner is not None
    columns = [
        (str(column.kind), column.is_list, list(column.words.words) if column.words else [])
        for column in COLUMNS
    ]
    folded = next(b for b in ROOT.branches if b.node.descriptor is ChatCompletion.DESCRIPTOR)
    return Shredder(
        columns, nodes, _numbers(TOKENS), _numbers(TOKENS.inner), TOKENS.repeats, folded.number
    )


def _compile(node: Node, nodes: list[Any]) -> int:
    """Appends the numbers of a message type, and those of the types in it; gives its place."""
    place = len(nodes)
    nodes.append(None)
    branches = [
        (branch.number, branch.is_list, _compile(branch.node, nodes)) for branch in node.branches
    ]
    nodes[place] = (
        [(leaf.number, leaf.column, leaf.implicit is not None) for leaf in node.leaves],
        branches,
        [field.number for field in node.tokens],
        [
            (text.holder.number, text.text.number, text.tokens_holder.number, text.tokens.number)
            for text in node.texts
        ],
        node.scope,
    )
    return place


def _numbers(fields: TokenFields) -> tuple[int, int, int, int, int]:
    inner = fields.list.number if fields.list is not None else 0
    token, logprob = fields.token.number, fields.logprob.number
    return token, logprob, fields.data.number, fields.id.number, inner


def to_arrays(buffers: list[bytes | None], rows: int) -> pa.RecordBatch:
    """Buffers to a record batch."""
    source = iter(buffers)
    arrays = [
        _read_words(_WORDS[field.name], rows, source)
        if field.name in _WORDS
        else _read(field.type, rows, source)
        for field in SCHEMA
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def _next(source: Iterator[bytes | None]) -> Any:
    buffer = next(source)
    return None if buffer is None else pa.py_buffer(buffer)


def _read(kind: pa.DataType, length: int, source: Iterator[bytes | None]) -> pa.Array:
    if pa.types.is_struct(kind):
        fields = [_read(field.type, length, source) for field in kind]
        return pa.StructArray.from_arrays(fields, fields=list(kind))
    validity = _next(source)
    if pa.types.is_dictionary(kind):
        indices = pa.Array.from_buffers(kind.index_type, length, [validity, _next(source)])
        offsets, data = _next(source), _next(source)
        values = pa.Array.from_buffers(
            kind.value_type, offsets.size // 4 - 1, [None, offsets, data]
        )
        return pa.DictionaryArray.from_arrays(indices, values)
    values = _next(source)
    if pa.types.is_map(kind):
        inner = [_read(part, _last(values), source) for part in (kind.key_type, kind.item_type)]
        pairs = pa.StructArray.from_arrays(inner, fields=[kind.key_field, kind.item_field])
        return pa.Array.from_buffers(kind, length, [validity, values], children=[pairs])
    if pa.types.is_list(kind):
        inner = _read(kind.value_type, _last(values), source)
        return pa.Array.from_buffers(kind, length, [validity, values], children=[inner])
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return pa.Array.from_buffers(kind, length, [validity, values, _next(source)])
    return pa.Array.from_buffers(kind, length, [validity, values])


def _read_words(column: Column, length: int, source: Iterator[bytes | None]) -> pa.Array:
    assert column.words is not None
    codes = _read(pa.list_(pa.int32()) if column.is_list else pa.int32(), length, source)
    words = pa.array(list(column.words.words.values()), pa.string())
    if not column.is_list:
        return pa.DictionaryArray.from_arrays(codes, words).cast(pa.string())
    plain = pa.DictionaryArray.from_arrays(codes.values, words).cast(pa.string())
    return pa.Array.from_buffers(column.type, length, codes.buffers()[:2], children=[plain])


def _last(offsets: pa.Buffer) -> int:
    """The last offset: how many elements all lists have together."""
    return int.from_bytes(memoryview(offsets)[-4:], "little")


def to_buffers(batch: pa.RecordBatch) -> list[bytes | None]:
    """The buffers of a record batch, whose columns have the names of the schema.

    Raises:
        pyarrow.ArrowInvalid: A column is of another type.
    """
    buffers: list[bytes | None] = []
    for field in SCHEMA:
        array = batch.column(field.name)
        if field.name in _WORDS:
            array = _codes(array, _WORDS[field.name])
            _write(array, array.type, buffers)
        else:
            _write(array, field.type, buffers)
    return buffers


def _codes(array: pa.Array, column: Column) -> pa.Array:
    """Words as their places in the enum."""
    assert column.words is not None
    words = pa.array(list(column.words.words.values()), pa.string())
    if not column.is_list:
        return pa.compute.index_in(_plain(array, pa.string()), words)
    array = _as_list(array, column.type)
    codes = pa.compute.index_in(_plain(array.values, pa.string()), words)
    kind = pa.list_(pa.int32())
    return pa.Array.from_buffers(kind, len(array), array.buffers()[:2], children=[codes])


def _plain(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """An array of that type which begins where its buffers do."""
    return _moved(array if array.type == kind else array.cast(kind))


def _moved(array: pa.Array) -> pa.Array:
    return pa.concat_arrays([array, array[:0]]) if array.offset else array


def _write(array: pa.Array, kind: pa.DataType, out: list[bytes | None]) -> None:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_struct(kind):
        names = {field.name for field in array.type} if pa.types.is_struct(array.type) else set()
        if array.null_count or not names.issuperset(field.name for field in kind):
            raise pa.ArrowInvalid(f"nulls, or {array.type}, where {kind} belongs")
        array = _moved(array)
        for field in kind:
            _write(array.field(field.name), field.type, out)
        return
    is_nested = pa.types.is_list(kind) or pa.types.is_map(kind)
    array = _as_list(array, kind) if is_nested else _plain(array, kind)
    own = array.buffers()
    out.append(own[0].to_pybytes() if array.null_count else None)
    if is_nested:
        out.append(own[1].to_pybytes() if own[1] is not None else bytes(4))
        if pa.types.is_map(kind):
            _write(array.keys, kind.key_type, out)
            _write(array.items, kind.item_type, out)
        else:
            _write(array.values, kind.value_type, out)
        return
    out.extend(buffer.to_pybytes() if buffer is not None else b"" for buffer in own[1:])


def _as_list(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """A list or a map with offsets of 32 bits that begins where its buffers do."""
    if pa.types.is_large_list(array.type) or pa.types.is_null(array.type):
        array = array.cast(kind)
    if array.type.id != kind.id:
        raise pa.ArrowInvalid(f"{array.type} where {kind} belongs")
    return _moved(array)
