"""Leaves out of a file what is null in all its rows: columns, and fields of the structs in lists.

A reader takes a column or a field that a file lacks for null. So a file of plain chats has some 20
columns of Parquet in place of 100: it is shorter, and faster to read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pyarrow as pa

from chatpb.table._rows.kernels import kernel


def used_schema(rows: pa.Table | pa.RecordBatch, always: Iterable[str]) -> pa.Schema:
    """The schema of what is not null somewhere.

    A struct keeps a field at least, so that the length of a list of structs is never lost.

    Args:
        rows: Rows.
        always: Columns that are never left out.
    """
    kept = frozenset(always)
    fields = []
    for field, values in zip(rows.schema, rows.columns, strict=True):
        if values.null_count < len(values):
            chunks = values.chunks if isinstance(values, pa.ChunkedArray) else [values]
            fields.append(field.with_type(_used(field.type, chunks)))
        elif field.name in kept:
            fields.append(field)
    return pa.schema(fields)


def _used(kind: pa.DataType, chunks: list[pa.Array]) -> pa.DataType:
    if pa.types.is_list(kind):
        inner = [kernel("list_flatten", chunk) for chunk in chunks]
        return pa.list_(kind.value_field.with_type(_used(kind.value_type, inner)))
    if not pa.types.is_struct(kind):
        return kind
    fields = []
    for number, field in enumerate(kind):
        inner = [chunk.field(number) for chunk in chunks]
        if any(each.null_count < len(each) for each in inner):
            fields.append(field.with_type(_used(field.type, inner)))
    return pa.struct(fields or [kind.field(0)])


def has_fields(schema: pa.Schema, wanted: pa.Schema) -> bool:
    """Whether a schema has all columns of another one, with all fields inside them."""
    return all(
        field.name in schema.names and _has(schema.field(field.name).type, field.type)
        for field in wanted
    )


def _has(kind: pa.DataType, wanted: pa.DataType) -> bool:
    if pa.types.is_list(wanted):
        return _has(kind.value_type, wanted.value_type)
    if not pa.types.is_struct(wanted):
        return True
    names = {field.name for field in kind}
    return all(
        field.name in names and _has(kind.field(field.name).type, field.type) for field in wanted
    )


def trimmed(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Rows with the columns of a schema, and the fields inside them; no value is copied."""
    columns = []
    for field in schema:
        values = rows.column(field.name)
        if values.type != field.type:
            cut = _cutter(values.type, field.type)
            values = pa.chunked_array([cut(each) for each in values.chunks], field.type)
        columns.append(values)
    return pa.Table.from_arrays(columns, schema=schema)


def _cutter(kind: pa.DataType, wanted: pa.DataType) -> Callable[[pa.Array], pa.Array]:
    """What takes values of a type to those of the type with fewer fields."""
    if kind == wanted:
        return lambda values: values
    if pa.types.is_list(kind):
        inner = _cutter(kind.value_type, wanted.value_type)
        return lambda values: pa.Array.from_buffers(
            wanted,
            len(values),
            values.buffers()[:2],  # the bitmap and the offsets
            values.null_count,
            values.offset,
            [inner(values.values)],
        )
    numbers = [kind.get_field_index(field.name) for field in wanted]
    cutters = [
        _cutter(kind.field(number).type, field.type)
        for number, field in zip(numbers, wanted, strict=True)
    ]

    def cut(values: pa.Array) -> pa.Array:
        fields = [each(values.field(number)) for each, number in zip(cutters, numbers, strict=True)]
        mask = kernel("is_null", values) if values.null_count else None
        return pa.StructArray.from_arrays(fields, fields=list(wanted), mask=mask)

    return cut
