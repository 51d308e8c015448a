"""Contents of calls for traces, if the operator asks for them, in the form of the conventions.

Only what the schema of the messages defines is kept, in a bounded size; the newest messages count.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from google.protobuf.message import DecodeError
from grpc import StatusCode

from chatpb import ConversionError, fold, to_dict
from chatpb._wire import WireError, spans
from chatpb.v1.chat_completion_chunk_pb2 import ChatCompletionChunk
from chatpb.v1.chat_completion_message_param_pb2 import ChatCompletionMessageParam
from chatpb.v1.chat_completion_pb2 import ChatCompletion
from chatpb.v1.chat_completion_request_pb2 import ChatCompletionRequest
from chatpb_server.core.call import Call, Recorder, Recording
from chatpb_server.core.failure import Failure

#: The most bytes that are kept of one call, and of all calls until their spans are sent.
MOST_CALL: Final = 1024 * 1024
MOST_TOTAL: Final = 64 * 1024 * 1024
#: The most characters of the texts in all input messages of a call, and in all output messages.
MOST_TEXT: Final = 64 * 1024
_MOST_MESSAGES: Final = 1024

Message = dict[str, Any]


class Contents(Recording):
    """The contents of one call.

    Attributes:
        request: The request.
        is_json: Whether it is JSON, and not in binary form.
        completion: The completion; empty before, and for a stream.
        chunks: The chunks of a stream.
        size: How many bytes they have.
        is_cut: Whether something is left out.
    """

    def __init__(self, owner: ContentRecorder, call_id: str, *, is_kept: bool = True) -> None:
        self._owner = owner
        self._is_kept = is_kept
        self._call_id = call_id
        self.request = b""
        self.is_json = False
        self.completion = b""
        self.chunks: list[bytes] = []
        self.size = 0
        self.is_cut = False

    def asked(self, request: bytes, *, is_json: bool = False) -> None:
        """Keeps the request."""
        if self._has_room(len(request)):
            self.request, self.is_json = request, is_json

    def refused(self) -> None:
        """Does nothing: nothing was asked of an upstream."""

    def begun(self) -> None:
        """Does nothing."""

    def answered(self, completion: bytes) -> None:
        """Keeps the completion."""
        if self._has_room(len(completion)):
            self.completion = completion

    def came(self, chunks: Sequence[bytes]) -> None:
        """Keeps chunks."""
        if not self.is_cut and self._has_room(sum(map(len, chunks))):
            self.chunks += chunks

    async def end(self, code: StatusCode, failure: Failure | None) -> None:  # noqa: ARG002
        """Forgets all, unless the span of the call has taken it."""
        if self._owner.take(self._call_id) is not None:
            self.forget()

    def forget(self) -> None:
        """Holds nothing any more."""
        self._owner.held -= self.size
        self.size = 0
        self.request = self.completion = b""
        self.chunks = []

    def _has_room(self, size: int) -> bool:
        if (
            not self._is_kept
            or self.size + size > MOST_CALL
            or self._owner.held + size > MOST_TOTAL
        ):
            self.is_cut = True
            return False
        self.size += size
        self._owner.held += size
        return True


class ContentRecorder(Recorder):
    """Keeps the contents of running calls.

    Attributes:
        held: How many bytes are kept.
    """

    def __init__(self) -> None:
        self.held = 0
        self._running: dict[str, Contents] = {}

    def begin(self, call: Call) -> Recording:
        """Begins to keep the contents of a call, unless its caller wishes them not to be kept."""
        if call.wish != "all":
            return Contents(self, call.id, is_kept=False)
        contents = self._running[call.id] = Contents(self, call.id)
        return contents

    def take(self, call_id: str) -> Contents | None:
        """What was kept of a call, for the one who takes it and then calls `forget`."""
        return self._running.pop(call_id, None)


class _Room:
    """How many characters may follow.

    Attributes:
        is_cut: Whether something did not fit.
    """

    def __init__(self) -> None:
        self.left = MOST_TEXT
        self.is_cut = False

    def text(self, text: str) -> str:
        """As much of a text as there is room for."""
        kept = text[: self.left]
        self.is_cut |= len(kept) < len(text)
        self.left -= len(kept)
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
            found.append(_message(to_dict(ChatCompletionMessageParam.FromString(data)), room))
    except (ConversionError, DecodeError, WireError):
        return found[::-1], True
    is_full = len(newest) == _MOST_MESSAGES  # then there may have been more
    return found[::-1], room.is_cut or is_full or len(found) < len(newest)


def output_messages(contents: Contents) -> tuple[list[Message], bool]:
    """The messages of an answer, one for each choice, and whether something is left out."""
    room = _Room()
    if not contents.completion and not contents.chunks:
        return [], False
    try:
        if contents.completion:
            completion = ChatCompletion.FromString(contents.completion)
        else:
            completion = fold(map(ChatCompletionChunk.FromString, contents.chunks))
        choices = to_dict(completion).get("choices", [])
    except (ConversionError, DecodeError, ValueError):
        return [], True
    found = []
    for choice in choices:
        message = _message({"role": "assistant"} | (choice.get("message") or {}), room)
        found.append(message | {"finish_reason": choice.get("finish_reason") or "error"})
    return found, room.is_cut


def _message(message: Mapping[str, Any], room: _Room) -> Message:
    role = message.get("role") or "user"
    parts = list(_parts(message, room))
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
    for call in message.get("tool_calls") or ():
        yield _tool_call(call.get("id"), call.get("function") or call.get("custom") or {}, room)
    if function := message.get("function_call"):
        yield _tool_call(None, function, room)


def _part(part: Mapping[str, Any], room: _Room) -> Message:
    """A part of a message. The bytes of images, sounds and files are left out."""
    kind = str(part.get("type"))
    value = part.get(kind)
    if kind in ("text", "refusal"):
        return {"type": kind, "content": room.text(str(value or ""))}
    members = value if isinstance(value, dict) else {}
    if kind == "image_url":
        url = str(members.get("url", ""))
        if not url.startswith("data:"):
            return {"type": "uri", "modality": "image", "uri": room.text(url)}
        mime_type = url[len("data:") : 100].partition(";")[0]
        return _blob("image", room) | {"mime_type": mime_type}
    if kind == "input_audio":
        return _blob("audio", room) | {"mime_type": f"audio/{members.get('format')}"}
    if kind == "file":
        if file_id := members.get("file_id"):
            return {"type": "file", "modality": "document", "file_id": room.text(file_id)}
        return _blob("document", room)
    return {"type": room.text(kind)}


def _blob(modality: str, room: _Room) -> Message:
    room.is_cut = True
    return {"type": "blob", "modality": modality, "content": ""}


def _tool_call(call_id: str | None, function: Mapping[str, Any], room: _Room) -> Message:
    found: Message = {"type": "tool_call", "name": room.text(function.get("name") or "")}
    if call_id:
        found["id"] = room.text(call_id)
    text = function.get("arguments", function.get("input")) or ""
    arguments: Any = room.text(text)
    if arguments == text:
        try:
            arguments = json.loads(text)
        except (ValueError, RecursionError):
            arguments = text
    return found | {"arguments": arguments}
