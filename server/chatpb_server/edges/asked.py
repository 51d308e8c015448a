"""What the body of a request asks for: which model, and whether as a stream."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import orjson
from google.protobuf.message import DecodeError

from chatpb._errors import ConversionError
from chatpb._mapping.convert import native_binary
from chatpb._mapping.text import count, has
from chatpb._wire import spans
from chatpb.v1.chat_completion_request_pb2 import ChatCompletionRequest
from chatpb.v1.residue_pb2 import Residue

#: The members that the relay decides by. If one is repeated, an upstream may take another one.
_DECISIVE: Final = ("model", "stream")
_QUOTED: Final = tuple(b'"%s"' % name.encode() for name in _DECISIVE)
_MODEL: Final = ChatCompletionRequest.MODEL_FIELD_NUMBER
_STREAM: Final = ChatCompletionRequest.STREAM_FIELD_NUMBER
_STORE: Final = ChatCompletionRequest.STORE_FIELD_NUMBER
_RESIDUE: Final = ChatCompletionRequest.RESIDUE_FIELD_NUMBER
#: How escapes of lower-case letters begin in JSON. No encoder writes them.
_ESCAPED_LETTERS: Final = (b"\\u006", b"\\u007")
_KINDS: Final[Mapping[type, str]] = {
    str: "a string",
    int: "an integer",
    float: "a decimal number",
    list: "an array",
    dict: "an object",
}


class Asked(NamedTuple):
    """What a request asks for.

    Attributes:
        model: The model that it names.
        is_stream: Whether it asks for a stream.
        store: Whether the completion is to be stored; None if the request does not say.
    """

    model: str
    is_stream: bool
    store: bool | None


class Misasked(NamedTuple):
    """Why a request is refused.

    Attributes:
        message: For the caller.
        code: OpenAI's word for the error, if it has one.
        param: The member that caused it, if it is one.
    """

    message: str
    code: str | None = None
    param: str | None = None


def asked_plainly(body: bytes) -> Asked | None:
    """What `read_asked` returns, without Python's lock or in short steps.

    None if that cannot be told so, or the request is to be refused.
    """
    if _may_repeat(body):
        return None
    try:
        binary = native_binary(body, ChatCompletionRequest, allow_nan=True)
    except ConversionError:
        return None
    if binary is None:
        return None
    model, stream = "", False
    store: bool | None = None
    for span in spans(binary):
        if span.number == _RESIDUE and any(
            name.encode() in binary[span.value : span.end] for name in _DECISIVE
        ):
            return None
        if span.number == _MODEL:
            model = binary[span.value : span.end].decode()
        elif span.number == _STREAM:
            stream = binary[span.value : span.end] != b"\0"
        elif span.number == _STORE:
            store = binary[span.value : span.end] != b"\0"
    return Asked(model, stream, store)


def read_asked(body: bytes) -> Asked | Misasked:
    """What a request asks for, or why it is refused.

    It is refused if it is not a JSON object, or can be understood in two ways.
    """
    try:
        try:
            members = orjson.loads(body)
        except orjson.JSONDecodeError:
            # Lone surrogates, and numbers as large as they like; as integers, those with more
            # digits than Python converts would be refused. Only UTF-8 is read, as by an upstream.
            members = json.loads(body.decode("utf-8-sig"), parse_int=float)
    except (ValueError, RecursionError):
        members = None
    if not isinstance(members, dict):
        return Misasked("We could not parse the JSON body of your request. Expected a JSON object.")
    for name in _DECISIVE if _may_repeat(body) else ():
        if _count(body, name) > 1:
            return Misasked(f"The request has the member '{name}' more than once.", param=name)
    model, stream = members.get("model"), members.get("stream")
    if stream is not None and not isinstance(stream, bool):
        kind = _KINDS[type(stream)]
        text = f"Invalid type for 'stream': expected a boolean, but got {kind} instead."
        return Misasked(text, "invalid_type", "stream")
    store = members.get("store")
    model = model if isinstance(model, str) else ""
    return Asked(model, stream is True, store if isinstance(store, bool) else None)


def may_hide(residues: Sequence[bytes]) -> bool:
    """Whether `hidden_in` has to read the residue of a request."""
    return any(has(residue, word) for residue in residues for word in (b"\\u", *_QUOTED))


def hidden_in(residues: Sequence[bytes]) -> set[str]:
    """The members of a residue whose fields the relay decides by.

    Args:
        residues: The residue of the request, in binary form, in as many pieces as it came.
    """
    hidden: set[str] = set()
    for residue in residues:
        try:
            members = json.loads(Residue.FromString(residue).extra_json or "{}", parse_int=float)
        except (ValueError, RecursionError, DecodeError):
            continue  # it cannot be written as JSON, which is reported
        if isinstance(members, dict):
            hidden |= set(_DECISIVE) & members.keys()
    return hidden


def _may_repeat(body: bytes) -> bool:
    """Whether a JSON text can have one of the members twice: for nearly all texts, False."""
    if any(count(body, name) > 1 for name in _QUOTED):
        return True
    return any(has(body, start) for start in _ESCAPED_LETTERS)


def _count(body: bytes, name: str) -> int:
    """How often the object of a JSON text has a member."""
    pairs = json.loads(body.decode("utf-8-sig"), parse_int=float, object_pairs_hook=tuple)
    return sum(1 for key, _ in pairs if key == name)
