"""What a message contains in addition to its typed fields."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from google.protobuf.message import Message

from chatpb._errors import ConversionError, path_segment, wrong_type
from chatpb._mapping.arguments import check_message
from chatpb._mapping.schema import MessageType, key_name, mapping_of
from chatpb._mapping.text import dump, kind_of, parse, parse_plain
from chatpb._wire import embedded
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
        TypeError: The message does not mirror a JSON value.
    """
    check_message(message)
    members: list[ResidueMember] = []
    for path, part in walk(message):
        if isinstance(part, Residue):
            continue
        mapped = mapping_of(part)
        if mapped.residue is not None and part.HasField(mapped.residue.name):
            members.extend(_members(path, mapped, getattr(part, mapped.residue.name)))
    return members


def residue_size(message: Message) -> tuple[int, bool]:
    """How much of a message is residue, its own and that of the messages in it.

    Returns:
        The bytes in the binary form, with tags and lengths, and whether there is a member that the
        typed fields cannot hold, as opposed to null, missing and empty ones.
    """
    size, has_extra = 0, False
    for _, part in walk(message):
        field = None if isinstance(part, Residue) else mapping_of(part).residue
        if field is not None and part.HasField(field.name):
            said = getattr(part, field.name)
            size += len(embedded(field.number, [said.SerializeToString()]))
            has_extra |= bool(said.extra_json)
    return size, has_extra


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
    extra = extra_members(said, lambda text: parse_plain(text, allow_nan=True))
    for name, value in extra.items():
        yield ResidueMember(path + path_segment(name), "extra", value)


def extra_members(said: Residue, read: Callable[[str], Any]) -> dict[str, Any]:
    """The members in `extra_json`.

    Args:
        said: The residue.
        read: Reads a JSON text.

    Raises:
        ConversionError: It is not a JSON object.
    """
    if not said.extra_json:
        return {}
    try:
        extra = read(said.extra_json)
    except ConversionError as error:
        raise ConversionError(f"extra_json is not a JSON object: {error}") from None
    if type(extra) is not dict:
        raise ConversionError(f"extra_json is not a JSON object but {kind_of(extra)}")
    return extra


def clear_residue(message: Message, *names: str) -> None:
    """Forgets what a message contains in addition to its typed fields.

    A field that is set after reading is written in place of what was read, so this is only needed
    for the opposite: to leave out a member that the schema does not know, or to let a field that is
    unset, empty or zero stand for its default, although the JSON had another value there.

    ``chatpb.clear_residue(choice, "finish_reason")`` removes an unknown word, for example: then the
    choice has no finish reason.

    Args:
        message: A message of `chatpb.v1` that mirrors a JSON object. The messages in it stay as
            they are.
        names: The names of JSON members; without any, all members. A member that is not in the
            residue is skipped.

    Raises:
        ConversionError: The residue holds text that is not JSON.
        TypeError: The message does not mirror a JSON object, or a name is not a string.
    """
    check_message(message)
    residue_field = mapping_of(message).residue
    if residue_field is None:
        raise wrong_type("a message that mirrors a JSON object", message)
    for name in names:
        if not isinstance(name, str):
            raise wrong_type("the name of a member", name)
    if not names:
        message.ClearField(residue_field.name)
    elif message.HasField(residue_field.name):
        _forget(message, getattr(message, residue_field.name), set(names))
        if not getattr(message, residue_field.name).ListFields():
            message.ClearField(residue_field.name)


def _forget(message: Message, said: Residue, names: set[str]) -> None:
    """Removes members from a residue."""
    extra = extra_members(said, lambda text: parse(text, allow_nan=True))
    kept = {name: value for name, value in extra.items() if name not in names}
    fields = mapping_of(message).fields
    numbers = {fields[name].number for name in names & fields.keys()}
    for listed in (said.null_fields, said.absent_fields, said.empty_fields):
        listed[:] = [number for number in listed if number not in numbers]
    if len(kept) < len(extra):
        said.extra_json = dump(kept) if kept else ""


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
