"""The binary form that every implementation gives.

Deterministic serialization sorts the entries of a map, but the runtimes do not agree on the order
of keys that are numbers, nor where one string is the beginning of another: upb puts the longer one
first, all others the shorter one. The entries of such maps are sorted here.
"""

from __future__ import annotations

import functools
from itertools import pairwise
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from chatpb._wire import spans, varint


def canonical(message: Message) -> bytes:
    """Serializes a message: fields by their numbers, the entries of maps by their keys."""
    data = message.SerializeToString(deterministic=True)
    descriptor: Any = message.DESCRIPTOR
    return _sort_maps(data, descriptor) if _needs_sorting(message, descriptor) else data


class _Place(NamedTuple):
    """A field that is a map, or whose messages can hold maps.

    Attributes:
        field: The field.
        map_key: The type of the keys, if it is a map.
        inner: The type of its messages, or of those in the entries, if they can hold maps.
    """

    field: FieldDescriptor
    map_key: int | None
    inner: Descriptor | None


@functools.cache
def _places(descriptor: Descriptor) -> dict[int, _Place]:
    """The fields of a message type in which maps can be, by their numbers."""
    found = {}
    for field in descriptor.fields:
        held = field.message_type
        if held is None:
            continue
        map_key = None
        if held.GetOptions().map_entry:
            map_key = held.fields_by_name["key"].type
            held = held.fields_by_name["value"].message_type
        inner = held if held is not None and _has_maps(held) else None
        if map_key is not None or inner is not None:
            found[field.number] = _Place(field, map_key, inner)
    return found


@functools.cache
def _has_maps(descriptor: Descriptor) -> bool:
    """Whether messages of the type can hold a map, at any depth."""
    seen, found = set(), [descriptor]
    while found:
        each = found.pop()
        if each in seen:
            continue
        seen.add(each)
        if each.GetOptions().map_entry:
            return True
        found += [field.message_type for field in each.fields if field.message_type is not None]
    return False


def _needs_sorting(message: Any, descriptor: Descriptor) -> bool:
    """Whether a map of the message may be in another order."""
    for field, map_key, inner in _places(descriptor).values():
        value = getattr(message, field.name)
        if map_key is not None:
            keys = sorted(value)
            if map_key != FieldDescriptor.TYPE_STRING:
                if len(keys) > 1:
                    return True
            elif any(after.startswith(before) for before, after in pairwise(keys)):
                return True
            parts = value.values()
        elif field.is_repeated:
            parts = value
        else:
            parts = [value] if message.HasField(field.name) else []
        if inner is not None and any(_needs_sorting(part, inner) for part in parts):
            return True
    return False


def _sort_maps(data: bytes, descriptor: Descriptor) -> bytes:
    """Sorts the entries of the maps in serialized fields, which are as long as before."""
    pieces: list[bytes] = []
    entries: list[tuple[Any, bytes]] = []
    last = 0
    places = _places(descriptor)
    for number, start, value, end in spans(data):
        if entries and number != last:
            pieces.extend(entry for _, entry in sorted(entries))
            entries = []
        last = number
        place = places.get(number)
        if place is None:
            pieces.append(data[start:end])
        elif place.map_key is not None:
            key, entry = _sort_entry(data[value:end], place.inner)
            entries.append((_order(key, place.map_key), data[start:value] + entry))
        else:
            assert place.inner is not None
            pieces.append(data[start:value] + _sort_maps(data[value:end], place.inner))
    pieces.extend(entry for _, entry in sorted(entries))
    return b"".join(pieces)


def _sort_entry(entry: bytes, inner: Descriptor | None) -> tuple[bytes, bytes]:
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
