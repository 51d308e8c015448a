"""Schemas for tests: message types with fields of any kind, in a pool of their own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from google.protobuf.descriptor_pool import Default, DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from chatpb.v1 import options_pb2

PACKAGE: Final = "chatpb.test"
_IMPORTS: Final = (
    "google/protobuf/descriptor.proto",
    "chatpb/v1/options.proto",
    "chatpb/v1/residue.proto",
)
_TYPES: Final = {
    name.removeprefix("TYPE_").lower(): number for name, number in FieldDescriptorProto.Type.items()
}
_MESSAGES: Final = {"object": "Part", "union": "Choice"}
_ENCODINGS: Final = {
    "byte_array": ("bytes", options_pb2.JSON_ENCODING_BYTE_ARRAY),
    "base64": ("bytes", options_pb2.JSON_ENCODING_BASE64),
    "raw": ("string", options_pb2.JSON_ENCODING_RAW),
}

INTEGERS: Final = [
    *["int32", "int64", "uint32", "uint64", "sint32", "sint64"],
    *["fixed32", "fixed64", "sfixed32", "sfixed64"],
]
NUMBERS: Final = [*INTEGERS, "bool", "float", "double", "enum"]
SCALARS: Final = [*NUMBERS, "string", *_ENCODINGS]
KINDS: Final = [*SCALARS, *_MESSAGES]
KEYS: Final = ["string", "bool", *INTEGERS]
UNSETS: Final = [None, "null", "true", "false", '""', '"one"', '"\\u00e9\\""', "[]", "{}"]


@dataclass(frozen=True)
class Spec:
    """One field.

    Attributes:
        kind: One of KINDS, or the name of a type with an encoding that does not suit it.
        label: implicit, optional, repeated, unpacked, map, oneof, or alone: in a oneof of its own.
        unset: The option `json_unset`.
        key: The type of the keys of a map.
        options: Other options.
    """

    kind: str
    label: str = "optional"
    unset: str | None = None
    key: str = "string"
    options: dict[str, Any] = field(default_factory=dict)

    def add(self, message: DescriptorProto, name: str, number: int) -> None:
        """Adds the field to a message."""
        if self.label == "map":
            entry = message.nested_type.add(name=f"{name.title()}Entry")
            entry.options.map_entry = True
            Spec(self.key, "implicit").add(entry, "key", 1)
            _set_type(entry.field.add(name="value", number=2, label=1), self.kind)
            added = message.field.add(name=name, number=number, label=3, type=_TYPES["message"])
            added.type_name = f".{PACKAGE}.{message.name}.{entry.name}"
        else:
            many = self.label in ("repeated", "unpacked")
            added = message.field.add(name=name, number=number, label=3 if many else 1)
            _set_type(added, self.kind)
        if self.label == "optional" and self.kind not in _MESSAGES:
            added.proto3_optional = True
        if self.label == "unpacked":
            added.options.packed = False
        extensions = added.options.Extensions
        if self.kind in _ENCODINGS:
            extensions[options_pb2.json_encoding] = _ENCODINGS[self.kind][1]
        if self.unset is not None:
            extensions[options_pb2.json_unset] = self.unset
        for option, value in self.options.items():
            extensions[getattr(options_pb2, option)] = value
        if self.label == "oneof":
            if not message.oneof_decl:
                message.oneof_decl.add(name="one")
            added.oneof_index = 0
        if self.label == "alone":
            added.oneof_index = len(message.oneof_decl)
            message.oneof_decl.add(name=f"one_{name}")


def _set_type(added: FieldDescriptorProto, kind: str) -> None:
    name = _MESSAGES.get(kind) or ("Word" if kind == "enum" else None)
    if name is not None:
        added.type_name = f".{PACKAGE}.{name}"
    added.type = _TYPES["message" if kind in _MESSAGES else _ENCODINGS.get(kind, (kind, 0))[0]]


def _message(
    file: FileDescriptorProto, name: str, specs: Iterable[Spec], *, is_union: bool = False
) -> DescriptorProto:
    """Adds a message; the numbers of its fields are not in their order."""
    message = file.message_type.add(name=name)
    for index, spec in enumerate(specs):
        spec.add(message, f"f{index}", 100 - index if index % 2 else 101 + index)
    if is_union:
        message.options.Extensions[options_pb2.json_union] = True
    else:
        residue = message.field.add(name="residue", number=15, label=1, type=_TYPES["message"])
        residue.type_name = ".chatpb.v1.Residue"
    for each in message.field:  # synthetic oneofs come after the others
        if each.proto3_optional:
            each.oneof_index = len(message.oneof_decl)
            message.oneof_decl.add(name=f"_{each.name}")
    return message


@dataclass(frozen=True)
class Schema:
    """A schema with the type `Root`, and `Holder`, which has fields of it.

    The fields of `Root` may hold the types `Part`, `Choice` and `Word`.
    """

    specs: tuple[Spec, ...]
    is_union: bool = False
    words: tuple[str, ...] = ("WORD_UNSPECIFIED", "WORD_ONE", "WORD_TWO_THREE", "OTHER")
    numbers: tuple[int, ...] = (0, 1, 2, -3)

    @cached_property
    def file(self) -> FileDescriptorProto:
        """The schema."""
        file = FileDescriptorProto(
            name="test.proto", package=PACKAGE, syntax="proto3", dependency=_IMPORTS[1:]
        )
        words = file.enum_type.add(name="Word")
        for word, number in zip(self.words, self.numbers, strict=True):
            words.value.add(name=word, number=number)
        if len(set(self.numbers)) < len(self.numbers):
            words.options.allow_alias = True
        part = [Spec("string", "implicit", '"one"'), Spec("int32", "map"), Spec("object")]
        _message(file, "Part", part)
        choice = [Spec("string", "oneof"), Spec("float", "oneof"), Spec("object", "repeated")]
        _message(file, "Choice", choice, is_union=True)
        root = _message(file, "Root", self.specs, is_union=self.is_union)
        holder = _message(file, "Holder", [Spec("object"), Spec("object", "repeated")])
        for each in holder.field[:2]:
            each.type_name = f".{PACKAGE}.{root.name}"
        return file

    @cached_property
    def pool(self) -> DescriptorPool:
        """A pool that has it."""
        pool = DescriptorPool()
        for name in _IMPORTS:
            pool.AddSerializedFile(Default().FindFileByName(name).serialized_pb)
        pool.Add(self.file)
        return pool

    def message(self, name: str = "Root") -> type[Message]:
        """The class of one of its messages."""
        return GetMessageClass(self.pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))

    def descriptor_set(self) -> bytes:
        """What the native implementation compiles."""
        files = [Default().FindFileByName(name).serialized_pb for name in _IMPORTS]
        parsed = [FileDescriptorProto.FromString(each) for each in files]
        return FileDescriptorSet(file=[*parsed, self.file]).SerializeToString()
