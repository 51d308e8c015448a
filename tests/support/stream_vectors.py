"""The golden vectors of streams: folded, unfolded, compact, and as event streams.

tests/vectors/README.md has the laws. People write the inputs, and `golden` gives the rest.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from google.protobuf import text_format

from chatpb import ConversionError, fold, from_json, unfold
from chatpb._mapping.canonical import canonical
from chatpb._stream.compact import Compactor, Restorer
from chatpb._wire import delimited, embedded, varint
from chatpb.sse import ChunkDecoder
from chatpb.v1 import ChatCompletion, ChatCompletionChunk, StreamChatCompletionResponse

STREAMS: Final = Path(__file__).parents[1] / "vectors" / "stream"
MANIFEST: Final = STREAMS / "manifest.json"
_CHUNKS: Final = StreamChatCompletionResponse.CHUNKS_FIELD_NUMBER
_COMPACT: Final = StreamChatCompletionResponse.COMPACT_CHUNKS_FIELD_NUMBER
#: The endings of the files that people write. All others are made.
INPUTS: Final = (".jsonl", ".json", ".sse")
#: The members of a vector in the manifest that people write.
_WRITTEN: Final = (
    "name",
    "kind",
    "purpose",
    "allow_nan",
    "responses",
    "long",
    "max_event_bytes",
)


@dataclass(frozen=True)
class StreamVector:
    """A vector of `stream/manifest.json`.

    Attributes:
        name: The name of its files, without their endings.
        kind: What it is a vector of: `fold`, `unfold`, `compact` or `sse`.
        entry: Its entry in the manifest.
    """

    name: str
    kind: str
    entry: dict[str, Any]

    def file(self, ending: str) -> Path:
        """One of its files."""
        return STREAMS / f"{self.name}{ending}"

    @property
    def is_written(self) -> bool:
        """Whether people wrote the responses of a compact stream, and no compactor."""
        return "responses" in self.entry

    @property
    def chunks(self) -> list[ChatCompletionChunk]:
        """The chunks of a stream, which are written as JSON."""
        allow_nan = self.entry.get("allow_nan", False)
        lines = self.file(".jsonl").read_bytes().splitlines()
        return [from_json(line, ChatCompletionChunk, allow_nan=allow_nan) for line in lines]

    @property
    def completion(self) -> ChatCompletion:
        """The completion, which is written as JSON."""
        return from_json(
            self.file(".json").read_bytes(), allow_nan=self.entry.get("allow_nan", False)
        )

    @property
    def responses(self) -> list[bytes]:
        """The responses of a compact stream: in the manifest, or those of a compactor."""
        if not self.is_written:
            return compacted(self.chunks)
        long = "x" * self.entry.get("long", 0)
        return [_response(text.replace("LONG", long)) for text in self.entry["responses"]]


def stream_vectors(kind: str | None = None) -> list[StreamVector]:
    """The vectors of a kind, or all of them."""
    return [
        StreamVector(entry["name"], entry["kind"], entry)
        for entry in json.loads(MANIFEST.read_bytes())
        if kind in (None, entry["kind"])
    ]


def compacted(chunks: Sequence[ChatCompletionChunk]) -> list[bytes]:
    """The responses in which a relay sends chunks that come one by one."""
    compactor = Compactor()
    responses = []
    for chunk in chunks:
        ((whole, compact),) = compactor.add([canonical(chunk)])
        responses.append(embedded(_CHUNKS, whole) + embedded(_COMPACT, compact))
    return responses


def restored(responses: Iterable[bytes]) -> tuple[list[bytes], str | None]:
    """The chunks of a compact stream, and the reason why there are no more."""
    restorer = Restorer()
    chunks: list[bytes] = []
    try:
        for data in responses:
            response = StreamChatCompletionResponse.FromString(data)
            chunks.extend(map(canonical, restorer.add(response)))
    except ValueError as error:
        return chunks, str(error)
    return chunks, None


def decoded(pieces: Iterable[bytes], max_event_bytes: int) -> dict[str, Any]:
    """What an event stream that comes in pieces gives, as the manifest has it."""
    decoder = ChunkDecoder(max_event_bytes)
    chunks: list[bytes] = []
    failure: ConversionError | None = None
    try:
        for piece in pieces:
            chunks += decoder.feed(piece)
        while more := decoder.close():
            chunks += more
    except ConversionError as error:
        failure = error
    found: dict[str, Any] = {
        "chunks": [chunk.hex() for chunk in chunks],
        "error": None if decoder.error is None else decoder.error.hex(),
        "is_error_of_choice": decoder.is_error_of_choice,
        "is_done": decoder.is_done,
        "reason": None if failure is None else failure.reason,
    }
    if failure is not None:
        found |= {"path": failure.path, "offset": failure.offset}
    return found


def pieces_of(data: bytes, size: int) -> list[bytes]:
    """Bytes in pieces of a size."""
    return [data[at : at + size] for at in range(0, len(data), size)]


def messages_of(data: bytes) -> list[bytes]:
    """The messages of a file of length-delimited messages."""
    found, at = [], 0
    while at < len(data):
        size, at = varint(data, at)
        found.append(data[at : at + size])
        at += size
    return found


def golden() -> Iterator[tuple[Path, bytes]]:
    """Every file that is made, and its expected content."""
    lines = []
    for vector in stream_vectors():
        entry: dict[str, Any] = {n: vector.entry[n] for n in _WRITTEN if n in vector.entry}
        if vector.kind == "fold":
            yield vector.file(".binpb"), canonical(fold(vector.chunks))
        elif vector.kind == "unfold":
            yield vector.file(".binpbs"), _delimited(map(canonical, unfold(vector.completion)))
        elif vector.kind == "compact":
            responses = vector.responses
            chunks, reason = restored(responses)
            yield vector.file(".binpbs"), _delimited(responses)
            yield vector.file(".chunks.binpbs"), _delimited(chunks)
            entry["reason"] = reason
        else:
            entry.setdefault("max_event_bytes", 64 * 1024 * 1024)
            entry |= decoded([vector.file(".sse").read_bytes()], entry["max_event_bytes"])
        lines.append(json.dumps(entry, ensure_ascii=False))
    yield MANIFEST, ("[\n  " + ",\n  ".join(lines) + "\n]\n").encode()


def _response(text: str) -> bytes:
    """A response that is written in text format, or in hexadecimal digits after `hex:`."""
    if text.startswith("hex:"):
        return bytes.fromhex(text.removeprefix("hex:"))
    message = text_format.Parse(text, StreamChatCompletionResponse())
    data: bytes = message.SerializeToString(deterministic=True)
    return data


def _delimited(messages: Iterable[bytes]) -> bytes:
    return b"".join(map(delimited, messages))
