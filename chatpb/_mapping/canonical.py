"""The binary form that every implementation gives.

Deterministic serialization sorts the entries of a map, but the runtimes do not agree on the order
of keys that are numbers, nor where one string is the beginning of another: upb puts the longer one
first, all others the shorter one. The entries of such maps are sorted here.
"""

from __future__ import annotations

import functools
from itertools import pairwise
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from chatpb._mapping.schema import Field, MessageType, mapping_of
from chatpb._wire import spans, varint


def canonical(message: Message) -> bytes:
    """Serializes a message: fields by their numbers, the entries of maps by their keys."""
    data = message.SerializeToString(deterministic=True)
    mapped = mapping_of(message)
    return _sort_maps(data, mapped) if _needs_sorting(message, mapped) else data


@functools.cache
def _has_maps(mapped: MessageType) -> bool:
    """Whether messages of the type can hold a map, at any depth."""
    seen, found = set(), [mapped]
    while found:
        each = found.pop()
        if each in seen:
            continue
        seen.add(each)
        for field in each.fields.values():
            if field.map_value is not None:
                return True
            if field.message is not None:
                found.append(field.message)
    return False


def _inner(field: Field) -> MessageType | None:
    """The type of the messages in a field, or in the entries of a map, if they can hold maps."""
    message = (field.map_value or field).message
    return message if message is not None and _has_maps(message) else None


def _needs_sorting(message: Any, mapped: MessageType) -> bool:
    """Whether a map of the message may be in another order."""
    for name, field in mapped.fields.items():
        inner = _inner(field)
        if field.map_value is None and inner is None:
            continue
        value = getattr(message, name)
        if field.map_value is not None:
            keys = sorted(value)
            if field.map_key != FieldDescriptor.TYPE_STRING:
                if len(keys) > 1:
                    return True
            elif any(after.startswith(before) for before, after in pairwise(keys)):
                return True
            parts = value.values()
        elif field.repeated:
            parts = value
        else:
            parts = [value] if message.HasField(name) else []
        if inner is not None and any(_needs_sorting(part, inner) for part in parts):
            return True
    return False


def _sort_maps(data: bytes, mapped: MessageType) -> bytes:
    """Sorts the entries of the maps in serialized fields, which are as long as before."""
    pieces: list[bytes] = []
    entries: list[tuple[Any, bytes]] = []
    last = 0
    for number, start, value, end in spans(data):
        if entries and number != last:
            pieces.extend(entry for _, entry in sorted(entries))
            entries = []
        last = number
        field = mapped.by_number.get(number)
        inner = _inner(field) if field is not None else None
        if field is not None and field.map_value is not None:
            key, entry = _sort_entry(data[value:end], inner)
            entries.append((_order(key, field.map_key), data[start:value] + entry))
        elif inner is not None:
            pieces.append(data[start:value] + _sort_maps(data[value:end], inner))
        else:
            pieces.append(data[start:end])
    pieces.extend(entry for _, entry in sorted(entries))
    return b"".join(pieces)


def _sort_entry(entry: bytes, inner: MessageType | None) -> tuple[bytes, bytes]:
    """The bytes of an entry's key, and the entry, with the maps in its value sorted."""
    key, value = spans(entry)  # a serializer writes both
    name = entry[key.value : key.end]
    if inner is None:
        return name, entry
    return name, entry[: value.value] + _sort_maps(entry[value.value : value.end], inner)


def _order(key: bytes, kind: int) -> bytes | int:
    """What the entries of a map are sorted by: the bytes of a string, the value of a number."""
    if kind == FieldDescriptor.TYPE_STRING:
        return key
    if kind in (FieldDescriptor.TYPE_FIXED32, FieldDescriptor.TYPE_FIXED64):
        return int.from_bytes(key, "little")
    if kind in (FieldDescriptor.TYPE_SFIXED32, FieldDescriptor.TYPE_SFIXED64):
        return int.from_bytes(key, "little", signed=True)
    value, _ = varint(key, 0)
    if kind in (FieldDescriptor.TYPE_SINT32, FieldDescriptor.TYPE_SINT64):
        return value >> 1 ^ -(value & 1)
    is_signed = kind in (FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_INT64)
    return value - 2**64 if is_signed and value >= 2**63 else value
