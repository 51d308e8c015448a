"""Messages as Arrow structs and back, by their descriptors.

The structs are those of Spark's own ``from_protobuf``: the names of the schema, enums as the names
of their values. Unsigned 32-bit integers are longs, so that none is negative. A scalar field
without presence that is not set is its default, in Spark if ``emit.default.values`` is set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, chain, pairwise
from typing import Any, Final, cast

import pyarrow as pa
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message

from chatpb._errors import ConversionError

_SCALARS: Final[dict[int, pa.DataType]] = {
    FieldDescriptor.CPPTYPE_BOOL: pa.bool_(),
    FieldDescriptor.CPPTYPE_DOUBLE: pa.float64(),
    FieldDescriptor.CPPTYPE_ENUM: pa.string(),
    FieldDescriptor.CPPTYPE_FLOAT: pa.float32(),
    FieldDescriptor.CPPTYPE_INT32: pa.int32(),
    FieldDescriptor.CPPTYPE_INT64: pa.int64(),
    FieldDescriptor.CPPTYPE_STRING: pa.string(),
    FieldDescriptor.CPPTYPE_UINT32: pa.int64(),
    FieldDescriptor.CPPTYPE_UINT64: pa.decimal128(20, 0),
}


def struct_type(message_type: type[Message]) -> pa.DataType:
    """The type of the structs of a message type, which does not contain itself."""
    return _struct(_descriptor(message_type))


def decode(values: pa.Array, message_type: type[Message], *, skip_errors: bool = False) -> pa.Array:
    """Messages in binary form as structs. Null stays null.

    Args:
        values: The messages.
        message_type: Their class.
        skip_errors: Whether what is not the binary form of a message becomes null.

    Raises:
        ConversionError: A value is not the binary form of a message.
    """
    messages = [_parse(value, message_type, skip_errors) for value in values.to_pylist()]
    return _structs(messages, _descriptor(message_type))


def encode(structs: pa.Array, message_type: type[Message]) -> pa.Array:
    """Structs as messages in binary form. Null stays null; so does a field that is null or missing.

    Raises:
        ConversionError: A field of the structs is not one of the message type, or does not fit it.
    """
    messages = [message_type() for _ in range(len(structs))]
    _fill(messages, structs, _descriptor(message_type))
    rows = zip(messages, structs.is_valid().to_pylist(), strict=True)
    binary = [one.SerializeToString(deterministic=True) if valid else None for one, valid in rows]
    return pa.array(binary, pa.binary())


def _descriptor(message_type: type[Message]) -> Descriptor:
    return cast("Descriptor", message_type.DESCRIPTOR)


def _parse(data: bytes | None, message_type: type[Message], skip_errors: bool) -> Message | None:
    try:
        return None if data is None else message_type.FromString(data)
    except DecodeError:
        if skip_errors:
            return None
        name = message_type.DESCRIPTOR.full_name
        raise ConversionError(f"not the binary form of a {name}") from None


def _map_fields(field: FieldDescriptor) -> Sequence[FieldDescriptor]:
    """The key and the value of a map; nothing of other fields."""
    entry = field.message_type
    return entry.fields if entry is not None and entry.GetOptions().map_entry else ()


def _struct(message: Descriptor) -> pa.DataType:
    return pa.struct([(field.name, _type(field)) for field in message.fields])


def _type(field: FieldDescriptor) -> pa.DataType:
    if pair := _map_fields(field):
        return pa.map_(*map(_type, pair))
    one = _one_type(field)
    return pa.list_(one) if field.is_repeated else one


def _one_type(field: FieldDescriptor) -> pa.DataType:
    """The type of a value of a field, or of an element of a repeated one."""
    if field.message_type is not None:
        return _struct(field.message_type)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return pa.binary()
    return _SCALARS[field.cpp_type]


# Messages to structs. Each step takes a field of many messages, so that arrays are made at once.


def _structs(messages: Sequence[Message | None], message: Descriptor) -> pa.Array:
    kinds = _struct(message)
    if not any(one is not None for one in messages):  # most messages of most types
        return pa.nulls(len(messages), kinds)
    if not message.fields:
        return pa.array([None if one is None else {} for one in messages], kinds)
    arrays = [_field(messages, field) for field in message.fields]
    mask = pa.array([one is None for one in messages], pa.bool_())
    return pa.StructArray.from_arrays(arrays, fields=list(kinds), mask=mask)


def _field(messages: Sequence[Message | None], field: FieldDescriptor) -> pa.Array:
    name = field.name
    if not field.is_repeated:
        if field.has_presence:
            values = [
                getattr(one, name) if one is not None and one.HasField(name) else None
                for one in messages
            ]
        else:
            values = [None if one is None else getattr(one, name) for one in messages]
        return _values(values, field)
    lists = [() if one is None else getattr(one, name) for one in messages]
    offsets = pa.array(accumulate(map(len, lists), initial=0), pa.int32())
    if pair := _map_fields(field):
        key, value = pair
        keys = _values(list(chain.from_iterable(lists)), key)
        items = _values(list(chain.from_iterable(some.values() for some in lists if some)), value)
        return pa.MapArray.from_arrays(offsets, keys, items)
    return pa.ListArray.from_arrays(offsets, _values(list(chain.from_iterable(lists)), field))


def _values(values: list[Any], field: FieldDescriptor) -> pa.Array:
    if field.message_type is not None:
        return _structs(values, field.message_type)
    if field.enum_type is not None:
        names = {number: value.name for number, value in field.enum_type.values_by_number.items()}
        values = [value if value is None else names.get(value, str(value)) for value in values]
    return pa.array(values, _one_type(field))


# Structs to messages.


def _fill(messages: Sequence[Message], structs: pa.StructArray, message: Descriptor) -> None:
    """Sets the fields of messages to what structs have, one struct for each message."""
    fields = message.fields_by_name
    for column, array in zip(structs.type, structs.flatten(), strict=True):
        field = fields.get(column.name)
        if field is None:
            raise ConversionError(f"{message.full_name} has no field {column.name}")
        try:
            _set(messages, array, field)
        except ConversionError:
            raise
        except (TypeError, ValueError) as error:
            raise ConversionError(f"{field.full_name}: {error}") from None


def _set(messages: Sequence[Message], array: pa.Array, field: FieldDescriptor) -> None:
    present = array.is_valid()
    messages = [one for one, valid in zip(messages, present.to_pylist(), strict=True) if valid]
    array = array.filter(present)
    if pair := _map_fields(field):
        _set_map([getattr(one, field.name) for one in messages], array, *pair)
    elif field.message_type is None:
        python = _python(field)
        for message, given in zip(messages, array.to_pylist(), strict=True):
            if field.is_repeated:
                getattr(message, field.name).extend(map(python, given))
            else:
                setattr(message, field.name, python(given))
    elif field.is_repeated:
        counts = array.value_lengths().to_pylist()
        added = [
            getattr(message, field.name).add()
            for message, count in zip(messages, counts, strict=True)
            for _ in range(count)
        ]
        _fill(added, array.flatten(), field.message_type)
    else:
        inner = [getattr(message, field.name) for message in messages]
        for one in inner:
            one.SetInParent()  # also where all of its fields are unset
        _fill(inner, array, field.message_type)


def _set_map(
    maps: Sequence[Any],
    array: pa.MapArray,
    key_field: FieldDescriptor,
    value_field: FieldDescriptor,
) -> None:
    offsets = array.offsets.to_pylist()
    start, count = offsets[0], offsets[-1] - offsets[0]
    owners = [
        one
        for one, (start, end) in zip(maps, pairwise(offsets), strict=True)
        for _ in range(start, end)
    ]
    keys = map(_python(key_field), array.keys.slice(start, count).to_pylist())
    items = array.items.slice(start, count)
    if value_field.message_type is not None:
        inner = [owner[key] for owner, key in zip(owners, keys, strict=True)]  # makes it
        _fill(inner, items, value_field.message_type)
        return
    values = map(_python(value_field), items.to_pylist())
    for owner, key, value in zip(owners, keys, values, strict=True):
        owner[key] = value


def _python(field: FieldDescriptor) -> Callable[[Any], Any]:
    """What makes of a value of Arrow one of a field."""
    if (enum := field.enum_type) is not None:
        return lambda name: _number(enum, name)
    if field.cpp_type == FieldDescriptor.CPPTYPE_UINT64:
        return int
    return lambda value: value


def _number(enum: EnumDescriptor, name: str) -> int:
    value = enum.values_by_name.get(name)
    return int(name) if value is None else value.number
