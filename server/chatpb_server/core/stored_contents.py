"""What callers get of a stored completion: made of the record, which stays in binary form.

Completions and messages may be large, so their fields are copied, and only the few that change are
read. Those go through JSON, which keeps also what the schema does not know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from google.protobuf.message import DecodeError, Message

from chatpb import ConversionError
from chatpb._mapping.convert import binary_to_json, json_to_binary
from chatpb._mapping.schema import NOTHING, mapping_of
from chatpb._mapping.text import dump, has, parse
from chatpb._wire import joined, part, spans
from chatpb.v1 import options_pb2
from chatpb.v1.chat_completion_message_param_pb2 import ChatCompletionMessageParam
from chatpb.v1.chat_completion_pb2 import ChatCompletion
from chatpb.v1.chat_completion_request_pb2 import ChatCompletionRequest
from chatpb.v1.completion_record_pb2 import CompletionRecord
from chatpb.v1.residue_pb2 import Residue
from chatpb.v1.stored_chat_completion_pb2 import ChatCompletionStoreMessage

#: The fields of a completion that repeat a field of the request, and the names of both.
_STORED_FROM: Final[Mapping[str, str]] = MappingProxyType(
    {
        field.name: source
        for field in ChatCompletion.DESCRIPTOR.fields
        if (source := field.GetOptions().Extensions[options_pb2.stored_from])
    }
)
_REPEATED: Final = frozenset(
    ChatCompletionRequest.DESCRIPTOR.fields_by_name[name].number for name in _STORED_FROM.values()
) | {ChatCompletionRequest.RESIDUE_FIELD_NUMBER}
_CHANGED: Final = frozenset(
    ChatCompletion.DESCRIPTOR.fields_by_name[name].number for name in _STORED_FROM
) | {
    ChatCompletion.ID_FIELD_NUMBER,
    ChatCompletion.METADATA_FIELD_NUMBER,
    ChatCompletion.REQUEST_ID_FIELD_NUMBER,
    ChatCompletion.RESIDUE_FIELD_NUMBER,
}
_MESSAGES: Final = ChatCompletionRequest.MESSAGES_FIELD_NUMBER


def _name(message_type: type[Message], number: int) -> str:
    return str(message_type.DESCRIPTOR.fields_by_number[number].name)


_ID: Final = _name(ChatCompletion, ChatCompletion.ID_FIELD_NUMBER)
_METADATA: Final = _name(ChatCompletion, ChatCompletion.METADATA_FIELD_NUMBER)
_REQUEST_ID: Final = _name(ChatCompletion, ChatCompletion.REQUEST_ID_FIELD_NUMBER)
_CONTENT: Final = _name(ChatCompletionMessageParam, ChatCompletionMessageParam.CONTENT_FIELD_NUMBER)
_MESSAGE_ID: Final = _name(ChatCompletionStoreMessage, ChatCompletionStoreMessage.ID_FIELD_NUMBER)
_TEXT: Final = _name(ChatCompletionStoreMessage, ChatCompletionStoreMessage.CONTENT_FIELD_NUMBER)
_PARTS: Final = _name(
    ChatCompletionStoreMessage, ChatCompletionStoreMessage.CONTENT_PARTS_FIELD_NUMBER
)
_QUOTED_ID: Final = b'"%s"' % _MESSAGE_ID.encode()
#: What the members of a stored message are if it has none.
_UNSET: Final[Mapping[str, Any]] = MappingProxyType(
    {
        name: field.unset
        for name, field in mapping_of(ChatCompletionStoreMessage).fields.items()
        if field.unset is not NOTHING
    }
)


class Parts(NamedTuple):
    """The parts of a record that a stored completion is made of.

    Attributes:
        kept: The fields of the completion that stay, each with its number.
        changed: The others, a ChatCompletion.
        asked: The fields of the request that a stored completion repeats.
        call_id: The name of the exchange, if it has one.
    """

    kept: Sequence[tuple[int, bytes]]
    changed: bytes
    asked: bytes
    call_id: str

    @property
    def size(self) -> int:
        """How many bytes have to be read."""
        return len(self.changed) + len(self.asked)


def parts_of(record: bytes) -> Parts:
    """Takes a record apart.

    Raises:
        WireError: It is not the binary form of a message.
    """
    completion = joined(record, CompletionRecord.COMPLETION_FIELD_NUMBER)
    request = joined(record, CompletionRecord.REQUEST_FIELD_NUMBER)
    call_id = joined(record, CompletionRecord.CALL_ID_FIELD_NUMBER).decode()
    kept: list[tuple[int, bytes]] = []
    changed: list[bytes] = []
    for span in spans(completion):
        field = part(completion, span.start, span.end)
        if span.number in _CHANGED:
            changed.append(field)
        else:
            kept.append((span.number, field))
    asked = [
        part(request, span.start, span.end) for span in spans(request) if span.number in _REPEATED
    ]
    return Parts(kept, b"".join(changed), b"".join(asked), call_id)


def changed_fields(parts: Parts, completion_id: str, metadata: Mapping[str, str]) -> bytes:
    """The fields of a completion that differ from those of the answer.

    They are those of the answer. Where it has none, they are those of the request, by the option
    `stored_from`. The identifier and the metadata are those in the store.

    Raises:
        ConversionError: They cannot be read.
    """
    answer = _tree(parts.changed, ChatCompletion)
    asked = _tree(parts.asked, ChatCompletionRequest)
    for name, source in _STORED_FROM.items():
        if name not in answer and source in asked:
            answer[name] = asked[source]
    answer[_ID] = completion_id
    answer[_METADATA] = dict(metadata)
    if parts.call_id:
        answer.setdefault(_REQUEST_ID, parts.call_id)
    return _binary(answer, ChatCompletion)


def put_together(parts: Parts, changed: bytes) -> bytes:
    """The binary form of a completion, its fields in the order of their numbers."""
    fields = [*parts.kept]
    fields += [(span.number, changed[span.start : span.end]) for span in spans(changed)]
    fields.sort(key=lambda field: field[0])
    return b"".join(data for _, data in fields)


def messages_in(record: bytes, completion_id: str) -> dict[str, bytes]:
    """The messages of a record's request, each in binary form, by their identifiers.

    A message that has an identifier in the request keeps it, if no message before has it.

    Args:
        record: The record.
        completion_id: The identifier of the completion.

    Raises:
        WireError: The record is not the binary form of a message.
    """
    request = joined(record, CompletionRecord.REQUEST_FIELD_NUMBER)
    messages = [
        part(request, span.value, span.end) for span in spans(request) if span.number == _MESSAGES
    ]
    found: dict[str, bytes] = {}
    ours = {f"{completion_id}-{number}" for number in range(len(messages))}
    for number, message in enumerate(messages):
        own = _own_id(message)
        is_free = own and own not in found and own not in ours
        found[own if is_free else f"{completion_id}-{number}"] = message
    return found


def _own_id(message: bytes) -> str:
    """The identifier that a message of a request has; empty if it has none.

    OpenAI documents none, so that it is in the residue.
    """
    residue = joined(message, ChatCompletionMessageParam.RESIDUE_FIELD_NUMBER)
    if not has(residue, _QUOTED_ID) and not has(residue, b"\\u"):
        return ""
    try:
        members = parse(Residue.FromString(residue).extra_json or "{}", allow_nan=True)
    except (ConversionError, DecodeError):
        return ""  # it has no JSON form, which is reported where it is read
    own = members.get(_MESSAGE_ID) if isinstance(members, dict) else None
    return own if isinstance(own, str) and own.isprintable() else ""


def stored_message(message: bytes, message_id: str) -> bytes:
    """A message of a request as a ChatCompletionStoreMessage, in binary form.

    Content parts get a field of their own. What a stored message has no field for is in its
    residue.

    Raises:
        ConversionError: The message cannot be read.
    """
    tree = _tree(message, ChatCompletionMessageParam)
    content = tree.pop(_CONTENT, None)
    tree[_PARTS if isinstance(content, list) else _TEXT] = content
    tree[_MESSAGE_ID] = message_id
    return _binary({**_UNSET, **tree}, ChatCompletionStoreMessage)


def _tree(data: bytes, message_type: type[Message]) -> dict[str, Any]:
    """The JSON of a message. Fields that this version does not know are left out."""
    text = binary_to_json(data, message_type, allow_nan=True, ignore_unknown_fields=True)
    tree: dict[str, Any] = parse(text, allow_nan=True)
    return tree


def _binary(tree: dict[str, Any], message_type: type[Message]) -> bytes:
    return json_to_binary(dump(tree).encode(), message_type, allow_nan=True)
