"""The messages of requests and answers in the form of OpenTelemetry's conventions for GenAI.

Callers and upstreams choose what is in them, so everything is bounded, and is something that OTLP
can represent.
"""

from __future__ import annotations

import json
import math
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from google.protobuf.message import DecodeError

from chatpb import ConversionError, fold, to_dict
from chatpb._wire import WireError, spans
from chatpb.v1.chat_completion_chunk_pb2 import ChatCompletionChunk
from chatpb.v1.chat_completion_message_param_pb2 import ChatCompletionMessageParam
from chatpb.v1.chat_completion_pb2 import ChatCompletion
from chatpb.v1.chat_completion_request_pb2 import ChatCompletionRequest
from chatpb_server.watching.bounded import representable

#: The most characters of the texts in all input messages of a call, and in all output messages.
MOST_TEXT: Final = 64 * 1024
_MOST_MESSAGES: Final = 1024
_MOST_PARTS: Final = 1024
#: The most characters of another string, free JSON for example, and the most bytes of a residue.
_MOST_JSON: Final = 1024
#: The strings that may be longer: what is sent of them is cut.
_TEXTS: Final = frozenset(
    {"text", "refusal", "reasoning", "reasoning_content", "arguments", "input", "url"}
)
_MOST_WORD: Final = 64
#: How deep the arguments of a tool may nest, and their largest integer, to be sent as JSON values.
_MOST_DEPTH: Final = 32
_MOST_INTEGER: Final = 1 << 63
_MIME_TYPE: Final = re.compile(r"data:([\w.+-]{1,64}/[\w.+-]{1,64})[;,]", re.ASCII)

Message = dict[str, Any]


class _Room:
    """How many characters and parts may follow.

    Attributes:
        left: How many characters may follow.
        is_cut: Whether something did not fit.
    """

    def __init__(self) -> None:
        self.left = MOST_TEXT
        self.is_cut = False
        self._parts_left = _MOST_PARTS

    def text(self, value: object) -> str:
        """As much of a text as there is room for."""
        kept = self._cut(value, self.left)
        self.left -= len(kept)
        return kept

    def word(self, value: object) -> str:
        """A word that the API defines. It takes no room, but has a limit of its own."""
        return self._cut(value, _MOST_WORD)

    def _cut(self, value: object, length: int) -> str:
        text = value if isinstance(value, str) else json.dumps(value)  # servers add other types
        self.is_cut |= length < len(text)
        return representable(text[:length])

    def parts(self, parts: Iterator[Message]) -> list[Message]:
        """As many parts as there is room for."""
        kept = list(islice(parts, self._parts_left))
        self._parts_left -= len(kept)
        self.is_cut |= next(parts, None) is not None
        return kept


def input_messages(request: bytes) -> tuple[list[Message], bool]:
    """The messages of a request in binary form, and whether something is left out."""
    number = ChatCompletionRequest.MESSAGES_FIELD_NUMBER
    room = _Room()
    found: list[Message] = []
    try:
        places = (span for span in spans(request) if span.number == number)
        newest = deque(places, _MOST_MESSAGES)
        for span in reversed(newest):
            if room.left <= 0:
                break
            data = request[span.value : span.end]
            message = ChatCompletionMessageParam.FromString(data)
            _reduce(message, room)
            found.append(_message(to_dict(message), room))
    except (ConversionError, DecodeError, WireError):
        return found[::-1], True
    is_full = len(newest) == _MOST_MESSAGES  # then there may have been more
    return found[::-1], room.is_cut or is_full or len(found) < len(newest)


def output_messages(completion: bytes, chunks: Sequence[bytes]) -> tuple[list[Message], bool]:
    """The messages of an answer, one for each choice, and whether something is left out.

    Args:
        completion: The completion; empty for a stream.
        chunks: The chunks of a stream.
    """
    room = _Room()
    if not completion and not chunks:
        return [], False
    try:
        if completion:
            answer = ChatCompletion.FromString(completion)
        else:
            answer = fold(map(ChatCompletionChunk.FromString, chunks))
        _reduce(answer, room)
        choices = to_dict(answer).get("choices", [])
    except (ConversionError, DecodeError, ValueError):
        return [], True
    found = []
    for choice in choices:
        message = _message({"role": "assistant"} | _members(choice.get("message")), room)
        found.append(message | {"finish_reason": room.word(choice.get("finish_reason") or "error")})
    return found, room.is_cut


def _reduce(message: Any, room: _Room) -> None:
    """Leaves out of a protobuf message what is not sent, or is too much.

    To make JSON of a message holds Python's lock, which calls need.
    """
    for field, value in message.ListFields():
        if field.name == "logprobs":
            message.ClearField(field.name)
        elif field.name == "residue" and value.ByteSize() > _MOST_JSON:
            message.ClearField(field.name)
            room.is_cut = True
        elif isinstance(value, str):
            if field.name not in _TEXTS and len(value) > _MOST_JSON:
                message.ClearField(field.name)
                room.is_cut = True
        elif field.message_type is None:
            continue
        elif not field.is_repeated:
            _reduce(value, room)
        elif field.message_type.GetOptions().map_entry:
            message.ClearField(field.name)
        else:
            room.is_cut |= len(value) > _MOST_PARTS
            del value[_MOST_PARTS:]
            for item in value:
                _reduce(item, room)


def _message(message: Mapping[str, Any], room: _Room) -> Message:
    role = room.word(message.get("role") or "user")
    parts = room.parts(_parts(message, room))
    if role == "tool":
        text = "".join(part["content"] for part in parts if part["type"] == "text")
        response = {"type": "tool_call_response", "response": text}
        if call_id := message.get("tool_call_id"):
            response["id"] = room.text(call_id)
        parts = [response]
    name = message.get("name")
    return {"role": role, "parts": parts} | ({"name": room.text(name)} if name else {})


def _parts(message: Mapping[str, Any], room: _Room) -> Iterator[Message]:
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    if isinstance(reasoning, str) and reasoning:
        yield {"type": "reasoning", "content": room.text(reasoning)}
    content = message.get("content")
    if isinstance(content, str):
        yield {"type": "text", "content": room.text(content)}
    for part in content if isinstance(content, list) else ():
        if isinstance(part, dict):
            yield _part(part, room)
    if refusal := message.get("refusal"):
        yield {"type": "refusal", "content": room.text(refusal)}
    calls = message.get("tool_calls")
    for call in map(_members, calls if isinstance(calls, list) else ()):
        function = _members(call.get("function") or call.get("custom"))
        yield _tool_call(call.get("id"), function, room)
    if function := _members(message.get("function_call")):
        yield _tool_call(None, function, room)


def _part(part: Mapping[str, Any], room: _Room) -> Message:
    """A part of a message. The bytes of images, sounds and files are left out."""
    kind = room.word(part.get("type"))
    value = part.get(kind)
    if kind in ("text", "refusal"):
        return {"type": kind, "content": room.text(value or "")}
    members = _members(value)
    if kind == "image_url":
        url = members.get("url") or ""
        if not isinstance(url, str) or url[:5].lower() != "data:":
            return {"type": "uri", "modality": "image", "uri": room.text(url)}
        mime_type = _MIME_TYPE.match(url)
        return _blob("image", room) | ({"mime_type": mime_type[1]} if mime_type else {})
    if kind == "input_audio":
        return _blob("audio", room) | {"mime_type": "audio/" + room.word(members.get("format"))}
    if kind == "file":
        if file_id := members.get("file_id"):
            return {"type": "file", "modality": "document", "file_id": room.text(file_id)}
        return _blob("document", room)
    return {"type": kind}


def _blob(modality: str, room: _Room) -> Message:
    room.is_cut = True
    return {"type": "blob", "modality": modality, "content": ""}


def _tool_call(call_id: object, function: Mapping[str, Any], room: _Room) -> Message:
    found: Message = {"type": "tool_call", "name": room.text(function.get("name") or "")}
    if call_id:
        found["id"] = room.text(call_id)
    text = function.get("arguments", function.get("input")) or ""
    kept = room.text(text)
    return found | {"arguments": _json(kept) if kept == text else kept}


def _json(text: str) -> Any:
    """The value of a JSON text; the text itself if it is not JSON, or OTLP has no such value."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if _is_plain(value, _MOST_DEPTH) else text


def _is_plain(value: Any, depth: int) -> bool:
    if isinstance(value, str):
        return representable(value) == value
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return -_MOST_INTEGER <= value < _MOST_INTEGER
    if isinstance(value, dict):
        value = [*value, *value.values()]
    return not isinstance(value, list) or (
        depth > 0 and all(_is_plain(item, depth - 1) for item in value)
    )


def _members(value: object) -> dict[str, Any]:
    """The members of an object; those of anything else are none."""
    return value if isinstance(value, dict) else {}
