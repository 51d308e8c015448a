"""The columns of a table in Delta's schema."""

from __future__ import annotations

import json
from typing import Final

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Field, Schema

from chatpb.table._delta.changes import NOTE
from chatpb.table._delta.digest import signed
from chatpb.table._delta.location import Location
from chatpb.table._errors import DatasetError
from chatpb.table._rows.columns import SCHEMA
from chatpb.table._rows.conform import plain

#: The columns of a table in Delta's schema.
COLUMNS: Final = pa.schema([pa.field(each.name, plain(each.type)) for each in SCHEMA])


def partition_field(name: str, kind: str) -> Field:
    return Field.from_json(
        json.dumps({"name": name, "type": kind, "nullable": True, "metadata": {}})
    )


def add_columns(location: Location, table: DeltaTable) -> bool:
    """Gives a table the columns that it lacks, because an older chatpb created it.

    Returns:
        Whether it lacked any. That is a commit of its own.
    """
    schema = table.schema()
    there = pa.schema(schema.to_arrow())
    lacking = []
    for field_ in Schema.from_arrow(COLUMNS).fields:
        kind = COLUMNS.field(field_.name).type
        if field_.name not in there.names:
            lacking.append(field_)
        elif (found := there.field(field_.name).type) != kind:
            if not _widens(found, kind):
                reason = f"its column {field_.name} is of type {found}, not {kind}"
                raise DatasetError(location.uri, f"not a table of chatpb: {reason}")
            if not _covers(found, kind):
                lacking.append(field_)
    if lacking:
        note = signed({NOTE: {"operation": "add columns"}}, {})
        table.alter.add_columns(lacking, commit_properties=CommitProperties(custom_metadata=note))
    return bool(lacking)


def _widens(old: pa.DataType, new: pa.DataType) -> bool:
    """Whether all fields that both types have are of the same types."""
    if pa.types.is_struct(old) and pa.types.is_struct(new):
        names = {each.name: each.type for each in new}
        return all(_widens(each.type, names.get(each.name, each.type)) for each in old)
    if pa.types.is_list(old) and pa.types.is_list(new):
        return _widens(old.value_type, new.value_type)
    return bool(old == new)


def _covers(old: pa.DataType, new: pa.DataType) -> bool:
    """Whether a type has all fields of another one."""
    if pa.types.is_struct(old) and pa.types.is_struct(new):
        names = {each.name: each.type for each in old}
        return all(each.name in names and _covers(names[each.name], each.type) for each in new)
    if pa.types.is_list(old) and pa.types.is_list(new):
        return _covers(old.value_type, new.value_type)
    return True
