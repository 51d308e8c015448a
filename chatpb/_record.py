"""Records in binary form, put together and taken apart without parsing what is in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from chatpb import _wire
from chatpb._errors import ConversionError
from chatpb._mapping.convert import binary_to_json
from chatpb.v1.completion_record_pb2 import CompletionRecord, LogHeader


class Member(NamedTuple):
    """A message in a record, such as its request or one of its chunks.

    Attributes:
        field: The name of its field.
        type: Its type, which mirrors a JSON object.
        data: It, in binary form.
    """

    field: str
    type: type[Message]
    data: bytes


_FIELDS: Final = {
    field.number: (field.name, GetMessageClass(field.message_type))
    for field in CompletionRecord.DESCRIPTOR.fields
    if field.message_type is not None
    and field.message_type is not LogHeader.DESCRIPTOR
    and not field.message_type.GetOptions().map_entry
}
_NUMBERS: Final = {message_type: number for number, (_, message_type) in _FIELDS.items()}


def members(record: bytes) -> Iterator[Member]:
    """The messages in a record.

    Raises:
        ConversionError: It is not the binary form of a record.
    """
    try:
        for span in _wire.spans(record):
            if span.number in _FIELDS:
                name, message_type = _FIELDS[span.number]
                yield Member(name, message_type, record[span.value : span.end])
    except _wire.WireError:
        name = CompletionRecord.DESCRIPTOR.full_name
        raise ConversionError(f"not the binary form of a {name}") from None


def holds(message_type: type[Message]) -> bool:
    """Whether messages of a type may stand in a record."""
    return message_type in _NUMBERS


def record_field(message_type: type[Message]) -> int:
    """The number of the field of a record that has messages of this type.

    Raises:
        TypeError: A record has no such messages.
    """
    if message_type not in _NUMBERS:
        raise TypeError(f"a record has no {message_type.DESCRIPTOR.full_name}")
    return _NUMBERS[message_type]


def record_of(messages: Iterable[tuple[type[Message], bytes]]) -> bytes:
    """A record of messages in binary form, each with its type."""
    return b"".join(_wire.embedded(_NUMBERS[kind], [data]) for kind, data in messages)


def labelled(record: bytes, labels: Mapping[str, str]) -> bytes:
    """A record with more labels."""
    return record + CompletionRecord(labels=labels).SerializeToString() if labels else record


def json_size(record: bytes) -> int:
    """The bytes of the JSON of all messages in a record.

    Raises:
        ConversionError: It is not the binary form of a record.
    """
    size = 0
    for _, message_type, data in members(record):
        try:
            size += len(binary_to_json(data, message_type, allow_nan=True))
        except ConversionError:  # of bytes that have no JSON; the table keeps them all the same
            size += len(data)
    return size
