"""The binary form that every implementation gives.

Deterministic serialization sorts the entries of a map, but the runtimes do not agree where one key
is the beginning of another: upb puts the longer one first, all others the shorter one. Such maps
are rare, and their entries are put in the order of their keys' bytes here.
"""

from __future__ import annotations

import functools
from itertools import pairwise
from typing import Any

from google.protobuf.message import Message

from chatpb._mapping.schema import MessageType, mapping_of
from chatpb._wire import varint

_LENGTH_DELIMITED = 2
_FIXED_SIZES = {1: 8, 5: 4}


def canonical(message: Message) -> bytes:
    """Serializes a message: fields by their numbers, the entries of maps by their keys' bytes."""
    data = message.SerializeToString(deterministic=True)
    mapped = mapping_of(message)
    return _sort_maps(data, mapped) if _needs_sorting(message, mapped) else data


@functools.cache
def _has_maps(mapped: MessageType) -> bool:
    return any(
        field.map_value is not None or (field.message is not None and _has_maps(field.message))
        for field in mapped.fields.values()
    )


def _needs_sorting(message: Any, mapped: MessageType) -> bool:
    """Whether a map of the message has a key that is the beginning of another."""
    for name, field in mapped.fields.items():
        if field.map_value is not None:
            keys = sorted(getattr(message, name))
            if any(after.startswith(before) for before, after in pairwise(keys)):
                return True
        elif field.message is not None and _has_maps(field.message):
            inner = getattr(message, name)
            parts = inner if field.repeated else [inner] if message.HasField(name) else []
            if any(_needs_sorting(part, field.message) for part in parts):
                return True
    return False


def _sort_maps(data: bytes, mapped: MessageType) -> bytes:
    """Sorts the entries of the maps in serialized fields, which are as long as before."""
    pieces: list[bytes] = []
    entries: list[tuple[bytes, bytes]] = []
    number = at = 0
    while at < len(data):
        start, last = at, number
        tag, at = varint(data, at)
        number, wire_type = tag >> 3, tag & 7
        payload = at
        if wire_type == _LENGTH_DELIMITED:
            size, payload = varint(data, at)
            at = payload + size
        elif wire_type in _FIXED_SIZES:
            at += _FIXED_SIZES[wire_type]
        else:
            _, at = varint(data, at)
        if entries and number != last:
            pieces.extend(entry for _, entry in sorted(entries))
            entries = []
        field = mapped.by_number.get(number)
        if field is not None and field.map_value is not None:
            entries.append((_key(data[payload:at]), data[start:at]))
        elif field is not None and field.message is not None and _has_maps(field.message):
            pieces.append(data[start:payload] + _sort_maps(data[payload:at], field.message))
        else:
            pieces.append(data[start:at])
    pieces.extend(entry for _, entry in sorted(entries))
    return b"".join(pieces)


def _key(entry: bytes) -> bytes:
    """The key of a serialized entry, which stands first and has a one-byte tag."""
    size, start = varint(entry, 1)
    return entry[start : start + size]
