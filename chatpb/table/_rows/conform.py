"""Columns of any reader or writer of Arrow as the types of the schema."""

from __future__ import annotations

import pyarrow as pa

from chatpb.table._rows.columns import SCHEMA


def column_like(batch: pa.RecordBatch, name: str) -> pa.Array | None:
    """A column of a batch in the type that `SCHEMA` has for it, without dictionaries.

    Fields of structs are found by their names: others are left out, and missing ones are null.

    Returns:
        The column; None if the batch does not have it.

    Raises:
        pyarrow.ArrowInvalid: It has a type that is not like that of the schema.
    """
    index = batch.schema.get_field_index(name)
    return None if index < 0 else _like(batch.column(index), SCHEMA.field(name).type)


def _like(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), plain(kind))
    if pa.types.is_list(kind):
        return _lists_like(array, kind.value_type)
    if pa.types.is_struct(kind):
        return _structs_like(array, kind)
    return array if array.type == plain(kind) else array.cast(plain(kind))


def plain(kind: pa.DataType) -> pa.DataType:
    """A type as Delta has it: values in place of dictionaries, one kind of text, all nullable."""
    if pa.types.is_dictionary(kind):
        return plain(kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(plain(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, plain(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(plain(kind.key_type), plain(kind.item_type))
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    return kind


def _lists_like(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_large_list(array.type):
        array = array.cast(pa.list_(array.type.value_type))
    if not pa.types.is_list(array.type):
        raise pa.ArrowInvalid(f"{array.type} instead of a list of {kind}")
    if array.offset:
        array = pa.concat_arrays([array, array[:0]])
    values = _like(array.values, kind)
    return pa.Array.from_buffers(
        pa.list_(values.type), len(array), array.buffers()[:2], children=[values]
    )


def _structs_like(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if not pa.types.is_struct(array.type) or array.null_count:
        raise pa.ArrowInvalid(f"{array.type}, perhaps with nulls, instead of {kind}")
    arrays = []
    for field in kind:
        index = array.type.get_field_index(field.name)
        found = pa.nulls(len(array)) if index < 0 else array.field(index)
        arrays.append(_like(found, field.type))
    fields = [pa.field(field.name, each.type) for field, each in zip(kind, arrays, strict=True)]
    return pa.StructArray.from_arrays(arrays, fields=fields)
