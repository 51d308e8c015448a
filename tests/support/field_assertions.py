"""The value of each field of a message, in a form that every language can read.

A file ``NAME.fields.json`` has one assertion on each line, `[path, kind, value]`:

- the path is a list of names of fields, of numbers of elements, and of keys of maps;
- of a scalar, kind is ``string``, ``bytes`` (value in base64), ``int`` (value as text), ``double``
  (value as the 16 hexadecimal digits of its bits), ``bool`` or ``enum`` (value by its number);
- ``size`` is how many elements a list or a map has;
- ``set`` names the fields of a message that are present, of those that have presence; ``unset``
  those that are not. All its other fields are asserted by themselves, even those that are zero.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

Assertion = tuple[list[str | int], str, Any]

_INTEGERS = (FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_UINT32)


def assertions(message: Message, path: list[str | int] | None = None) -> Iterator[Assertion]:
    """Assertions that describe a message completely, except for its unknown fields."""
    path = path or []
    fields: list[Any] = list(message.DESCRIPTOR.fields)
    fields.sort(key=lambda field: field.number)
    presence = [field for field in fields if field.has_presence]
    for kind, wanted in (("set", True), ("unset", False)):
        names = [field.name for field in presence if message.HasField(field.name) is wanted]
        if names:
            yield path, kind, names
    for field in fields:
        value, place = getattr(message, field.name), [*path, field.name]
        entry = field.message_type
        if entry is not None and entry.GetOptions().map_entry:
            yield place, "size", len(value)
            for key in sorted(value):
                yield from _value([*place, key], entry.fields_by_number[2], value[key])
        elif field.is_repeated:
            yield place, "size", len(value)
            for index, each in enumerate(value):
                yield from _value([*place, index], field, each)
        elif not field.has_presence or message.HasField(field.name):
            yield from _value(place, field, value)


def _value(path: list[str | int], field: FieldDescriptor, value: Any) -> Iterator[Assertion]:
    if field.message_type is not None:
        yield from assertions(value, path)
    elif field.enum_type is not None:
        yield path, "enum", value
    elif field.type == FieldDescriptor.TYPE_DOUBLE:
        yield path, "double", struct.pack(">d", value).hex()
    elif field.type == FieldDescriptor.TYPE_BYTES:
        yield path, "bytes", base64.b64encode(value).decode()
    elif field.type == FieldDescriptor.TYPE_BOOL:
        yield path, "bool", value
    elif field.type in _INTEGERS:
        yield path, "int", str(value)
    else:
        yield path, "string", value


def to_lines(message: Message) -> bytes:
    """The file of the assertions of a message."""
    rows = [json.dumps(each, ensure_ascii=False) for each in assertions(message)]
    return ("[\n" + ",\n".join(rows) + "\n]\n").encode()
