"""The conversions in pure Python, the reference.

They are imported only when they are needed: importing them costs more than most conversions by the
native implementation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from chatpb._errors import ConversionError
from chatpb._mapping.arguments import check_message
from chatpb._mapping.canonical import canonical
from chatpb._mapping.fault import MAX_DEPTH, find_refusal
from chatpb._mapping.reader import fast_reader, reader
from chatpb._mapping.residue import walk
from chatpb._mapping.schema import mapping_of
from chatpb._mapping.text import (
    InexactError,
    check_tree,
    dump,
    dump_bytes,
    kind_of,
    parse,
    parse_fast,
    parse_plain,
)
from chatpb._mapping.writer import Context, writer

MessageT = TypeVar("MessageT", bound=Message)


def from_dict(
    members: Mapping[str, Any], message_type: type[MessageT], allow_nan: bool
) -> MessageT:
    """What `chatpb.from_dict` returns."""
    tree = check_tree(members, allow_nan=allow_nan)
    if type(tree) is not dict:
        raise ConversionError(f"expected an object, got {kind_of(tree)}")
    return from_tree(tree, message_type)


def to_dict(message: Message, allow_nan: bool, ignore_unknown_fields: bool) -> dict[str, Any]:
    """What `chatpb.to_dict` returns."""
    context = Context(lambda text: parse_plain(text, allow_nan=allow_nan), allow_nan)
    members = to_tree(message, context, ignore_unknown_fields)
    if context.free_brackets > MAX_DEPTH // 2:
        check_tree(members, allow_nan=allow_nan)
    return members


def read_binary(raw: bytes, message_type: type[Message], allow_nan: bool) -> bytes:
    """What `chatpb.json_to_binary` returns."""
    return canonical(read(raw, message_type, allow_nan))


def read(raw: bytes, message_type: type[MessageT], allow_nan: bool) -> MessageT:
    """What `chatpb.from_json` returns."""
    message = read_fast(raw, message_type)
    return read_exact(raw, message_type, allow_nan) if message is None else message


def write(message: Message, allow_nan: bool, ignore_unknown_fields: bool) -> bytes:
    """What `chatpb.to_json` returns."""
    context = Context(lambda text: parse(text, allow_nan=allow_nan), allow_nan)
    tree = to_tree(message, context, ignore_unknown_fields)
    if context.free_brackets > MAX_DEPTH // 2:
        check_tree(tree, allow_nan=True)
    return dump(tree).encode() if context.may_be_infinite else dump_bytes(tree)


def read_fast(raw: bytes, message_type: type[MessageT]) -> MessageT | None:
    """What `read_exact` returns; None if this cannot be known, or may be an error."""
    try:
        tree = parse_fast(raw)
        if type(tree) is not dict:
            return None
        return message_type(**fast_reader(mapping_of(message_type))(tree, 0))
    except (InexactError, ConversionError):
        return None


def read_exact(raw: bytes, message_type: type[MessageT], allow_nan: bool) -> MessageT:
    """Reads any text, with the parser that loses nothing."""
    tree = parse(raw, allow_nan=allow_nan)
    if type(tree) is not dict:
        refusal = find_refusal(raw, allow_nan=allow_nan)
        assert refusal is not None
        raise refusal
    return from_tree(tree, message_type)


def from_tree(tree: dict[str, Any], message_type: type[MessageT]) -> MessageT:
    """Reads a JSON tree into a message."""
    return message_type(**reader(mapping_of(message_type))(tree, 0))


def to_tree(message: Message, context: Context, ignore_unknown_fields: bool) -> dict[str, Any]:
    """Writes a message as a JSON tree."""
    check_message(message)
    context.ignore_unknown = ignore_unknown_fields
    if not ignore_unknown_fields:
        _refuse_unknown_fields(message)
    tree: dict[str, Any] = writer(mapping_of(message))(message, context)
    return tree


def _refuse_unknown_fields(message: Message) -> None:
    known = type(message)()
    known.CopyFrom(message)
    known.DiscardUnknownFields()
    if known.ByteSize() == message.ByteSize():
        return
    for path, part in walk(message):
        for unknown in UnknownFieldSet(part):  # type: ignore[attr-defined]  # has __getitem__
            raise ConversionError(
                f"field {unknown.field_number} of {part.DESCRIPTOR.full_name} is not in this"
                " version of the schema; pass ignore_unknown_fields=True to leave it out",
                path,
            )
