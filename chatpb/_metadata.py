"""A message without its contents: the fields that the schema marks as metadata, and nothing else.

What is left is read by a second schema, made of the first one, which has only the marked fields. So
whatever a message has, also what no schema knows, is gone unless a .proto file says that it stays.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from chatpb import _wire
from chatpb.v1 import options_pb2

#: A marked string with more bytes than this is content too, whatever its field is meant for.
MOST_BYTES: Final = 256
#: So much is parsed at once, which takes some microseconds.
_SLAB: Final = 16 * 1024
_LENGTH: Final = 2  # the wire type of what has a length


def is_metadata(field: FieldDescriptor) -> bool:
    """Whether the schema marks a field as metadata."""
    return bool(field.GetOptions().Extensions[options_pb2.is_metadata])


def without_contents(data: bytes, message_type: type[Message]) -> bytes:
    """A message in binary form, reduced to its metadata.

    What is not the binary form of a message counts as content. Large messages are reduced in short
    steps, so that a thread can do it.

    Args:
        data: The message in binary form.
        message_type: Its type.
    """
    return b"".join(_reduced(data, _reduced_type(message_type.DESCRIPTOR)))


def _reduced(data: bytes, kind: type[Message]) -> Iterator[bytes]:
    """Yields the pieces of a reduced message."""
    if len(data) <= _SLAB:
        yield _parsed(data, kind)
        return
    fields: Any = kind.DESCRIPTOR.fields_by_number
    start = at = 0
    try:
        for span in _wire.spans(data):
            at = span.start
            size = span.end - span.start
            if size <= _SLAB and span.end - start <= _SLAB:
                continue
            if start < span.start:  # whole fields are a message too
                yield _parsed(data[start : span.start], kind)
            start = span.start
            if size > _SLAB:
                start = span.end
                field = fields.get(span.number)
                has_length = _wire.varint(data, span.start)[0] & 7 == _LENGTH
                if field is None or not has_length:
                    continue
                if field.message_type is not None:
                    part = _wire.part(data, span.value, span.end)
                    inner = b"".join(_reduced(part, GetMessageClass(field.message_type)))
                    yield _wire.embedded(span.number, (inner,))
                elif _is_packed(field) and field.enum_type is None:  # the times of many chunks
                    yield data[span.start : span.end]
        at = len(data)
    except _wire.WireError:
        pass
    if start < at:
        yield _parsed(data[start:at], kind)


def _parsed(data: bytes, kind: type[Message]) -> bytes:
    try:
        message = kind.FromString(data)
    except DecodeError:
        return b""
    message.DiscardUnknownFields()
    if message.ByteSize() > MOST_BYTES:
        _shorten(message)
    return message.SerializeToString(deterministic=True)


def _shorten(message: Message) -> None:
    """Takes out strings that are too long for what their fields are meant for."""
    for field, value in message.ListFields():
        if field.message_type is not None:
            if field.message_type.GetOptions().map_entry:
                continue  # the labels of a record: those of whoever records
            for inner in value if field.is_repeated else (value,):
                _shorten(inner)
        elif (
            field.type == FieldDescriptor.TYPE_STRING
            and not field.is_repeated
            and len(value.encode()) > MOST_BYTES
        ):
            message.ClearField(field.name)


@functools.cache
def _reduced_type(descriptor: Descriptor) -> type[Message]:
    """A message type with the marked fields of another one.

    As proto2 knows them: all have presence, and so do those of a oneof, which is not needed here.
    """
    file = FileDescriptorProto(name=f"reduced/{descriptor.full_name}", package="reduced")
    seen: set[str] = set()
    _add(descriptor, file, seen)
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return GetMessageClass(pool.FindMessageTypeByName(f"reduced.{_name(descriptor)}"))


def _add(descriptor: Descriptor, file: FileDescriptorProto, seen: set[str]) -> None:
    """Adds a message type, and those of its fields, to a file."""
    if descriptor.full_name in seen:
        return
    seen.add(descriptor.full_name)
    source = DescriptorProto()
    descriptor.CopyToProto(source)
    message = DescriptorProto(name=_name(descriptor))
    for field, proto in zip(descriptor.fields, source.field, strict=True):
        if is_metadata(field):
            _add_field(field, proto, message, file, seen)
    file.message_type.append(message)


def _add_field(
    field: FieldDescriptor,
    proto: FieldDescriptorProto,
    message: DescriptorProto,
    file: FileDescriptorProto,
    seen: set[str],
) -> None:
    for name in ("oneof_index", "proto3_optional", "options", "json_name"):
        proto.ClearField(name)
    inner: Any = field.message_type
    if inner is not None and inner.GetOptions().map_entry:
        inner.CopyToProto(entry := message.nested_type.add())
        proto.type_name = f".reduced.{message.name}.{entry.name}"
    elif inner is not None:
        _add(inner, file, seen)
        proto.type_name = f".reduced.{_name(inner)}"
    elif field.enum_type is not None:  # the numbers that the schema has, and no others
        if field.enum_type.full_name not in seen:
            seen.add(field.enum_type.full_name)
            field.enum_type.CopyToProto(enum := file.enum_type.add())
            enum.name = _name(field.enum_type)
        proto.type_name = f".reduced.{_name(field.enum_type)}"
    if _is_packed(field):
        proto.options.packed = True
    message.field.append(proto)


def _is_packed(field: FieldDescriptor) -> bool:
    """Whether the values of a field have one length in front of all."""
    texts = (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)
    return field.is_repeated and field.message_type is None and field.type not in texts


def _name(descriptor: Any) -> str:
    return str(descriptor.full_name).replace(".", "_")
