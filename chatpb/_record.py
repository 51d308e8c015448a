"""A `CompletionRecord` as bytes, put together and taken apart without parsing its messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from chatpb import _wire
from chatpb._errors import ConversionError
from chatpb._mapping.convert import part_json_size, part_to_json
from chatpb.v1.completion_record_pb2 import CompletionRecord, LogHeader, SealedFrame


class Member(NamedTuple):
    """A message in a record, such as its request or one of its chunks.

    Attributes:
        field: The name of its field.
        type: Its type, which mirrors a JSON object.
        record: The record.
        start: Where the binary form of the message begins in it.
        end: Where it ends.
    """

    field: str
    type: type[Message]
    record: bytes
    start: int
    end: int

    @property
    def data(self) -> bytes:
        """Its binary form."""
        return self.record[self.start : self.end]

    def json(self, *, allow_nan: bool = False, ignore_unknown_fields: bool = False) -> bytes:
        """Its JSON, see `chatpb.binary_to_json`."""
        return part_to_json(
            self.record,
            self.start,
            self.end,
            self.type,
            allow_nan=allow_nan,
            ignore_unknown_fields=ignore_unknown_fields,
        )


_FIELDS: Final = {
    field.number: (field.name, GetMessageClass(field.message_type))
    for field in CompletionRecord.DESCRIPTOR.fields
    if field.message_type is not None
    and field.message_type not in (LogHeader.DESCRIPTOR, SealedFrame.DESCRIPTOR)
    and not field.message_type.GetOptions().map_entry
}
_NUMBERS: Final = {message_type: number for number, (_, message_type) in _FIELDS.items()}


def members(record: bytes) -> Iterator[Member]:
    """The messages in a record.

    Raises:
        ConversionError: The bytes are not the binary form of a record.
    """
    try:
        for span in _wire.spans(record):
            if span.number in _FIELDS:
                name, message_type = _FIELDS[span.number]
                yield Member(name, message_type, record, span.value, span.end)
    except _wire.WireError:
        raise _not_a_record() from None


def split(record: bytes) -> tuple[list[Member], CompletionRecord]:
    """The messages in a record, of which no field but a repeated one has two, and the rest of it.

    Raises:
        ConversionError: The bytes are not the binary form of a record.
    """
    found = list(members(record))
    fields = CompletionRecord.DESCRIPTOR.fields_by_name
    single = [each.field for each in found if not fields[each.field].is_repeated]
    try:
        if len(set(single)) < len(single):  # they are pieces of one message
            whole = CompletionRecord.FromString(record)
            return split(whole.SerializeToString(deterministic=True))
        rest = b"".join(
            record[span.start : span.end]
            for span in _wire.spans(record)
            if span.number not in _FIELDS
        )
        return found, CompletionRecord.FromString(rest)
    except DecodeError:
        raise _not_a_record() from None


def holds(message_type: type[Message]) -> bool:
    """Whether a record can hold messages of a type."""
    return message_type in _NUMBERS


def record_field(message_type: type[Message]) -> int:
    """The number of the field of a record that has messages of this type.

    Raises:
        TypeError: A record has no such messages.
    """
    if message_type not in _NUMBERS:
        raise TypeError(f"a record has no {message_type.DESCRIPTOR.full_name}")
    return _NUMBERS[message_type]


def message_types() -> dict[str, type[Message]]:
    """The types of the messages in a record, by the names of their fields."""
    return dict(_FIELDS.values())


def record_of(messages: Iterable[tuple[type[Message], bytes]]) -> bytes:
    """A record of messages in binary form, each with its type."""
    return b"".join(_wire.embedded(_NUMBERS[kind], [data]) for kind, data in messages)


def label_fields(labels: Mapping[str, str]) -> bytes:
    """Labels as fields of a record, for `labelled`."""
    return CompletionRecord(labels=labels).SerializeToString(deterministic=True)


def labelled(record: bytes, fields: bytes) -> bytes:
    """A record with more labels; its fields stay in the order of their numbers.

    Raises:
        ConversionError: The bytes are not the binary form of a record.
    """
    if not fields:
        return record
    end = len(record)
    try:
        for span in _wire.spans(record):
            if span.number > CompletionRecord.LABELS_FIELD_NUMBER:
                end = span.start
                break
    except _wire.WireError:
        raise _not_a_record() from None
    return record[:end] + fields + record[end:]


def json_size(record: bytes) -> int:
    """The size of the JSON of all messages in a record, in bytes.

    Raises:
        ConversionError: The bytes are not the binary form of a record.
    """
    size = 0
    for member in members(record):
        try:
            size += part_json_size(record, member.start, member.end, member.type)
        except ConversionError:  # bytes without a JSON form, which a table keeps too
            size += member.end - member.start
    return size


def _not_a_record() -> ConversionError:
    return ConversionError(f"not the binary form of a {CompletionRecord.DESCRIPTOR.full_name}")
