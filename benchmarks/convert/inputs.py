"""What is measured: JSON texts made from a fixed seed, a recording, and the user's files."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import zstandard

from chatpb.sse import DONE, Decoder
from common.documents import (
    SEED,
    SENTENCE,
    completion,
    logprobs,
    request,
    shortest,
    stream,
    text,
    vocabulary,
    widened,
)

TOKENS: Final = 500
_LINES: Final = 5_000
LARGE: Final = (f"{TOKENS}x20 OpenAI", f"{TOKENS}x20 vLLM")
SMALL: Final = "small"
STREAM: Final = "stream"
SMALL_LINES: Final = "small lines"
CHUNK_LINES: Final = "chunk lines"
LLAMA: Final = "200x20 llama.cpp"
LLAMA_STREAM: Final = "stream llama.cpp"
#: What `make recording` writes.
RECORDINGS: Final = Path(__file__).parents[1] / "recordings"
_SPELLINGS: Final = (
    ("OpenAI", shortest, "the shortest decimals of float32"),
    ("vLLM", widened, "float32 widened to double"),
)


@dataclass(frozen=True)
class Input:
    """Texts of one kind, measured together."""

    name: str
    message_name: str
    documents: tuple[bytes, ...]
    about: str
    is_many: bool = False  # only what converts to and from binary is measured with it

    @property
    def size(self) -> int:
        """The bytes of all the texts."""
        return sum(map(len, self.documents))


@dataclass(frozen=True)
class Recorded:
    """An answer of llama.cpp with 20 alternatives for each token, in a file.

    Attributes:
        name: What the tables call it.
        file: The file in `RECORDINGS`.
        tokens: How many it has.
        is_stream: Whether it is chunks, one in a line.
    """

    name: str
    file: str
    tokens: int
    is_stream: bool = False


RECORDED: Final = (
    Recorded(LLAMA, "llama.cpp.json.zst", 200),
    Recorded(LLAMA_STREAM, "llama.cpp.jsonl.zst", 100, is_stream=True),
)


def recorded() -> Iterator[Input]:
    """The recordings that this repository has made of a real model."""
    for each in RECORDED:
        [found] = of_files(RECORDINGS / each.file)
        form = "stream" if each.is_stream else "answer"
        about = f"a recorded {form}: {each.tokens} tokens with ids, 20 alternatives each"
        yield replace(found, name=each.name, about=about)


def generated() -> Iterator[Input]:
    """The inputs that need no file."""
    small = (text(completion(SENTENCE)),)
    yield Input(SMALL, "ChatCompletion", small, "a short answer")
    for server, spell, numbers in _SPELLINGS:
        for alternatives in (0, 5, 20):
            name = f"{TOKENS}x{alternatives} {server}"
            document = logprobs(TOKENS, alternatives, spell)
            about = f"{TOKENS} tokens, {alternatives} alternatives each, {numbers}"
            yield Input(name, "ChatCompletion", (document,), about)
    yield Input(STREAM, "ChatCompletionChunk", tuple(stream()), "the chunks of one stream")
    asked = (text(request()),)
    yield Input("request", "ChatCompletionRequest", asked, "tools and a history of 20 turns")
    yield Input(SMALL_LINES, "ChatCompletion", tuple(_answers()), "short answers", is_many=True)
    chunks = tuple(stream(_LINES))
    yield Input(CHUNK_LINES, "ChatCompletionChunk", chunks, "chunks", is_many=True)


def _answers() -> Iterator[bytes]:
    rng, words = random.Random(SEED), vocabulary()
    for _ in range(_LINES):
        answer = completion("".join(rng.choices(words, k=25)).strip())
        answer["id"] = f"chatcmpl-{rng.randbytes(14).hex()}"
        answer["created"] += rng.randint(0, 86_400)
        yield text(answer)


def of_files(path: Path) -> list[Input]:
    """The texts of a file, or of the files below a folder: those of each kind of object together.

    A file has one JSON object, one on each line, or server-sent events; it may be compressed. In a
    folder, what is something else is left out.

    Raises:
        ValueError: There is nothing that can be measured.
        OSError: It cannot be read.
    """
    by_kind: dict[str, list[bytes]] = {}
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_file():
                with suppress(ValueError):
                    _add(by_kind, file)
    else:
        _add(by_kind, path)
    if not by_kind:
        raise ValueError(f"{path}: there are no JSON objects in it")
    return [
        Input(
            path.name if len(by_kind) == 1 else f"{path.name} {kind}",
            kind,
            tuple(documents),
            "named by the user",
        )
        for kind, documents in by_kind.items()
    ]


def _add(by_kind: dict[str, list[bytes]], path: Path) -> None:
    """Adds the texts of a file.

    Raises:
        ValueError: The file has something else than JSON objects.
    """
    documents = _documents(path)
    try:
        values = [json.loads(document) for document in documents]
    except ValueError:
        values = []
    if not values or not all(isinstance(value, dict) for value in values):
        raise ValueError(f"{path.name}: expected JSON objects: one, one in a line, or in events")
    for value, document in zip(values, documents, strict=True):
        by_kind.setdefault(_kind(value), []).append(document)


def _documents(path: Path) -> list[bytes]:
    raw, name = path.read_bytes(), path.name
    if name.endswith(".zst"):
        with zstandard.ZstdDecompressor().stream_reader(raw) as reader:
            raw = reader.read()
    elif name.endswith(".gz"):
        raw = gzip.decompress(raw)
    if name.removesuffix(".zst").removesuffix(".gz").endswith(".sse"):
        decoder = Decoder()
        events = (*decoder.feed(raw), *decoder.close())
        return [event.data for event in events if event.data != DONE]
    with suppress(ValueError):
        json.loads(raw)
        return [raw]
    return [line for line in raw.splitlines() if line.strip()]


def _kind(document: dict[str, Any]) -> str:
    if "messages" in document:
        return "ChatCompletionRequest"
    if "error" in document and "choices" not in document:
        return "ErrorResponse"
    choices = document.get("choices") or [{}]
    is_chunk = document.get("object") == "chat.completion.chunk" or "delta" in choices[0]
    return "ChatCompletionChunk" if is_chunk else "ChatCompletion"
