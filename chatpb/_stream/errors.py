"""Errors among what a server sends: in place of an answer, or as a part of one."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any, Final

from chatpb._mapping.schema import mapping_of
from chatpb._mapping.text import dump, has, parse
from chatpb.v1.chat_completion_chunk_pb2 import ChatCompletionChunk
from chatpb.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionMessage, Choice
from chatpb.v1.error_pb2 import Error, ErrorResponse


def _name(message_type: Any, number: int) -> str:
    name: str = message_type.DESCRIPTOR.fields_by_number[number].name
    return name


_ERROR: Final = _name(ErrorResponse, ErrorResponse.ERROR_FIELD_NUMBER)
_MESSAGE: Final = _name(Error, Error.MESSAGE_FIELD_NUMBER)
_CHOICES: Final = _name(ChatCompletionChunk, ChatCompletionChunk.CHOICES_FIELD_NUMBER)
#: What errors have too: the kind of an object, and who asked.
_SHARED: Final = frozenset(
    {
        _name(ChatCompletionChunk, ChatCompletionChunk.OBJECT_FIELD_NUMBER),
        _name(ChatCompletion, ChatCompletion.REQUEST_ID_FIELD_NUMBER),
    }
)
_SAID: Final = _name(Choice, Choice.MESSAGE_FIELD_NUMBER)
_ROLE: Final = _name(ChatCompletionMessage, ChatCompletionMessage.ROLE_FIELD_NUMBER)
#: FastAPI's member for an error: a text, or a list of places with texts. OpenAI does not have it.
DETAIL: Final = "detail"
#: A text without any of these is not an error.
SUSPECTS: Final = tuple(f'"{name}"'.encode() for name in (_ERROR, _MESSAGE, DETAIL))
_QUOTED_ERROR, *_QUOTED_FLAT = SUSPECTS
_QUOTED_CHOICES: Final = f'"{_CHOICES}"'.encode()


@dataclass(frozen=True, slots=True)
class FoundError:
    """An error that was found in a JSON text.

    Attributes:
        text: The JSON text of an object that is the error.
        is_alone: Whether the text holds nothing but the error, so that it is not a chunk or a
            completion as well.
        is_of_choice: Whether it is the error of a choice: other choices may have none.
        leaves_answer: Whether a completion is an answer nevertheless: the error is that of a
            choice, and a choice has content, or has no error.
    """

    text: bytes
    is_alone: bool
    is_of_choice: bool = False
    leaves_answer: bool = False


@functools.cache
def _answers() -> Set[str]:
    """The members of chunks and completions, found when first needed: most texts are no errors."""
    return mapping_of(ChatCompletionChunk).fields.keys() | mapping_of(ChatCompletion).fields.keys()


def may_be_error(data: bytes) -> bool:
    """Whether `find_error` has to read a text, to know whether it is an error."""
    if has(data, _QUOTED_ERROR):
        return True
    return any(has(data, name) for name in _QUOTED_FLAT) and not has(data, _QUOTED_CHOICES)


def find_error(data: bytes) -> FoundError | None:
    """Finds the error in what a server sent as a completion, a chunk, or an error.

    The error is a member of its own: alone, next to members that are null, in a chunk, or in a
    choice. Or the members of the error are at the top ("flat"), or it is in a list.

    Args:
        data: A JSON text.

    Raises:
        ConversionError: It is not JSON, where it looks like an error.
    """
    if not may_be_error(data):
        return None
    value = parse(data, allow_nan=True)
    if isinstance(value, dict):
        return _in_object(value, data)
    if isinstance(value, list) and value and isinstance(value[0], dict):
        found = _in_object(value[0], b"")
        if found is not None and found.is_alone:
            return FoundError(_text(value[0]), is_alone=True)
    return None


def error_member(members: Mapping[str, Any]) -> Any:
    """The error that is a member of an object, or of one of its choices; None without one."""
    return members.get(_ERROR) or next(_of_choices(members), None)


def in_member(error: bytes) -> bytes:
    """The JSON text of an error, as clients recognize it in a stream: as a member of its own.

    Args:
        error: The JSON text of an object: an error with such a member, or with its members at the
            top.
    """
    members = parse(error, allow_nan=True)
    if isinstance(members, dict) and members.get(_ERROR):
        return error
    return b'{"%s":%s}' % (_ERROR.encode(), error)


def has_error(choice: Any) -> bool:
    """Whether a choice of a completion or a chunk has an error."""
    return isinstance(choice, dict) and bool(choice.get(_ERROR))


def is_flat(members: Mapping[str, Any]) -> bool:
    """Whether an object is an error whose members are at the top."""
    said = {name for name in members.keys() & _answers() if members[name] is not None}
    has_text = members.get(_MESSAGE) is not None or members.get(DETAIL) is not None
    return has_text and not said - _SHARED


def _in_object(members: Mapping[str, Any], data: bytes) -> FoundError | None:
    """The error in an object, which was read from a text."""
    if members.get(_ERROR):
        if members.get(_CHOICES) is not None:
            return FoundError(_text({_ERROR: members[_ERROR]}), is_alone=False)
        return FoundError(data, is_alone=True)
    error = error_member(members)
    if error is not None:
        return FoundError(
            _text({_ERROR: error}),
            is_alone=False,
            is_of_choice=True,
            leaves_answer=not all(map(_has_failed, members[_CHOICES])),
        )
    if _ERROR in members:  # null, or empty
        return None if members.keys() & _answers() else FoundError(data, is_alone=True)
    return FoundError(data, is_alone=True) if is_flat(members) else None


def _of_choices(members: Mapping[str, Any]) -> Iterator[Any]:
    """The errors of the choices."""
    choices = members.get(_CHOICES)
    for choice in choices if isinstance(choices, list) else ():
        if has_error(choice):
            yield choice[_ERROR]


def _has_failed(choice: Any) -> bool:
    """Whether a choice has an error and no content."""
    if not has_error(choice):
        return False
    said = choice.get(_SAID)
    return not isinstance(said, dict) or not any(said[name] for name in said.keys() - {_ROLE})


def _text(members: Mapping[str, Any]) -> bytes:
    return dump(members).encode()
