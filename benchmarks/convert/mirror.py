"""A plain mirror of the schema, which protobuf's own JSON mapping can read.

It is made from the descriptors at run time, so that it has the same fields: an enum becomes a
string, `bytes` an array of integers, a union or free JSON a `Value`, and a 64-bit integer, which
ProtoJSON would quote, one of 32 bits. The residue is left out.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf import struct_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

import chatpb.v1
from chatpb.v1 import options_pb2

PACKAGE = "mirror"
MESSAGES = ("ChatCompletion", "ChatCompletionChunk", "ChatCompletionRequest", "ErrorResponse")
_VALUE = "." + struct_pb2.Value.DESCRIPTOR.full_name
_WIDE = {FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_UINT64}


@cache
def mirror_file() -> FileDescriptorProto:
    """The mirror of every message that an input may hold."""
    file = FileDescriptorProto(name="mirror.proto", package=PACKAGE, syntax="proto3")
    file.dependency.append(struct_pb2.DESCRIPTOR.name)
    seen: set[str] = set()
    for name in MESSAGES:
        message_type: Any = getattr(chatpb.v1, name)
        _add_message(message_type.DESCRIPTOR, file, seen)
    return file


def is_union(descriptor: Descriptor) -> bool:
    """Whether the message stands for one of several JSON values."""
    return descriptor.GetOptions().Extensions[options_pb2.json_union]


def _add_message(descriptor: Descriptor, file: FileDescriptorProto, seen: set[str]) -> None:
    if descriptor.full_name not in seen:
        seen.add(descriptor.full_name)
        _fill(file.message_type.add(name=descriptor.name), descriptor, file, seen)


def _fill(
    mirror: DescriptorProto, descriptor: Descriptor, file: FileDescriptorProto, seen: set[str]
) -> None:
    whole = DescriptorProto()
    descriptor.CopyToProto(whole)
    for field, proto in zip(descriptor.fields, whole.field, strict=True):
        message = field.message_type
        if message and message.name == "Residue":
            continue
        _add_field(field, proto, mirror)
        if message and message.GetOptions().map_entry:
            entry = mirror.nested_type.add(name=message.name)
            entry.options.map_entry = True
            _fill(entry, message, file, seen)
        elif message and not is_union(message):
            _add_message(message, file, seen)


def _add_field(
    field: FieldDescriptor, proto: FieldDescriptorProto, mirror: DescriptorProto
) -> None:
    encoding = field.GetOptions().Extensions[options_pb2.json_encoding]
    proto.ClearField("options")
    proto.ClearField("oneof_index")
    proto.type_name = proto.type_name.replace(".chatpb.v1.", f".{PACKAGE}.")
    if encoding == options_pb2.JSON_ENCODING_RAW or (
        field.message_type and is_union(field.message_type)
    ):
        proto.type, proto.type_name = FieldDescriptorProto.TYPE_MESSAGE, _VALUE
    elif encoding == options_pb2.JSON_ENCODING_BYTE_ARRAY:
        proto.type = FieldDescriptorProto.TYPE_INT32
        proto.label = FieldDescriptorProto.LABEL_REPEATED
    elif encoding == options_pb2.JSON_ENCODING_BASE64 or field.enum_type:
        proto.type, proto.type_name = FieldDescriptorProto.TYPE_STRING, ""
    elif field.type in _WIDE:
        proto.type = FieldDescriptorProto.TYPE_INT32
    if proto.type == FieldDescriptorProto.TYPE_MESSAGE or proto.label == proto.LABEL_REPEATED:
        proto.proto3_optional = False
    if proto.proto3_optional:  # presence is a oneof of one field
        proto.oneof_index = len(mirror.oneof_decl)
        mirror.oneof_decl.add(name=f"_{field.name}")
    if not proto.type_name:
        proto.ClearField("type_name")
    mirror.field.append(proto)
