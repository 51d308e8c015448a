"""What the descriptors specify of the mapping between messages and JSON.

The .proto files name every field, every enum word and every rule of the mapping. This module reads
them, names none of them itself, and the converters are compiled from what it finds. docs/mapping.md
has the rules, and section 1 what a schema must not contain.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar, cast

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from chatpb._errors import ChatpbError, ConversionError
from chatpb._mapping.text import parse_plain
from chatpb.v1 import options_pb2, residue_pb2

_K = TypeVar("_K")
_T = TypeVar("_T")
RESIDUE: Final = residue_pb2.Residue.DESCRIPTOR.full_name
INTEGER_RANGES: Final[Mapping[int, tuple[int, int]]] = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_SINT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_SFIXED32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_FIXED32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_SINT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_SFIXED64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.TYPE_FIXED64: (0, 2**64 - 1),
}
FLOATS: Final = (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT)
_ZEROS: Final[Mapping[int, object]] = {
    **dict.fromkeys(INTEGER_RANGES, 0),
    **dict.fromkeys(FLOATS, 0.0),
    FieldDescriptor.TYPE_BOOL: False,
    FieldDescriptor.TYPE_STRING: "",
}


class SchemaError(ChatpbError, TypeError):
    """A message type that mirrors no JSON value, or a field that the mapping does not allow.

    The class is not public: a caller who passes such a type catches `TypeError` or `ChatpbError`.
    """


class _Nothing:
    """The type of `NOTHING`."""

    def __repr__(self) -> str:
        return "NOTHING"


NOTHING: Final = _Nothing()  # no member at all
ARRAY, BASE64, RAW = (
    options_pb2.JSON_ENCODING_BYTE_ARRAY,
    options_pb2.JSON_ENCODING_BASE64,
    options_pb2.JSON_ENCODING_RAW,
)


@dataclass(frozen=True, eq=False)
class Field:
    """One field and its JSON member.

    Attributes:
        name: The name of both.
        number: The number of the field.
        descriptor: The field's descriptor.
        unset: The JSON value that an unset field stands for, or NOTHING.
        zero: The JSON value that is not stored because the field has no presence, or NOTHING.
        unset_utf8: The field whose UTF-8 bytes an unset field stands for, or None.
        encoding: How the value is spelled, where the type does not specify it.
        repeated: Whether the value is an array.
        map_key: The type of the keys, if the field is a map; otherwise 0.
        map_value: The field of the values, if the field is a map.
        message: The message type of the values, unless they are scalars.
        enum: The enum of the values, if they have one.
        options: The field's options, for the rules of folding.
        alternative: The name of the field that has the JSON text of an array or an object that does
            not fit this one, or None.
    """

    name: str
    number: int
    descriptor: FieldDescriptor
    unset: Any
    zero: Any
    unset_utf8: str | None
    encoding: int
    repeated: bool
    map_key: int
    map_value: Field | None
    message: MessageType | None
    enum: EnumWords | None
    options: Any
    alternative: str | None

    @property
    def is_list(self) -> bool:
        """Whether the value is an array or the object of a map."""
        return self.repeated or self.map_value is not None

    @property
    def has_presence(self) -> bool:
        """Whether a field with its zero value differs from an unset one."""
        return bool(self.descriptor.has_presence)


@dataclass(frozen=True, eq=False)
class EnumWords:
    """The words of an enum in JSON: value names without the enum's prefix, in lower case."""

    numbers: Mapping[str, int]
    words: Mapping[int, str]


class MessageType:
    """A message type that mirrors a JSON object, or a union of JSON values.

    Attributes:
        descriptor: Its descriptor.
        fields: Its fields with a member of their own, by name, in the order of these members. The
            residue has none, nor have fields that share the member of another.
        residue: The field that holds the residue, or None in a union.
        is_union: Whether the message stands for the value of its one set member.
        options: The message's options, for the rules of folding.
    """

    def __init__(self, descriptor: Descriptor) -> None:
        self.descriptor = descriptor
        self.options = descriptor.GetOptions().Extensions
        self.is_union: bool = self.options[options_pb2.json_union]
        residues = [field for field in descriptor.fields if _is_residue(field)]
        if len(residues) != (not self.is_union) or any(field.is_repeated for field in residues):
            raise SchemaError(f"{descriptor.full_name} is neither a JSON object nor a JSON union")
        self.residue: FieldDescriptor | None = residues[0] if residues else None
        self.fields: dict[str, Field] = {}
        self.by_number: dict[int, Field] = {}

    def read_fields(self) -> None:
        """Reads the fields, whose types may be this one.

        Raises:
            SchemaError: The mapping does not allow one of them.
        """
        alternatives = self._alternatives()
        for descriptor in self.descriptor.fields:
            if not _is_residue(descriptor):
                self._check(descriptor)
                field = _field(descriptor, alternative=alternatives.get(descriptor.name))
                if descriptor.name not in alternatives.values():
                    self.fields[field.name] = self.by_number[field.number] = field

    def _alternatives(self) -> dict[str, str]:
        """The fields that share the member of another one, by the name of that one."""
        found: dict[str, str] = {}
        for field in self.descriptor.fields:
            options = field.GetOptions()
            if options.HasExtension(options_pb2.json_alternative_to):
                name = options.Extensions[options_pb2.json_alternative_to]
                self._check_alternative(
                    field, self.descriptor.fields_by_name.get(name), name in found
                )
                found[name] = field.name
        return found

    def _check_alternative(
        self, field: FieldDescriptor, other: FieldDescriptor | None, is_taken: bool
    ) -> None:
        options = field.GetOptions()
        if (
            self.is_union
            or is_taken
            or other is None
            or _is_residue(other)
            or other.GetOptions().HasExtension(options_pb2.json_alternative_to)
            or options.Extensions[options_pb2.json_encoding] != RAW
            or options.HasExtension(options_pb2.json_unset)
            or not field.has_presence
        ):
            raise SchemaError(
                f"{field.full_name}: json_alternative_to is for an optional string of JSON text in"
                " an object, and names a field that has no other"
            )

    def _check(self, field: FieldDescriptor) -> None:
        if self.is_union and not field.has_presence and not field.is_repeated:
            raise SchemaError(f"{field.full_name}: a member of a union needs presence")
        oneof = field.containing_oneof
        if not self.is_union and oneof is not None and len(oneof.fields) > 1:
            raise SchemaError(f"{field.full_name}: an object can have several members of a oneof")

    @property
    def message_class(self) -> type[Message]:
        """The generated class."""
        return GetMessageClass(self.descriptor)


def _is_residue(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.full_name == RESIDUE


class Compiled(Generic[_K, _T]):
    """A thread-safe cache that compiles each message type once and supports recursive types.

    Args:
        make: Returns what is compiled from a type, and a function that completes it, which may
            ask for what is compiled from other types.
    """

    def __init__(self, make: Callable[[_K], tuple[_T, Callable[[], None]]]) -> None:
        self._make = make
        self._complete: dict[_K, _T] = {}
        self._begun: dict[_K, _T] = {}
        self._lock = threading.RLock()

    def __call__(self, kind: _K) -> _T:
        """Returns what is compiled from a type."""
        made = self._complete.get(kind)
        if made is not None:
            return made
        with self._lock:
            if kind in self._complete or kind in self._begun:
                return self._complete.get(kind) or self._begun[kind]
            is_first = not self._begun
            try:
                made, complete = self._make(kind)
                self._begun[kind] = made
                complete()
                if is_first:
                    self._complete.update(self._begun)
            finally:
                if is_first:
                    self._begun.clear()
        return made


def mapping_of(message: Message | type[Message]) -> MessageType:
    """The mapping of a message's type, compiled at the first call.

    Raises:
        SchemaError: The message does not mirror a JSON value. It is a TypeError.
    """
    return _message_type(cast("Descriptor", message.DESCRIPTOR))


def _make_message_type(descriptor: Descriptor) -> tuple[MessageType, Callable[[], None]]:
    mapped = MessageType(descriptor)
    return mapped, mapped.read_fields


_message_type = Compiled(_make_message_type)


def _field(
    descriptor: FieldDescriptor, encoding: int | None = None, alternative: str | None = None
) -> Field:
    """Reads a field; the values of a map have the encoding of the map."""
    options = descriptor.GetOptions().Extensions
    if encoding is None:
        encoding = options[options_pb2.json_encoding]
    message, map_key, map_value = descriptor.message_type, 0, None
    if message is not None and message.GetOptions().map_entry:
        map_key = message.fields_by_number[1].type
        map_value = _field(message.fields_by_number[2], encoding)
        message = None
    else:
        _check_encoding(descriptor, encoding)
    has_zero = not descriptor.has_presence and not descriptor.is_repeated
    zero = _zero(descriptor, encoding) if has_zero else NOTHING
    field = Field(
        name=descriptor.name,
        number=descriptor.number,
        descriptor=descriptor,
        unset=_unset(descriptor, zero),
        zero=zero,
        unset_utf8=options[options_pb2.json_unset_utf8] or None,
        encoding=encoding,
        repeated=descriptor.is_repeated and map_value is None,
        map_key=map_key,
        map_value=map_value,
        message=_message_type(message) if message is not None else None,
        enum=enum_words(descriptor.enum_type) if descriptor.enum_type is not None else None,
        options=options,
        alternative=alternative,
    )
    if field.unset_utf8:
        _check_utf8(field, field.unset_utf8)
    return field


def _check_encoding(descriptor: FieldDescriptor, encoding: int) -> None:
    kind = descriptor.type
    allowed: tuple[int, ...] = (0,)
    if kind == FieldDescriptor.TYPE_BYTES:
        allowed = (ARRAY, BASE64)
    elif kind == FieldDescriptor.TYPE_STRING:
        allowed = (0, RAW)
    if encoding not in allowed or kind == FieldDescriptor.TYPE_GROUP:
        raise SchemaError(f"{descriptor.full_name}: the type has no such spelling in JSON")


def _check_utf8(field: Field, name: str) -> None:
    descriptor = field.descriptor
    siblings = cast("Descriptor", descriptor.containing_type).fields_by_name
    text = siblings.get(name)
    if (
        field.encoding != ARRAY
        or not field.has_presence
        or descriptor.GetOptions().HasExtension(options_pb2.json_unset)
        or text is None
        or text.type != FieldDescriptor.TYPE_STRING
        or text.is_repeated
        or text.GetOptions().HasExtension(options_pb2.json_unset)
        or text.GetOptions().HasExtension(options_pb2.json_encoding)
    ):
        raise SchemaError(
            f"{descriptor.full_name}: json_unset_utf8 is for optional bytes as an array, and names"
            " a string without options in the same message"
        )


def _zero(descriptor: FieldDescriptor, encoding: int) -> Any:
    """The JSON value of zero; NOTHING for an enum and for JSON text, whose zero is not a value."""
    if descriptor.type == FieldDescriptor.TYPE_BYTES:
        return [] if encoding == ARRAY else ""
    return NOTHING if encoding == RAW else _ZEROS.get(descriptor.type, NOTHING)


def _unset(descriptor: FieldDescriptor, zero: Any) -> Any:
    options = descriptor.GetOptions()
    if not options.HasExtension(options_pb2.json_unset):
        return zero
    text = options.Extensions[options_pb2.json_unset]
    try:
        unset = parse_plain(text)
    except ConversionError:
        unset = NOTHING
    if unset is not None and type(unset) not in (bool, str) and unset not in ([], {}):
        raise SchemaError(f"{descriptor.full_name}: json_unset cannot be {text}")
    return unset


def key_name(key: str | int) -> str:
    """The name of the member that an entry of a map becomes."""
    if isinstance(key, str):
        return key
    return str(key).lower() if isinstance(key, bool) else str(key)


@functools.cache
def enum_words(descriptor: EnumDescriptor) -> EnumWords:
    """The words of an enum, compiled once.

    Raises:
        SchemaError: Two values have the same word, or two words the same value.
    """
    zero = descriptor.values_by_number[0].name
    prefix = zero.removesuffix("UNSPECIFIED")
    values = [value for value in descriptor.values if value.number != 0]
    numbers = {value.name.removeprefix(prefix).lower(): value.number for value in values}
    words = {number: word for word, number in numbers.items()}
    if not len(values) == len(numbers) == len(words):
        raise SchemaError(f"{descriptor.full_name}: two values have one word or one number")
    return EnumWords(numbers, words)
