"""What the descriptors say of the mapping between messages and JSON.

The .proto files name every field, every enum word and every rule of the mapping; this module reads
them, and the converters are compiled from what it finds. It names none of them itself.
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

from chatpb._mapping.text import parse_plain
from chatpb.v1 import options_pb2, residue_pb2

_K = TypeVar("_K")
_T = TypeVar("_T")
RESIDUE: Final = residue_pb2.Residue.DESCRIPTOR.full_name
INTEGER_RANGES: Final[Mapping[int, tuple[int, int]]] = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
}
_ZEROS: Final[Mapping[int, object]] = {
    FieldDescriptor.TYPE_INT32: 0,
    FieldDescriptor.TYPE_INT64: 0,
    FieldDescriptor.TYPE_DOUBLE: 0.0,
    FieldDescriptor.TYPE_BOOL: False,
    FieldDescriptor.TYPE_STRING: "",
}


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
        unset_utf8: The field whose UTF-8 bytes an unset field stands for, or None.
        encoding: How the value is spelled, where the type does not say it.
        repeated: Whether the value is an array.
        map_value: The field of the values, if the field is a map.
        message: The message type of the values, unless they are scalars.
        enum: The enum of the values, if they have one.
        options: The field's options, for the rules of folding.
    """

    name: str
    number: int
    descriptor: FieldDescriptor
    unset: Any
    unset_utf8: str | None
    encoding: int
    repeated: bool
    map_value: Field | None
    message: MessageType | None
    enum: EnumWords | None
    options: Any

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
    """The words of an enum in JSON: value names less the enum's prefix, in lower case."""

    numbers: Mapping[str, int]
    words: Mapping[int, str]


class MessageType:
    """A message type that mirrors a JSON object, or a union of JSON values.

    Attributes:
        descriptor: Its descriptor.
        fields: Its fields but for the residue, by name, in the order of their members.
        residue: The field that holds the residue, or None in a union.
        is_union: Whether the message stands for the value of its one set member.
        options: The message's options, for the rules of folding.
    """

    def __init__(self, descriptor: Descriptor) -> None:
        self.descriptor = descriptor
        self.options = descriptor.GetOptions().Extensions
        self.is_union: bool = self.options[options_pb2.json_union]
        self.residue: FieldDescriptor | None = next(
            (field for field in descriptor.fields if _is_residue(field)), None
        )
        if self.is_union == (self.residue is not None):
            raise TypeError(f"{descriptor.full_name} is neither a JSON object nor a JSON union")
        self.fields: dict[str, Field] = {}
        self.by_number: dict[int, Field] = {}

    def read_fields(self) -> None:
        """Reads the fields, whose types may be this one."""
        for field in self.descriptor.fields:
            if not _is_residue(field):
                self.fields[field.name] = self.by_number[field.number] = _field(field)

    @property
    def message_class(self) -> type[Message]:
        """The generated class."""
        return GetMessageClass(self.descriptor)


def _is_residue(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.full_name == RESIDUE


class Compiled(Generic[_K, _T]):
    """What is made of each message type once, also where types recurse and threads race.

    Args:
        make: Gives the thing that is made of a type, and a function that completes it, which may
            ask for what is made of other types.
    """

    def __init__(self, make: Callable[[_K], tuple[_T, Callable[[], None]]]) -> None:
        self._make = make
        self._complete: dict[_K, _T] = {}
        self._begun: dict[_K, _T] = {}
        self._lock = threading.RLock()

    def __call__(self, kind: _K) -> _T:
        """What is made of a type."""
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
        TypeError: The message does not mirror a JSON value.
    """
    return _message_type(cast("Descriptor", message.DESCRIPTOR))


def _make_message_type(descriptor: Descriptor) -> tuple[MessageType, Callable[[], None]]:
    mapped = MessageType(descriptor)
    return mapped, mapped.read_fields


_message_type = Compiled(_make_message_type)


def _field(descriptor: FieldDescriptor) -> Field:
    options = descriptor.GetOptions().Extensions
    entry = descriptor.message_type
    map_value = None
    if entry is not None and entry.GetOptions().map_entry:
        if entry.fields_by_number[1].type != FieldDescriptor.TYPE_STRING:
            raise TypeError(f"{descriptor.full_name}: the keys of a JSON object are strings")
        map_value = _field(entry.fields_by_number[2])
    field = Field(
        name=descriptor.name,
        number=descriptor.number,
        descriptor=descriptor,
        unset=_unset(descriptor),
        unset_utf8=options[options_pb2.json_unset_utf8] or None,
        encoding=options[options_pb2.json_encoding],
        repeated=descriptor.is_repeated and map_value is None,
        map_value=map_value,
        message=_message_type(entry) if entry is not None and map_value is None else None,
        enum=enum_words(descriptor.enum_type) if descriptor.enum_type is not None else None,
        options=options,
    )
    is_bytes = descriptor.type == FieldDescriptor.TYPE_BYTES
    if is_bytes != (field.encoding in (ARRAY, BASE64)) or not (
        is_bytes or entry is not None or field.enum is not None or descriptor.type in _ZEROS
    ):
        raise TypeError(f"{descriptor.full_name}: the type has no spelling in JSON")
    return field


def _unset(descriptor: FieldDescriptor) -> Any:
    options = descriptor.GetOptions()
    if options.HasExtension(options_pb2.json_unset):
        return parse_plain(options.Extensions[options_pb2.json_unset])
    if descriptor.has_presence or descriptor.is_repeated:
        return NOTHING
    return _ZEROS[descriptor.type]


@functools.cache
def enum_words(descriptor: EnumDescriptor) -> EnumWords:
    """The words of an enum, compiled once."""
    zero = descriptor.values_by_number[0].name
    prefix = zero.removesuffix("UNSPECIFIED")
    numbers = {
        value.name.removeprefix(prefix).lower(): value.number
        for value in descriptor.values
        if value.number != 0
    }
    return EnumWords(numbers, {number: word for word, number in numbers.items()})
