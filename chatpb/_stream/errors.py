"""Errors among what a server sends: in place of an answer, or as a part of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from chatpb._mapping.schema import mapping_of
from chatpb._mapping.text import dump, parse
from chatpb.v1.chat_completion_chunk_pb2 import ChatCompletionChunk
from chatpb.v1.chat_completion_pb2 import ChatCompletion
from chatpb.v1.error_pb2 import Error, ErrorResponse


def _name(message_type: Any, number: int) -> str:
    name: str = message_type.DESCRIPTOR.fields_by_number[number].name
    return name


_ERROR: Final = _name(ErrorResponse, ErrorResponse.ERROR_FIELD_NUMBER)
_MESSAGE: Final = _name(Error, Error.MESSAGE_FIELD_NUMBER)
_CHOICES: Final = _name(ChatCompletionChunk, ChatCompletionChunk.CHOICES_FIELD_NUMBER)
#: The kind of an object, which errors have too.
_OBJECT: Final = _name(ChatCompletionChunk, ChatCompletionChunk.OBJECT_FIELD_NUMBER)
_ANSWERS: Final = (
    mapping_of(ChatCompletionChunk).fields.keys() | mapping_of(ChatCompletion).fields.keys()
)
#: A text without any of these is not an error.
SUSPECTS: Final = tuple(f'"{name}"'.encode() for name in (_ERROR, _MESSAGE))
_QUOTED_ERROR, _QUOTED_MESSAGE = SUSPECTS
_QUOTED_CHOICES: Final = f'"{_CHOICES}"'.encode()


@dataclass(frozen=True, slots=True)
class FoundError:
    """An error that was found in a JSON text.

    Attributes:
        text: The JSON text of an object that is the error.
        is_alone: Whether the text holds nothing but the error, so that it is not a chunk or a
            completion as well.
    """

    text: bytes
    is_alone: bool


def find_error(data: bytes) -> FoundError | None:
    """Finds the error in what a server sent as a completion, a chunk, or an error.

    The error is a member of its own: alone, next to members that are null, or in a chunk. Or the
    members of the error are at the top ("flat"), or it is in a list.

    Args:
        data: A JSON text.

    Raises:
        ConversionError: It is not JSON, where it looks like an error.
    """
    if _QUOTED_ERROR not in data and (_QUOTED_MESSAGE not in data or _QUOTED_CHOICES in data):
        return None
    value = parse(data, allow_nan=True)
    if isinstance(value, dict):
        return _in_object(value, data)
    if isinstance(value, list) and value and isinstance(value[0], dict):
        found = _in_object(value[0], b"")
        if found is not None and found.is_alone:
            return FoundError(_text(value[0]), is_alone=True)
    return None


def _in_object(members: Mapping[str, Any], data: bytes) -> FoundError | None:
    """The error in an object, which was read from a text."""
    if members.get(_ERROR):
        if members.get(_CHOICES) is not None:
            return FoundError(_text({_ERROR: members[_ERROR]}), is_alone=False)
        return FoundError(data, is_alone=True)
    if _ERROR in members:  # null, or empty
        return None if members.keys() & _ANSWERS else FoundError(data, is_alone=True)
    said = {name for name in members.keys() & _ANSWERS if members[name] is not None}
    if members.get(_MESSAGE) is not None and not said - {_OBJECT}:
        return FoundError(data, is_alone=True)
    return None


def _text(members: Mapping[str, Any]) -> bytes:
    return dump(members).encode()
