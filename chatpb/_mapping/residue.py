"""What a message contains in addition to its typed fields."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from google.protobuf.message import Message

from chatpb._errors import path_segment
from chatpb._mapping.schema import MessageType, key_name, mapping_of
from chatpb._mapping.text import parse_plain
from chatpb.v1.residue_pb2 import Residue


@dataclass(frozen=True, slots=True)
class ResidueMember:
    """A JSON member that the typed fields cannot represent.

    Attributes:
        path: Its place, such as ``$.choices[0].finish_reason``.
        state: ``null``, ``absent`` or ``empty`` if the schema knows the member but an unset
            field stands for another value; ``extra`` if the schema does not know the member, or
            its value does not fit the field.
        value: The JSON value: None, None, ``[]``, or what ``extra`` holds.
    """

    path: str
    state: Literal["null", "absent", "empty", "extra"]
    value: Any = None


def residue(message: Message) -> list[ResidueMember]:
    """What a message and the messages in it contain in addition to their typed fields.

    Args:
        message: A message of `chatpb.v1` that mirrors a JSON object.

    Returns:
        The members, outer before inner. The list is empty if the typed fields represent everything.

    Raises:
        ConversionError: A residue holds text that is not JSON.
    """
    members: list[ResidueMember] = []
    for path, part in walk(message):
        if isinstance(part, Residue):
            continue
        mapped = mapping_of(part)
        if mapped.residue is not None and part.HasField(mapped.residue.name):
            members.extend(_members(path, mapped, getattr(part, mapped.residue.name)))
    return members


def _members(path: str, mapped: MessageType, said: Residue) -> Iterator[ResidueMember]:
    def place(number: int) -> str:
        field = mapped.by_number.get(number)
        return path + path_segment(field.name if field else f"<field {number}>")

    for number in said.null_fields:
        yield ResidueMember(place(number), "null")
    for number in said.absent_fields:
        yield ResidueMember(place(number), "absent")
    for number in said.empty_fields:
        field = mapped.by_number.get(number)
        is_map = field is not None and field.map_value is not None
        yield ResidueMember(place(number), "empty", {} if is_map else [])
    if said.extra_json:
        for name, value in parse_plain(said.extra_json, allow_nan=True).items():
            yield ResidueMember(path + path_segment(name), "extra", value)


def walk(message: Message, path: str = "$") -> Iterator[tuple[str, Message]]:
    """A message and the messages in it, residues too, outer before inner, each with its path."""
    yield path, message
    mapped = mapping_of(message)
    if mapped.residue is not None and message.HasField(mapped.residue.name):
        yield path, getattr(message, mapped.residue.name)
    for field in mapped.fields.values():
        if (field.map_value or field).message is None:
            continue
        value = getattr(message, field.name)
        below = path if mapped.is_union else path + path_segment(field.name)
        if field.map_value is not None:
            for key in sorted(value):
                yield from walk(value[key], below + path_segment(key_name(key)))
        elif field.repeated:
            for index, item in enumerate(value):
                yield from walk(item, below + path_segment(index))
        elif message.HasField(field.name):
            yield from walk(value, below)
