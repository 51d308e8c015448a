"""msgspec's form of the schema: a Struct for each message of the mirror."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto

from convert.mirror import mirror_file

_SCALARS: dict[int, type] = {
    FieldDescriptorProto.TYPE_STRING: str,
    FieldDescriptorProto.TYPE_INT32: int,
    FieldDescriptorProto.TYPE_DOUBLE: float,
    FieldDescriptorProto.TYPE_BOOL: bool,
}


@cache
def struct_of(message_name: str) -> Any:
    """The Struct of a message; a member may be absent, null, or of its type."""
    msgspec = importlib.import_module("msgspec")
    message = next(m for m in mirror_file().message_type if m.name == message_name)
    fields = [
        (field.name, _type(field, message) | None | msgspec.UnsetType, msgspec.UNSET)
        for field in message.field
    ]
    return msgspec.defstruct(message_name, fields)


def _type(field: FieldDescriptorProto, message: DescriptorProto) -> Any:
    name = field.type_name.rpartition(".")[2]
    entry = next((nested for nested in message.nested_type if nested.name == name), None)
    if entry:
        return dict[str, _type(entry.field[1], entry)]  # type: ignore[misc]
    kind: Any = Any if name == "Value" else struct_of(name) if name else _SCALARS[field.type]
    return list[kind] if field.label == FieldDescriptorProto.LABEL_REPEATED else kind
