"""What is measured: JSON texts made from a fixed seed, and the files that the user names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from common.documents import (
    SENTENCE,
    completion,
    logprobs,
    request,
    shortest,
    stream,
    text,
    widened,
)

TOKENS: Final = 500
LARGE: Final = (f"{TOKENS}x20 OpenAI", f"{TOKENS}x20 vLLM")
SMALL: Final = "small"
STREAM: Final = "stream"
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

    @property
    def size(self) -> int:
        """The bytes of all the texts."""
        return sum(map(len, self.documents))


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


def of_file(path: Path) -> Input:
    """The texts of a file: one JSON object, or one on each line.

    Raises:
        ValueError: The file holds something else.
    """
    raw = path.read_bytes()
    documents = [raw]
    try:
        values = [json.loads(raw)]
    except ValueError:
        documents = [line for line in raw.splitlines() if line.strip()]
        try:
            values = [json.loads(line) for line in documents]
        except ValueError:
            values = []
    kinds = {_kind(value) if isinstance(value, dict) else "" for value in values}
    if "" in kinds or len(kinds) != 1:
        raise ValueError(f"{path.name}: expected a JSON object, or lines of one kind of object")
    return Input(path.name, kinds.pop(), tuple(documents), "named by the user")


def _kind(document: dict[str, Any]) -> str:
    if "messages" in document:
        return "ChatCompletionRequest"
    if "error" in document and "choices" not in document:
        return "ErrorResponse"
    choices = document.get("choices") or [{}]
    is_chunk = document.get("object") == "chat.completion.chunk" or "delta" in choices[0]
    return "ChatCompletionChunk" if is_chunk else "ChatCompletion"
