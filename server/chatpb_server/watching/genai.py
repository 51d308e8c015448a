"""What OpenTelemetry's conventions for GenAI say about a request and its answer, without contents.

The names are those of the newest release of the conventions. All values are cut or left out where
a caller or an upstream chooses their length.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from google.protobuf.message import DecodeError
from grpc import StatusCode

from chatpb import ConversionError, to_dict
from chatpb._wire import WireError, embedded, field_at, spans
from chatpb.v1.chat_completion_chunk_pb2 import ChatCompletionChunk, ChunkChoice
from chatpb.v1.chat_completion_pb2 import ChatCompletion, Choice
from chatpb.v1.chat_completion_request_pb2 import ChatCompletionRequest
from chatpb_server.core.offload import json_to_binary_in_thread
from chatpb_server.core.upstream import UpstreamError

Value = str | bool | int | float | Sequence[str]

#: The attribute for the texts at which an answer stops.
STOP_SEQUENCES: Final = "gen_ai.request.stop_sequences"
#: The most characters of a text.
MOST_LENGTH: Final = 200
#: A larger request in JSON is not read.
_MOST_JSON: Final = 8 * 1024 * 1024
#: How many fields of a message are looked at, and the most bytes of one that is read.
_MOST_FIELDS: Final = 4096
_MOST_BYTES: Final = 16 * 1024
_MOST_CHOICES: Final = 128
_MOST_STOPS: Final = 4

#: Attributes of the request, by the names of its members.
_PARAMETERS: Final[Mapping[str, str]] = {
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "max_tokens": "gen_ai.request.max_tokens",
    "max_completion_tokens": "gen_ai.request.max_tokens",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "seed": "gen_ai.request.seed",
    "service_tier": "openai.request.service_tier",
    "reasoning_effort": "gen_ai.request.reasoning.level",
}
_READ: Final = frozenset(
    ChatCompletionRequest.DESCRIPTOR.fields_by_name[name].number
    for name in (*_PARAMETERS, "n", "stop", "response_format", "modalities")
)
_DOUBLES: Final = ("temperature", "top_p", "frequency_penalty", "presence_penalty")
#: What the convention calls the formats of answers.
_OUTPUT_TYPES: Final = {"text": "text", "json_object": "json", "json_schema": "json"}


def request_binary(request: bytes, is_json: bool) -> bytes:
    """A request in binary form; empty if it cannot be read. To be called in a thread."""
    if not is_json:
        return request
    if len(request) > _MOST_JSON:
        return b""
    try:
        return json_to_binary_in_thread(request, ChatCompletionRequest)
    except ConversionError:
        return b""


def request_attributes(request: bytes) -> dict[str, Value]:
    """The attributes for the parameters of a request in binary form."""
    try:
        read = ChatCompletionRequest.FromString(b"".join(_pieces(request, _READ)))
        members = to_dict(read)
    except (ConversionError, DecodeError, WireError):
        return {}
    found: dict[str, Value] = {}
    for name, attribute in _PARAMETERS.items():
        value = members.get(name)
        if value is not None:
            found[attribute] = _short(float(value) if name in _DOUBLES else value)
    if members.get("n", 1) != 1:
        found["gen_ai.request.choice.count"] = members["n"]
    stop = members.get("stop")
    if stop:
        stops = [stop] if isinstance(stop, str) else stop[:_MOST_STOPS]
        found[STOP_SEQUENCES] = [str(text)[:MOST_LENGTH] for text in stops]
    kind = (members.get("response_format") or {}).get("type")
    if "audio" in (members.get("modalities") or ()):
        found["gen_ai.output.type"] = "speech"
    elif kind in _OUTPUT_TYPES:
        found["gen_ai.output.type"] = _OUTPUT_TYPES[kind]
    return found


def answer_attributes(ends: Sequence[bytes], *, is_stream: bool) -> dict[str, Value]:
    """The attributes for a completion, or for the first and last chunks of a stream.

    A choice that did not end has the reason ``error``.
    """
    kind: Any = ChatCompletionChunk if is_stream else ChatCompletion
    found: dict[str, Value] = {}
    reasons: dict[int, str] = {}
    for data in ends:
        try:
            members = to_dict(kind.FromString(b"".join(_answer_pieces(data, kind))))
        except (ConversionError, DecodeError, WireError):
            continue
        for name in ("service_tier", "system_fingerprint"):
            if value := members.get(name):
                found[f"openai.response.{name}"] = _short(value)
        for choice in members.get("choices", ()):
            index, reason = choice.get("index", 0), choice.get("finish_reason")
            reasons[index] = reason or reasons.get(index, "error")
        found |= _usage(members.get("usage") or {})
    if reasons:
        found["gen_ai.response.finish_reasons"] = [reasons[index] for index in sorted(reasons)]
    return found


def _usage(usage: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    prompt = usage.get("prompt_tokens_details") or {}
    completion = usage.get("completion_tokens_details") or {}
    for name, tokens in (
        ("cache_read.input_tokens", prompt.get("cached_tokens")),
        ("reasoning.output_tokens", completion.get("reasoning_tokens")),
    ):
        if tokens is not None:
            yield f"gen_ai.usage.{name}", tokens


def _pieces(data: bytes, wanted: frozenset[int]) -> Iterator[bytes]:
    """The fields that are wanted and not large."""
    for span in islice(spans(data), _MOST_FIELDS):
        if span.number in wanted and span.end - span.start <= _MOST_BYTES:
            yield data[span.start : span.end]


def _answer_pieces(data: bytes, kind: Any) -> Iterator[bytes]:
    choice_kind: Any = ChunkChoice if kind is ChatCompletionChunk else Choice
    ends = {choice_kind.INDEX_FIELD_NUMBER, choice_kind.FINISH_REASON_FIELD_NUMBER}
    wanted = frozenset(
        {
            kind.USAGE_FIELD_NUMBER,
            kind.SERVICE_TIER_FIELD_NUMBER,
            kind.SYSTEM_FINGERPRINT_FIELD_NUMBER,
        }
    )
    yield from _pieces(data, wanted)
    choices = (span for span in spans(data) if span.number == kind.CHOICES_FIELD_NUMBER)
    for span in islice(choices, _MOST_CHOICES):
        fields, at = [], span.value
        while at < span.end:  # in place: a message can be large
            number, _, end = field_at(data, at)
            if number in ends:
                fields.append(data[at:end])
            at = end
        yield embedded(kind.CHOICES_FIELD_NUMBER, (b"".join(fields),))


def _short(value: Any) -> Value:
    return value[:MOST_LENGTH] if isinstance(value, str) else value


def error_type(code: StatusCode, error: BaseException | None) -> str:
    """What a failed call has as ``error.type``: the upstream's HTTP status, or the gRPC status."""
    if isinstance(error, UpstreamError) and error.http_status >= 400:
        return str(error.http_status)
    return code.name
