"""Writes the vectors as lines that a C program can read: fields in hexadecimal, with tabs between.

    python tests/polyglot/c/cases.py FILE

The first field is the kind, and the others are what `check_case` of vectors.c takes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from chatpb import json_to_binary
from chatpb.v1 import ChatCompletion, ChatCompletionChunk
from chatpb.v1.chat_completion_service_pb2 import StreamChatCompletionResponse

VECTORS: Final = Path(__file__).parents[2] / "vectors"
Field = bytes | str | int


def cases() -> Iterator[list[Field]]:
    """The fields of each case."""
    for vector in manifest("."):
        name, kind = vector["name"], vector["message_type"]
        text, data = read(f"{name}.json"), read(f"{name}.binpb")
        yield ["json", name, kind, text, data]
    for vector in manifest("invalid"):
        name, form = vector["name"], vector["form"]
        data = read(f"invalid/{name}.{'json' if form == 'json' else 'binpb'}")
        offset = vector.get("offset", -1)
        error = [vector["path"], vector["reason"], offset]
        yield [f"refuse_{form}", name, vector["message_type"], data, *error]
    for vector in manifest("stream"):
        yield [vector["kind"], vector["name"], *_OF_STREAMS[vector["kind"]](vector)]


def fold(vector: dict[str, Any]) -> Iterator[Field]:
    """The completion, and the chunks."""
    yield read(f"stream/{vector['name']}.binpb")
    yield from chunks(vector)


def unfold(vector: dict[str, Any]) -> Iterator[Field]:
    """The completion, and the chunks."""
    text = read(f"stream/{vector['name']}.json")
    yield json_to_binary(text, ChatCompletion, allow_nan=vector.get("allow_nan", False))
    yield from delimited(read(f"stream/{vector['name']}.binpbs"))


def compact(vector: dict[str, Any]) -> Iterator[Field]:
    """The reason or "", whether a compactor makes them, and for each chunk its forms.

    A chunk has three fields: whether it is compact, the form that is sent, and the whole one, which
    is empty if it is refused.
    """
    name = vector["name"]
    yield vector["reason"] or ""
    yield int("responses" not in vector)
    whole = iter(delimited(read(f"stream/{name}.chunks.binpbs")))
    for data in delimited(read(f"stream/{name}.binpbs")):
        response = StreamChatCompletionResponse.FromString(data)
        for is_compact, sent in enumerate((response.chunks, response.compact_chunks)):
            for chunk in sent:
                restored = next(whole, b"")
                form = chunk.SerializeToString(deterministic=True)
                yield from (is_compact, form, restored)


def sse(vector: dict[str, Any]) -> Iterator[Field]:
    """What the manifest says, the stream, and the chunks."""
    yield vector["max_event_bytes"]
    yield int(vector.get("allow_nan", False))
    yield int(vector["error"] is not None)
    yield bytes.fromhex(vector["error"] or "")
    yield int(vector["is_error_of_choice"])
    yield int(vector["is_done"])
    yield vector["reason"] or ""
    yield read(f"stream/{vector['name']}.sse")
    yield from (bytes.fromhex(chunk) for chunk in vector["chunks"])


_OF_STREAMS: Final = {"fold": fold, "unfold": unfold, "compact": compact, "sse": sse}


def chunks(vector: dict[str, Any]) -> Iterator[bytes]:
    """The chunks of a vector, in binary form."""
    for line in read(f"stream/{vector['name']}.jsonl").split(b"\n"):
        if line:
            yield json_to_binary(
                line, ChatCompletionChunk, allow_nan=vector.get("allow_nan", False)
            )


def delimited(data: bytes) -> Iterator[bytes]:
    """Messages that are one after the other, each after its length."""
    at = 0
    while at < len(data):
        size = shift = 0
        while True:
            byte = data[at]
            at += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        yield data[at : at + size]
        at += size


def manifest(folder: str) -> list[dict[str, Any]]:
    """The vectors of a folder."""
    found: list[dict[str, Any]] = json.loads(read(f"{folder}/manifest.json"))
    return found


def read(name: str) -> bytes:
    """A file of the vectors."""
    return (VECTORS / name).read_bytes()


def encode(field: Field) -> str:
    """A field as it is in the file."""
    if isinstance(field, int):
        return str(field)
    return (field.encode() if isinstance(field, str) else field).hex()


def main() -> None:
    """Writes the file."""
    lines = [[kind, name, *map(encode, rest)] for kind, name, *rest in cases()]
    Path(sys.argv[1]).write_text("".join("\t".join(map(str, line)) + "\n" for line in lines))


if __name__ == "__main__":
    main()
