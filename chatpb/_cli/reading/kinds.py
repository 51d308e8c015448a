"""Which message a JSON object is read as.

The first of these rules that applies decides:

1. In a stream (an SSE event, a line of JSON lines), an object with a choice that has a ``delta``
   is a chunk. Some servers name their chunks as they name whole completions.
2. Its ``object`` is a word that only one kind uses: a completion, a chunk, a deletion, an error, a
   model. A ``list`` contains completions if it is empty or its items have ``choices``, models if
   their ``object`` says so, else messages.
3. It has ``choices``: a chunk if a choice has a ``delta`` and none has a ``message``, or if no
   choice has either and it is in a stream; else a completion.
4. It has an ``error``: an error.
5. It has ``messages``: a request.
6. It has a ``message`` or a ``detail`` and nothing of an answer: an error without the object
   around it.
7. Its file is named ``*.request.json``: a request. ``*.error.json``: an error.
8. In a stream a chunk, else a completion.

Which server-sent event is an error, `chatpb.sse.Event.is_error` decides before these rules.

A wrong guess costs bytes, not data: every message type keeps every JSON object whole. What becomes
a record must not be guessed, though: see `known_kind`.
"""

from __future__ import annotations

import difflib
from contextlib import suppress
from typing import Any, Final, NamedTuple

import orjson
from google.protobuf.message import Message

import chatpb.v1 as schema
from chatpb import _endings, _wire
from chatpb._cli.failure import USAGE_ERROR, CliError
from chatpb._errors import ConversionError
from chatpb._mapping.convert import json_to_binary
from chatpb._mapping.text import parse_plain
from chatpb._stream.errors import DETAIL, is_flat
from chatpb.v1 import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionDeleted,
    ChatCompletionList,
    ChatCompletionRequest,
    ChatCompletionStoreMessageList,
    Error,
    ErrorResponse,
    Model,
    ModelList,
    Residue,
)

Kind = type[Message]

SHORT_NAMES: Final[dict[str, Kind]] = {
    "completion": ChatCompletion,
    "chunk": ChatCompletionChunk,
    "request": ChatCompletionRequest,
    "error": ErrorResponse,
    "list": ChatCompletionList,
    "messages": ChatCompletionStoreMessageList,
    "deleted": ChatCompletionDeleted,
    "model": Model,
    "models": ModelList,
}
_LABELS: Final = {kind: name for name, kind in SHORT_NAMES.items()}
_OBJECT_WORDS: Final[dict[str, Kind]] = {
    "chat.completion": ChatCompletion,
    "chat.completion.chunk": ChatCompletionChunk,
    "chat.completion.deleted": ChatCompletionDeleted,
    "error": ErrorResponse,
    "model": Model,
}
_NAMED_FILES: Final[dict[str, Kind]] = {
    _endings.REQUEST: ChatCompletionRequest,
    _endings.ERROR: ErrorResponse,
}

_OF_ERRORS: Final = {*Error.DESCRIPTOR.fields_by_name, DETAIL, "request_id"}
_OBJECT: Final = ChatCompletion.OBJECT_FIELD_NUMBER
_RESIDUE: Final = ChatCompletion.RESIDUE_FIELD_NUMBER


def label(kind: Kind) -> str:
    """The short name of a kind, or the name of its message."""
    return _LABELS.get(kind, kind.DESCRIPTOR.name)


def kind_named(name: str) -> Kind:
    """The message type of a name: a short one, or that of a message that mirrors an object."""
    if name in SHORT_NAMES:
        return SHORT_NAMES[name]
    found = getattr(schema, name.removeprefix("chatpb.v1."), None)
    if isinstance(found, type) and issubclass(found, Message) and _mirrors_object(found):
        return found
    known = [*SHORT_NAMES, *schema.__all__]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise CliError(f"no type of message {name!r} mirrors a JSON object{hint}", USAGE_ERROR)


def recognise(data: bytes, name: str = "", *, in_stream: bool = False) -> Kind:
    """The kind of a JSON text.

    Args:
        data: The text. If it is not a JSON object, the name decides.
        name: The name of its file.
        in_stream: Whether the text is one of many in its file.
    """
    try:
        value = loaded(data)
    except ConversionError:
        value = None
    members = value if isinstance(value, dict) else {}
    return _by_members(members, in_stream) or _by_name(name, in_stream)


def loaded(data: bytes) -> Any:
    """The value of a JSON text, whose numbers may not be exact.

    Raises:
        ConversionError: The text is not JSON.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:  # stricter than the converter: lone surrogates, NaN, a BOM
        return parse_plain(data, allow_nan=True)


def is_json(data: bytes) -> bool:
    """Whether a text is JSON, or an object or array with a mistake in it."""
    if data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"["):
        return True
    with suppress(ConversionError):
        loaded(data)
        return True
    return False


def known_kind(
    value: object, name: str = "", *, in_stream: bool = False, is_first: bool = False
) -> Kind | None:
    """The kind of a JSON value, or None if nothing shows that it is of any.

    The rules are those of `recognise`, except that a flat error has no members but those of an
    error, and that what no rule applies to has none but those of a chunk or completion, and does
    not begin a stream.

    Args:
        value: The value.
        name: The name of its file.
        in_stream: Whether it is one of many in its file.
        is_first: Whether it would begin a stream, if it is a chunk.
    """
    if not isinstance(value, dict) or not value:
        return None
    kind = _by_members(value, in_stream)
    is_flat = kind is ErrorResponse and "error" not in value and value.get("object") != "error"
    if kind is not None and (not is_flat or value.keys() <= _OF_ERRORS):
        return kind
    named = next((kind for end, kind in _NAMED_FILES.items() if name.endswith(end)), None)
    usual = ChatCompletionChunk if in_stream else ChatCompletion
    is_usual = value.keys() <= set(usual.DESCRIPTOR.fields_by_name) and not (in_stream and is_first)
    return named or (usual if is_usual else None)


class Converted(NamedTuple):
    """A line of JSON in binary form.

    Attributes:
        kind: Its kind.
        data: Its binary form.
        stream: For a chunk, the identifier of its stream.
    """

    kind: Kind
    data: bytes
    stream: str = ""


def converted(text: bytes) -> Converted | None:
    """Converts a line of JSON, if the binary form proves its kind.

    So the JSON of usual chunks and completions is parsed once; `recognise` would parse it a second
    time, only to find the kind. None proves nothing; then `recognise` decides.
    """
    if b'"messages"' in text:  # most likely a request
        return None
    kind = ChatCompletionChunk if b'"delta"' in text else ChatCompletion
    try:
        data = json_to_binary(text, kind)
    except ConversionError:
        return None
    if kind is ChatCompletion:
        return Converted(kind, data) if is_named(data) else None
    chunk = ChatCompletionChunk.FromString(data)  # small: faster than to look for the two fields
    has_delta = any(choice.HasField("delta") for choice in chunk.choices)
    return Converted(kind, data, chunk.id) if has_delta else None


def is_named(completion: bytes) -> bool:
    """Whether the `object` of a completion in binary form is unset: then it has its usual word."""
    for span in _wire.spans(completion):
        if span.number == _OBJECT:
            return False
        if span.number == _RESIDUE:
            residue = Residue.FromString(completion[span.value : span.end])
            others = (*residue.null_fields, *residue.absent_fields, *residue.empty_fields)
            return _OBJECT not in others and '"object"' not in residue.extra_json
    return True


def _by_members(members: dict[str, Any], in_stream: bool) -> Kind | None:
    choices = members.get("choices")
    parts = _objects(choices)
    has_delta = any("delta" in part for part in parts)
    if in_stream and has_delta:
        return ChatCompletionChunk
    word = members.get("object")
    if isinstance(word, str) and word in _OBJECT_WORDS:
        return _OBJECT_WORDS[word]
    if word == "list":
        items = members.get("data")
        if not items or any("choices" in item for item in _objects(items)):
            return ChatCompletionList
        are_models = any(item.get("object") == "model" for item in _objects(items))
        return ModelList if are_models else ChatCompletionStoreMessageList
    if "choices" in members and not ("error" in members and choices is None):
        has_message = any("message" in part for part in parts)
        chunk = not has_message and (has_delta or in_stream)
        return ChatCompletionChunk if chunk else ChatCompletion
    if "error" in members:
        return ErrorResponse
    if "messages" in members:
        return ChatCompletionRequest
    return ErrorResponse if is_flat(members) else None


def _by_name(name: str, in_stream: bool) -> Kind:
    for ending, kind in _NAMED_FILES.items():
        if name.endswith(ending):
            return kind
    return ChatCompletionChunk if in_stream else ChatCompletion


def _objects(value: object) -> list[dict[str, Any]]:
    """The objects in an array; none if the value is not an array."""
    items = value if isinstance(value, list) else []
    return [item for item in items if isinstance(item, dict)]


def _mirrors_object(found: Kind) -> bool:
    """Whether a message mirrors a JSON object: then it has a residue."""
    residue = Residue.DESCRIPTOR.full_name
    fields = found.DESCRIPTOR.fields
    return any(field.message_type and field.message_type.full_name == residue for field in fields)
