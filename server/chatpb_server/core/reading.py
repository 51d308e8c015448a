"""What upstreams sent, read by functions that may take long, for `apart`.

Another process imports this module, so it imports nothing but the library.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from google.protobuf.message import DecodeError

from chatpb import ConversionError, binary_to_json, fold, json_to_binary, to_dict
from chatpb._mapping.canonical import canonical
from chatpb._mapping.text import dump, parse
from chatpb._rpc.offload import LARGE
from chatpb._stream.compact import Restorer
from chatpb._stream.errors import DETAIL, error_member, find_error
from chatpb._stream.errors import has_error as choice_has_error
from chatpb._wire import embedded, field_at, spans
from chatpb.v1.chat_completion_chunk_pb2 import ChatCompletionChunk, ChunkChoice
from chatpb.v1.chat_completion_pb2 import ChatCompletion
from chatpb.v1.completion_record_pb2 import CompletionRecord

_CHOICES: Final = ChatCompletionChunk.CHOICES_FIELD_NUMBER
_RESIDUE: Final = ChunkChoice.RESIDUE_FIELD_NUMBER
_TELLING: Final = frozenset(
    (ChunkChoice.INDEX_FIELD_NUMBER, ChunkChoice.FINISH_REASON_FIELD_NUMBER, _RESIDUE)
)
#: What such a residue has.
_WORDS: Final = (b"finish_reason", b"error")
#: Chunks with fewer bytes are parsed as they are.
_SHORT: Final = 4 * 1024
#: How many fields are looked at, and of how many bytes.
_MOST_FIELDS: Final = 64 * 1024
_MOST_TELLING: Final = 64 * 1024
#: Of a stream with more choices it is not known whether it is complete. OpenAI allows 128.
MOST_CHOICES: Final = 4096


def json_of(data: bytes, message_type: Any) -> bytes:
    """The JSON text of a message in binary form, with NaN where an upstream has written it.

    Raises:
        ConversionError: The message has no JSON form.
    """
    return binary_to_json(data, message_type, allow_nan=True)


def completion_in(text: bytes) -> bytes | None:
    """The binary form of a completion; None if the text is, or has, an error and no answer.

    Raises:
        ConversionError: It is neither.
    """
    found = find_error(text)
    if found is not None and not found.leaves_answer:
        return None
    return json_to_binary(text, ChatCompletion, allow_nan=True)


def has_error(text: bytes) -> bool:
    """Whether a text is, or has, an error."""
    try:
        return find_error(text) is not None
    except ConversionError:
        return False


def brief(text: bytes) -> bytes:
    """A long error with nothing but its texts, cut, which can be read at once.

    Returns:
        Its JSON text; nothing if it is not an error in JSON.
    """
    try:
        value = parse(text, allow_nan=True)
    except ConversionError:
        return b""
    if isinstance(value, list) and value:
        value = value[0]
    error = (error_member(value) or value) if isinstance(value, dict) else None
    if not isinstance(error, dict):
        return b""
    told = {name: error.get(name) for name in ("type", "param", "code", "status")}
    told["message"] = text_of(value) or text_of(error)
    texts = {name: word[:LARGE] for name, word in told.items() if isinstance(word, str)}
    numbers = {name: word for name, word in told.items() if isinstance(word, int)}
    return dump({"error": texts | numbers}).encode()


def text_of(value: Any) -> str:
    """What an error says to people, wherever it does that; empty if it says nothing.

    FastAPI's errors are a list of places with a text.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "; ".join(filter(None, map(text_of, value)))
    if not isinstance(value, dict):
        return ""
    for name in ("error", "message", DETAIL, "msg"):
        if text := text_of(value.get(name)):
            place = value.get("loc")
            where = ".".join(map(str, place)) if isinstance(place, list) else ""
            return f"{where}: {text}" if where else text
    return ""


def is_message(data: bytes, message_type: Any) -> bool:
    """Whether bytes are the binary form of a message."""
    try:
        message_type.FromString(data)
    except DecodeError:
        return False
    return True


def restored(before: bytes | None, whole: Sequence[bytes], compact: Sequence[bytes]) -> list[bytes]:
    """What a `Restorer` that has followed a chunk restores.

    Raises:
        ConversionError: What comes cannot be restored.
    """
    restorer = Restorer()
    if before is not None:
        restorer.follow(before)
    try:
        return restorer.restore(whole, compact)
    except (DecodeError, ValueError) as error:
        raise ConversionError("not a chunk") from error


def finished_in(chunks: bytes) -> dict[int, bool] | None:
    """Which choices have a finish reason, or an error, in chunks that were joined to one.

    Returns:
        For the index of each choice whether it has; None if there are too many.
    """
    finished: dict[int, bool] = {}
    outline = _outline(chunks) if len(chunks) > _SHORT else chunks
    if outline is None:
        return None
    choices = ChatCompletionChunk.FromString(outline).choices
    if len(choices) > MOST_CHOICES:
        return None
    for choice in choices:
        is_finished = bool(choice.finish_reason) or (
            choice.HasField("residue") and _has_ended(choice)
        )
        finished[choice.index] = finished.get(choice.index, False) or is_finished
    return finished


def _outline(chunks: bytes) -> bytes | None:
    """Chunks without what does not tell whether their choices are finished.

    Made in short steps. None if there are too many fields, or the residues are too large.
    """
    pieces: list[bytes] = []
    size = 0
    budget = _MOST_FIELDS
    for span in spans(chunks):
        budget -= 1
        if span.number != _CHOICES:
            if budget < 0:
                return None
            continue
        kept: list[bytes] = []
        at = span.value
        while at < span.end:
            start = at
            number, _, at = field_at(chunks, start)
            budget -= 1
            if budget < 0:
                return None
            if number in _TELLING and (
                number != _RESIDUE or any(chunks.find(word, start, at) >= 0 for word in _WORDS)
            ):
                size += at - start
                if size > _MOST_TELLING:
                    return None
                kept.append(chunks[start:at])
        pieces.append(embedded(_CHOICES, (b"".join(kept),)))
    return b"".join(pieces)


def _has_ended(choice: Any) -> bool:
    """Whether the residue has a word for the finish reason, or an error.

    Nothing but a word is a reason: some servers send an empty text in each chunk.
    """
    members = to_dict(choice, allow_nan=True)
    reason = members.get("finish_reason")
    return (isinstance(reason, str) and bool(reason.strip())) or choice_has_error(members)


def folded(record: bytes) -> bytes:
    """The completion that the chunks of a record make, in binary form.

    Raises:
        ConversionError: They make none.
    """
    try:
        return canonical(fold(CompletionRecord.FromString(record).chunks))
    except DecodeError as error:
        raise ConversionError("not a chunk") from error
