"""Objects that hold a request and its response, and the records that they become.

These are read:

- What ``chatpb cat --what record`` prints: its members are the fields of a record.
- ``request`` and ``response``.
- ``messages`` and ``response``: the members around the response are the request.
- The lines of OpenAI's batch files, input and output.

A response, or a request, may be inside an HTTP message as in batch files. A response is a
completion, an error, a chunk or an array of chunks. Each of the other members becomes a label: a
string as it is, any other value, or a string with a lone surrogate, as its JSON text; null becomes
none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final, NamedTuple

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from chatpb._cli.reading.cut import Cut, UncutError, Written
from chatpb._cli.reading.kinds import Kind, known_kind
from chatpb._errors import ConversionError
from chatpb._mapping.convert import json_to_binary
from chatpb._mapping.schema import enum_words
from chatpb._mapping.text import dump, kind_of, parse
from chatpb._record import holds, message_types, record_of
from chatpb.v1 import ChatCompletionChunk, ChatCompletionRequest, CompletionRecord, ErrorResponse

_Tree = dict[str, Any]

REQUEST: Final = "request"
RESPONSE: Final = "response"
_MESSAGES: Final = "messages"
ERROR: Final = "error"
# The members of batch files that are not those of a chat completion: see "The request input object"
# and "The request output object" in https://platform.openai.com/docs/api-reference/batch.
CUSTOM_ID: Final = "custom_id"
METHOD: Final = "method"
URL: Final = "url"
BODY: Final = "body"
STATUS: Final = "status_code"
ENDPOINT: Final = "/chat/completions"


def _of_type(*types: int) -> frozenset[str]:
    """The names of the fields of a record that have one value of one of these types."""
    fields = CompletionRecord.DESCRIPTOR.fields
    return frozenset(f.name for f in fields if f.cpp_type in types and not f.is_repeated)


_FAILED: Final = 400  # the first HTTP status of an error
_NO_STATUS: Final = 1000  # the first number that is not one
_SHOWN: Final = 5  # names of members of an object that is refused
_FIELDS: Final = frozenset(CompletionRecord.DESCRIPTOR.fields_by_name)
_TYPES: Final = message_types()
_PLAIN: Final = {  # names of fields of one value that Python has as it is
    str: _of_type(FieldDescriptor.CPPTYPE_STRING),
    int: _of_type(FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64),
}


class UnknownShapeError(Exception):
    """A JSON value that is none of those that become records; the text says what it is."""


def described(value: object) -> str:
    """What a value is: for an object, the names of its members."""
    if not isinstance(value, dict) or not value:
        return "an empty object" if value == {} else kind_of(value)
    names = [repr(name) for name in list(value)[:_SHOWN]]
    more = f" and {len(value) - _SHOWN:,} more" if len(value) > _SHOWN else ""
    return f"an object with {', '.join(names)}{more}"


def is_exchange(members: _Tree) -> bool:
    """Whether an object is one of those that `exchange_in` reads, judged by its members."""
    return _is_record(members) or (
        (RESPONSE in members and not members.keys().isdisjoint((REQUEST, _MESSAGES, CUSTOM_ID)))
        or (BODY in members and CUSTOM_ID in members)
    )


def is_request(members: _Tree) -> bool:
    """Whether an object is a request of a batch, judged by its members."""
    return BODY in members and CUSTOM_ID in members and RESPONSE not in members


class Exchange(NamedTuple):
    """What an object becomes.

    Attributes:
        record: The record, in binary form.
        custom_id: For a line of a batch, the name of the request.
        is_request: For a line of a batch, whether it is the request.
    """

    record: bytes
    custom_id: str | None = None
    is_request: bool = False


def exchange_in(data: bytes, members: _Tree, *, allow_nan: bool) -> Exchange:
    """What an exchange becomes.

    Args:
        data: The text of the object.
        members: Its members, as `kinds.loaded` reads them: their numbers may not be exact.
        allow_nan: Whether NaN and infinities are kept.

    Raises:
        ConversionError: A member cannot be read.
        UnknownShapeError: A member is not what it should be.
    """
    try:
        record = _record_in(members, Cut(data, members))
    except (UncutError, ConversionError, UnknownShapeError):  # the exact tree gives the reason
        members = parse(data, allow_nan=allow_nan)
        record = _record_in(members, Written(allow_nan))
    name = members.get(CUSTOM_ID)
    if type(name) is not str or not members.keys().isdisjoint((REQUEST, _MESSAGES)):
        return Exchange(record)
    try:
        name.encode()
    except UnicodeEncodeError:
        return Exchange(record)
    return Exchange(record, name, is_request(members))


def _record_in(members: _Tree, texts: Written) -> bytes:
    if _is_record(members):
        return _record(members, texts)
    labels = dict(members)
    response = labels.pop(RESPONSE, None)
    request: Any = None
    if REQUEST in labels:
        request = labels.pop(REQUEST)
    elif _MESSAGES in labels:
        request, labels = labels, {}
    elif BODY in labels:
        request, labels = _request_of_batch(labels)
    error = labels.pop(ERROR, None)
    record = CompletionRecord()
    parts: list[tuple[Kind, Any, str]] = []
    request = _without_http(request, labels, texts)
    if request is not None:
        if known_kind(request) is not ChatCompletionRequest:
            raise UnknownShapeError(f"its request is {described(request)}")
        parts.append((ChatCompletionRequest, request, REQUEST))
    response = _without_http(response, labels, texts)
    status = labels.get(STATUS)
    if type(status) is int and 0 <= status < _NO_STATUS:
        record.http_status = labels.pop(STATUS)
    else:
        status = 0
    parts += ((kind, part, RESPONSE) for kind, part in _response(response, status))
    if error is not None:
        parts.append((ErrorResponse, {ERROR: error}, ERROR))
    if not parts:
        raise UnknownShapeError("its request and its response are null")
    for name, value in labels.items():
        if value is not None:
            record.labels[_text(name)] = _text(texts.label(value))
    return _assembled(record, parts, texts)


def _is_record(members: _Tree) -> bool:
    """Whether all members are fields of a record, and one of them is a message.

    An object with nothing but an error is an error itself, unless it has another one inside.
    """
    if not members or not members.keys() <= _FIELDS or members.keys().isdisjoint(_TYPES):
        return False
    error = members.get(ERROR)
    is_alone = len(members) == 1 and ERROR in members
    return not is_alone or (isinstance(error, dict) and ERROR in error)


def _record(members: _Tree, texts: Written) -> bytes:
    record = CompletionRecord()
    parts: list[tuple[Kind, Any, str]] = []
    for name, value in members.items():
        kind = _TYPES.get(name)
        if value is None:
            continue
        if kind is None:
            _set(record, name, texts.plain(value))
        elif kind is ChatCompletionChunk:
            items = value if isinstance(value, list) else [value]
            parts += ((kind, item, name) for item in items)
        else:
            parts.append((kind, value, name))
    for _, tree, name in parts:
        if not isinstance(tree, dict):
            raise UnknownShapeError(f"its member {name!r} is or contains {described(tree)}")
    if not parts:
        raise UnknownShapeError("its members are empty")
    return _assembled(record, parts, texts)


def _set(record: CompletionRecord, name: str, value: Any) -> None:
    """Sets a field of a record that is not a message."""
    if name in _PLAIN.get(type(value), ()):
        with suppress(UnicodeEncodeError, ValueError):
            setattr(record, name, value)
            return
    field = CompletionRecord.DESCRIPTOR.fields_by_name[name]
    if field.enum_type is not None and isinstance(value, str):
        value = enum_words(field.enum_type).numbers.get(value, value)
    try:
        json_format.ParseDict({name: value}, record)
    except json_format.ParseError as error:
        raise ConversionError(str(error), f"$.{name}") from None


def _assembled(
    record: CompletionRecord, parts: list[tuple[Kind, Any, str]], texts: Written
) -> bytes:
    messages: list[tuple[type[Message], bytes]] = []
    for kind, tree, name in parts:
        try:
            data = json_to_binary(texts.message(tree), kind, allow_nan=texts.allow_nan)
            messages.append((kind, data))
        except ConversionError as error:
            raise error.below(name) from None
    record.MergeFromString(record_of(messages))
    return record.SerializeToString(deterministic=True)


def _text(value: Any) -> str:
    """A string as it is, if it has a form in UTF-8; otherwise the JSON text of the value."""
    if type(value) is str:
        with suppress(UnicodeEncodeError):
            value.encode()
            return value
    return dump(value)


def _request_of_batch(members: _Tree) -> tuple[Any, _Tree]:
    """The request in a line of a batch, and the other members."""
    url = members.get(URL)
    if members.get(METHOD, "POST") != "POST" or not str(url or ENDPOINT).endswith(ENDPOINT):
        raise UnknownShapeError(f"a request of a batch for {url}, not for chat completions")
    names = (BODY, METHOD, URL)
    return members[BODY], {name: value for name, value in members.items() if name not in names}


def _without_http(value: Any, labels: _Tree, texts: Written) -> Any:
    """A request or a response without the HTTP message around it, whose members become labels."""
    if not isinstance(value, dict) or BODY not in value:
        return value
    texts.enter(value)
    for name, member in value.items():
        if name != BODY:
            labels[name if name not in labels else f"http.{name}"] = member
    return value[BODY]


def _response(value: Any, status: int) -> Iterator[tuple[Kind, Any]]:
    """The messages of a response."""
    if value is None:
        return
    for part in value if isinstance(value, list) and value else [value]:
        is_error = status >= _FAILED and isinstance(part, dict)
        kind = ErrorResponse if is_error else known_kind(part, in_stream=isinstance(value, list))
        if kind is None or kind is ChatCompletionRequest or not holds(kind):
            raise UnknownShapeError(f"its response is {described(part)}")
        yield kind, part
