"""OpenAI's HTTP requests for stored completions, as the rpcs of `StoredChatCompletionService`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, unquote

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from chatpb._mapping.convert import to_dict
from chatpb._mapping.schema import INTEGER_RANGES, enum_words
from chatpb.v1.stored_chat_completion_pb2 import ChatCompletionUpdate
from chatpb.v1.stored_chat_completion_service_pb2 import (
    DESCRIPTOR,
    GetStoredChatCompletionRequest,
    UpdateStoredChatCompletionMetadataRequest,
)

SERVICE: Final = DESCRIPTOR.services_by_name["StoredChatCompletionService"]
GET: Final = SERVICE.methods_by_name["GetStoredChatCompletion"]
LIST: Final = SERVICE.methods_by_name["ListStoredChatCompletions"]
UPDATE: Final = SERVICE.methods_by_name["UpdateStoredChatCompletionMetadata"]
DELETE: Final = SERVICE.methods_by_name["DeleteStoredChatCompletion"]
MESSAGES: Final = SERVICE.methods_by_name["ListStoredChatCompletionMessages"]

#: The code of the error of a server that does not store completions.
NO_STORE: Final = "store_not_enabled"
#: The field that the path gives, of every request but those of `LIST`.
_ID: Final = GetStoredChatCompletionRequest.DESCRIPTOR.fields_by_number[
    GetStoredChatCompletionRequest.COMPLETION_ID_FIELD_NUMBER
].name
_METADATA: Final = ChatCompletionUpdate.DESCRIPTOR.fields_by_number[
    ChatCompletionUpdate.METADATA_FIELD_NUMBER
].name
_OF_ALL: Final[Mapping[str, Any]] = MappingProxyType({"GET": LIST})
_OF_ONE: Final[Mapping[str, Any]] = MappingProxyType({"GET": GET, "POST": UPDATE, "DELETE": DELETE})
_OF_MESSAGES: Final[Mapping[str, Any]] = MappingProxyType({"GET": MESSAGES})
_INTEGER: Final = re.compile(r"-?[0-9]{1,20}")
#: The most parameters of a query that are read.
_MOST_PARAMETERS: Final = 100


class ParameterError(ValueError):
    """A parameter that an rpc does not take.

    Attributes:
        message: What is wrong, as OpenAI words it.
        code: OpenAI's word for the error.
        param: The name of the parameter; None for the whole query.
    """

    def __init__(self, message: str, code: str | None, param: str | None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param


class StoredPlace(NamedTuple):
    """What a path names.

    Attributes:
        methods: The rpcs, by the methods of HTTP.
        completion_id: The identifier in the path; empty if it names all completions.
    """

    methods: Mapping[str, Any]
    completion_id: str = ""


def path_of(method: Any) -> str:
    """The full name of an rpc, as gRPC calls it."""
    return f"/{SERVICE.full_name}/{method.name}"


def contents_of(method: Any) -> tuple[int, type[Message]]:
    """What the response of an rpc contains: the number of a field, and its message type."""
    [field] = method.output_type.fields
    return field.number, GetMessageClass(field.message_type)


def stored_place(tail: str) -> StoredPlace | None:
    """What a path names, by what follows ``/chat/completions``, as it was sent; None if nothing."""
    if not tail.strip("/"):
        return StoredPlace(_OF_ALL)
    start, _, rest = tail.rstrip("/").partition("/")
    name, *more = rest.split("/")
    if start or not name or more not in ([], ["messages"]):
        return None
    return StoredPlace(_OF_MESSAGES if more else _OF_ONE, unquote(name))


def request_of(method: Any, completion_id: str, query: str, update: bytes = b"") -> bytes:
    """The message of an rpc.

    Args:
        method: The rpc.
        completion_id: The identifier in the path.
        query: The query of the URL, as it was sent. Parameters that the rpc does not have are
            ignored.
        update: What the body of the HTTP request asks for, a ChatCompletionUpdate in binary form.

    Raises:
        ParameterError: A parameter cannot be read, or is missing.
    """
    message: Any = GetMessageClass(method.input_type)()
    fields = {field.name: field for field in method.input_type.fields}
    if fields.pop(_ID, None) is not None:
        setattr(message, _ID, completion_id)
    if method is UPDATE:
        _set_update(message, update)
    else:
        _set_parameters(message, fields, query)
    binary: bytes = message.SerializeToString(deterministic=True)
    return binary


def _set_update(message: UpdateStoredChatCompletionMetadataRequest, update: bytes) -> None:
    message.update.ParseFromString(update)
    if _METADATA not in to_dict(message.update, allow_nan=True):
        text = f"Missing required parameter: '{_METADATA}'."
        raise ParameterError(text, "missing_required_parameter", _METADATA)


def _set_parameters(message: Any, fields: Mapping[str, FieldDescriptor], query: str) -> None:
    """Sets the fields of a message from a query. If a parameter is repeated, the last one wins."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS)
    except ValueError:
        text = f"The query of the URL has more than {_MOST_PARAMETERS} parameters."
        raise ParameterError(text, None, None) from None
    for name, text in pairs:
        name, bracket, key = name.partition("[")
        field = fields.get(name)
        if field is None:
            continue
        if bracket:
            if _is_map(field) and key.endswith("]"):
                getattr(message, name)[key[:-1]] = text
        elif not _is_map(field):
            setattr(message, name, _value(field, text))


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None


def _value(field: FieldDescriptor, text: str) -> Any:
    """The value of a field from the text of a parameter."""
    name = field.name
    if field.enum_type is not None:
        numbers = enum_words(field.enum_type).numbers
        if text not in numbers:
            known = " and ".join(f"'{word}'" for word in numbers)
            said = f"Invalid value: '{_short(text)}'. Supported values are: {known}."
            raise ParameterError(said, "invalid_value", name)
        return numbers[text]
    if field.type not in INTEGER_RANGES:
        return text
    if _INTEGER.fullmatch(text) is None:
        said = f"Invalid type for '{name}': expected an integer, but got '{_short(text)}' instead."
        raise ParameterError(said, "invalid_type", name)
    low, high = INTEGER_RANGES[field.type]
    return min(max(int(text), low), high)


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}..."
