"""What is measured: JSON texts made from a fixed seed, and the files that the user names."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

SEED: Final = 20_250_701
TOKENS: Final = 500
LARGE: Final = (f"{TOKENS}x20 OpenAI", f"{TOKENS}x20 vLLM")
SMALL: Final = "small"


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
    small = (_text(_completion(_SENTENCE)),)
    yield Input(SMALL, "ChatCompletion", small, "a short answer")
    for server, spell, numbers in _SPELLINGS:
        for alternatives in (0, 5, 20):
            name = f"{TOKENS}x{alternatives} {server}"
            document = logprobs(TOKENS, alternatives, spell)
            about = f"{TOKENS} tokens, {alternatives} alternatives each, {numbers}"
            yield Input(name, "ChatCompletion", (document,), about)
    yield Input("stream", "ChatCompletionChunk", tuple(_stream()), "the chunks of one stream")
    request = (_text(_request()),)
    yield Input("request", "ChatCompletionRequest", request, "tools and a history of 20 turns")


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


def logprobs(tokens: int, alternatives: int, spell: Callable[[float], float]) -> bytes:
    """A completion with log probabilities."""
    rng = random.Random(SEED + alternatives)
    words = _vocabulary()
    content = [_position(rng, words, alternatives, spell) for _ in range(tokens)]
    completion = _completion("".join(position["token"] for position in content))
    completion["choices"][0]["logprobs"] = {"content": content, "refusal": None}
    completion["usage"]["completion_tokens"] = tokens
    return _text(completion)


def shortest(number: float) -> float:
    """The shortest decimal that names a float32."""
    exact = widened(number)
    return next(
        decimal
        for digits in range(1, 10)
        if widened(decimal := float(f"{exact:.{digits}g}")) == exact
    )


def widened(number: float) -> float:
    """A float32 as a double, which is written with all its digits."""
    wide: float = struct.unpack("f", struct.pack("f", number))[0]
    return wide


def _position(
    rng: random.Random, words: list[str], alternatives: int, spell: Callable[[float], float]
) -> dict[str, Any]:
    logprob = -(rng.expovariate(1.5) ** 4)
    ranked = []
    for word in rng.sample(words, max(alternatives, 1)):
        ranked.append(_token(word, spell(logprob)))
        logprob -= rng.expovariate(1.0)
    sampled = ranked[1] if alternatives > 1 and rng.random() < 0.1 else ranked[0]
    return {**sampled, "top_logprobs": ranked[:alternatives]}


def _token(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}


def _vocabulary(size: int = 5_000) -> list[str]:
    """Made-up words, most with a space before them; about one in 13 is not ASCII.

    They have seven bytes on average; the tokens of recorded answers are often shorter. The shorter,
    the larger the binary form in relation to the JSON: about 0.27 of it at four bytes.
    """
    rng = random.Random(SEED)
    words = set(" .,;:!?()\n\"'-") | {" 👋", "🙂", "“", "”", "…"}
    while len(words) < size:
        parts = (_FOREIGN if rng.random() < 1 / 16 else _SYLLABLES).split()
        word = "".join(rng.choices(parts, k=rng.choice((1, 1, 2, 2, 2, 3))))
        words.add(word if rng.random() < 0.3 else " " + word)
    return sorted(words)


def _completion(content: str) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": content}
    message |= {"refusal": None, "annotations": []}
    return {
        "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
        "object": "chat.completion",
        "created": 1_741_569_952,
        "model": "gpt-4.1-2025-04-14",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": _usage(),
        "service_tier": "default",
        "system_fingerprint": "fp_b376dfbbd5",
    }


def _usage() -> dict[str, Any]:
    return {
        "prompt_tokens": 19,
        "completion_tokens": 31,
        "total_tokens": 50,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _stream(length: int = 200) -> Iterator[bytes]:
    rng = random.Random(SEED)
    head = {"role": "assistant", "content": "", "refusal": None}
    deltas = [head, *({"content": word} for word in rng.choices(_vocabulary(), k=length)), {}]
    for delta in deltas:
        reason = None if delta else "stop"
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        yield _text(_chunk([choice], None, rng))
    yield _text(_chunk([], _usage(), rng))


def _chunk(choices: list[Any], usage: dict[str, Any] | None, rng: random.Random) -> dict[str, Any]:
    return {
        "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
        "object": "chat.completion.chunk",
        "created": 1_741_569_952,
        "model": "gpt-4.1-2025-04-14",
        "service_tier": "default",
        "system_fingerprint": "fp_b376dfbbd5",
        "choices": choices,
        "usage": usage,
        "obfuscation": "".join(rng.choices("abcdefghijk0123456789", k=rng.randint(2, 16))),
    }


def _request(turns: int = 20) -> dict[str, Any]:
    rng = random.Random(SEED)
    words = _vocabulary()
    messages: list[dict[str, Any]] = [{"role": "system", "content": _SENTENCE}]
    for turn in range(turns):
        question = "".join(rng.choices(words, k=30))
        messages.append({"role": "user", "content": question})
        if turn % 4 == 0:
            function = {"name": "get_weather", "arguments": '{"city":"Paris","days":3}'}
            call = {"id": f"call_{turn}", "type": "function", "function": function}
            messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
            result = '{"temperature":[18.5,19,21.25]}'
            messages.append({"role": "tool", "tool_call_id": f"call_{turn}", "content": result})
        messages.append({"role": "assistant", "content": "".join(rng.choices(words, k=80))})
    names = ("get_weather", "search_documents", "send_message")
    return {
        "model": "gpt-4.1",
        "messages": messages,
        "tools": [_tool(name) for name in names],
        "tool_choice": "auto",
        "temperature": 0.7,
        "max_completion_tokens": 1024,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def _tool(name: str) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "The name of a city, in English."},
            "days": {"type": "integer", "minimum": 1, "maximum": 14},
        },
        "required": ["city", "days"],
        "additionalProperties": False,
    }
    function = {"name": name, "description": _SENTENCE, "parameters": schema, "strict": True}
    return {"type": "function", "function": function}


def _kind(document: dict[str, Any]) -> str:
    if "messages" in document:
        return "ChatCompletionRequest"
    if "error" in document and "choices" not in document:
        return "ErrorResponse"
    choices = document.get("choices") or [{}]
    is_chunk = document.get("object") == "chat.completion.chunk" or "delta" in choices[0]
    return "ChatCompletionChunk" if is_chunk else "ChatCompletion"


def _text(members: dict[str, Any]) -> bytes:
    return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode()


_SPELLINGS: Final = (
    ("OpenAI", shortest, "the shortest decimals of float32"),
    ("vLLM", widened, "float32 widened to double"),
)
_SENTENCE: Final = (
    "A protocol buffer is a compact binary form of a message whose fields have names,"
    " numbers and types in a schema. What else would you like to know?"
)
_SYLLABLES: Final = """
    al an ar be con de der dis en er es for gen hal ing in ion ist ka ker lan le ment
    mo na ner on or pa per pre ra re ri sen ser son sta ter the ti tion ve ver yl
"""
_FOREIGN: Final = "é über ção ñ да при вет 你 好 世界 日本 語 です 안녕 العر ελ λη नम"
