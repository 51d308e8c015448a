"""Record batches from and to the buffers of the native implementation.

The buffers are in the order of the schema: for each array its bitmap, its offsets, its values, and
then those of the arrays inside. See https://arrow.apache.org/docs/format/Columnar.html. An array
in which all is null has no buffers: there is None in their places. Nothing is copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa

from chatpb.table._rows.columns import (
    COLUMNS,
    SCHEMA,
    SOURCE,
    SOURCES,
)
from chatpb.table._rows.kernels import index_in, kernel
from chatpb.table._rows.tree import Column, ListColumn, strings

_Buffers = list[Any]
_CODES: Final = pa.int32()
_SOURCES: Final = strings(SOURCES)


def to_arrays(buffers: _Buffers, rows: int) -> pa.RecordBatch:
    """Buffers to a record batch."""
    source = iter(None if each is None else pa.py_buffer(each) for each in buffers)
    arrays = [_column(column, rows, source) for column in COLUMNS]
    arrays += [_read(field.type, rows, source) for field in list(SCHEMA)[len(COLUMNS) :]]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def _column(column: Column | ListColumn, length: int, source: Iterator[Any]) -> pa.Array:
    if isinstance(column, Column):
        if column.dictionary is not None:
            return _with_words(column.dictionary, length, source)
        return _read(column.type, length, source)
    kind, validity, offsets = column.type, next(source), next(source)
    elements = _last(offsets)
    fields = [_column(each, elements, source) for each in column.columns]
    return _list(kind, length, validity, offsets, fields)


def _with_words(words: pa.Array, length: int, source: Iterator[Any]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(_read(_CODES, length, source), words)


def _list(
    kind: pa.DataType, length: int, validity: Any, offsets: Any, fields: list[pa.Array]
) -> pa.Array:
    """A list of structs."""
    if offsets is None:
        return pa.nulls(length, kind)
    structs = pa.StructArray.from_arrays(fields, fields=list(kind.value_type))
    return pa.Array.from_buffers(kind, length, [validity, offsets], children=[structs])


def _read(kind: pa.DataType, length: int, source: Iterator[Any]) -> pa.Array:
    """An array of a type that has no words in it, except the sources of tokens."""
    validity, second = next(source), next(source)
    if pa.types.is_list(kind) and pa.types.is_struct(kind.value_type):
        elements = _last(second)
        fields = [_field(field, elements, source) for field in kind.value_type]
        return _list(kind, length, validity, second, fields)
    if pa.types.is_list(kind):
        inner = _read(kind.value_type, _last(second), source)
        if second is None:
            return pa.nulls(length, kind)
        return pa.Array.from_buffers(kind, length, [validity, second], children=[inner])
    own = [validity, second]
    if pa.types.is_dictionary(kind):
        offsets, data = next(source), next(source)
        if second is None:
            return pa.nulls(length, kind)
        indices = pa.Array.from_buffers(kind.index_type, length, own)
        values = pa.Array.from_buffers(
            kind.value_type, offsets.size // 4 - 1, [None, offsets, data]
        )
        return pa.DictionaryArray.from_arrays(indices, values)
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        own.append(next(source))
    return pa.nulls(length, kind) if second is None else pa.Array.from_buffers(kind, length, own)


def _field(field: pa.Field, length: int, source: Iterator[Any]) -> pa.Array:
    if field.name == SOURCE:
        return _with_words(_SOURCES, length, source)
    return _read(field.type, length, source)


def _last(offsets: pa.Buffer | None) -> int:
    """The last offset: how many elements all lists have together."""
    return 0 if offsets is None else int.from_bytes(memoryview(offsets)[-4:], "little")


def to_buffers(batch: pa.RecordBatch) -> _Buffers:
    """The buffers of a record batch. A column that it lacks is null everywhere.

    Raises:
        pyarrow.ArrowInvalid: A column is of another type.
    """
    out: _Buffers = []
    names = set(batch.schema.names)
    for column in COLUMNS:
        _put(column, batch.column(column.name) if column.name in names else None, out)
    for field in list(SCHEMA)[len(COLUMNS) :]:
        _write(batch.column(field.name) if field.name in names else None, field.type, out)
    return out


def _put(column: Column | ListColumn, array: pa.Array | None, out: _Buffers) -> None:
    if isinstance(column, Column):
        if column.dictionary is not None:
            _write(None if array is None else _codes(array, column.dictionary), _CODES, out)
        else:
            _write(array, column.type, out)
        return
    structs = _lists(array, column.type, out)
    for each in column.columns:
        _put(each, _inner(structs, each.name), out)


def _lists(array: pa.Array | None, kind: pa.DataType, out: _Buffers) -> pa.Array | None:
    """Appends the buffers of a list; gives its elements, or None if there are none."""
    if array is None or array.null_count == len(array):
        out += (None, None)
        return None
    if pa.types.is_large_list(array.type):
        array = array.cast(pa.list_(array.type.value_type))
    if not pa.types.is_list(array.type):
        raise pa.ArrowInvalid(f"{array.type} where {kind} belongs")
    array = _moved(array)
    own = array.buffers()
    out += (_bytes(own[0]) if array.null_count else None, _bytes(own[1]))
    elements = array.values
    if pa.types.is_struct(kind.value_type) and (
        not pa.types.is_struct(elements.type) or elements.null_count
    ):
        raise pa.ArrowInvalid(f"nulls, or {array.type}, where {kind} belongs")
    return elements


def _inner(structs: pa.Array | None, name: str) -> pa.Array | None:
    """A field of structs; None if they lack it."""
    if structs is None or structs.type.get_field_index(name) < 0:
        return None
    return _moved(structs).field(name)


def _codes(array: pa.Array, words: pa.Array) -> pa.Array:
    """Words as their places in the enum.

    Raises:
        pyarrow.ArrowInvalid: A word is none of the enum.
    """
    if pa.types.is_dictionary(array.type):
        if array.dictionary.equals(words):
            return array.indices
        codes = kernel("take", index_in(_texts(array.dictionary), words), array.indices)
    else:
        codes = index_in(_texts(array), words)
    if codes.null_count > array.null_count:
        raise pa.ArrowInvalid("a word that the enum does not have")
    return codes


def _texts(array: pa.Array) -> pa.Array:
    return array if pa.types.is_string(array.type) else array.cast(pa.string())


def _write(array: pa.Array | None, kind: pa.DataType, out: _Buffers) -> None:
    if pa.types.is_list(kind):
        elements = _lists(array, kind, out)
        if pa.types.is_struct(kind.value_type):
            for field in kind.value_type:
                is_copy = field.name == SOURCE
                inner = None if is_copy else _inner(elements, field.name)
                _write(inner, _CODES if is_copy else field.type, out)
        else:
            if elements is not None and elements.null_count:
                raise pa.ArrowInvalid(f"nulls where {kind.value_type} belongs")
            _write(elements, kind.value_type, out)
        return
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    has_three = pa.types.is_string(kind) or pa.types.is_binary(kind)
    if array is None or array.null_count == len(array):
        out += (None,) * (2 + has_three)
        return
    array = _moved(array if array.type == kind else array.cast(kind))
    own = array.buffers()
    out.append(_bytes(own[0]) if array.null_count else None)
    out.append(_bytes(own[1]))
    if has_three:
        out.append(_bytes(own[2]))


def _moved(array: pa.Array) -> pa.Array:
    """An array that begins where its buffers do."""
    return pa.concat_arrays([array, array[:0]]) if array.offset else array


def _bytes(buffer: pa.Buffer | None) -> Any:
    return np.frombuffer(b"" if buffer is None else buffer, np.uint8)
