"""The JSON that is made from a fixed seed."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Iterator
from typing import Any, Final

SEED: Final = 20_250_701


def logprobs(tokens: int, alternatives: int, spell: Callable[[float], float]) -> bytes:
    """A completion with log probabilities."""
    rng = random.Random(SEED + alternatives)
    draw = uniform(rng, vocabulary())
    content = [position(rng, draw, alternatives, spell) for _ in range(tokens)]
    answer = completion("".join(position["token"] for position in content))
    answer["choices"][0]["logprobs"] = {"content": content, "refusal": None}
    answer["usage"]["completion_tokens"] = tokens
    return text(answer)


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


Draw = Callable[[int], list[str]]  # that many different words


def uniform(rng: random.Random, words: list[str]) -> Draw:
    """Words that all are as likely."""
    return lambda count: rng.sample(words, count)


def position(
    rng: random.Random, draw: Draw, alternatives: int, spell: Callable[[float], float]
) -> dict[str, Any]:
    """A token of `logprobs`, with its alternatives."""
    logprob = -(rng.expovariate(1.5) ** 4)
    ranked = []
    for word in draw(max(alternatives, 1)):
        ranked.append(_token(word, spell(logprob)))
        logprob -= rng.expovariate(1.0)
    sampled = ranked[1] if alternatives > 1 and rng.random() < 0.1 else ranked[0]
    return {**sampled, "top_logprobs": ranked[:alternatives]}


def _token(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}


def vocabulary(size: int = 5_000) -> list[str]:
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


def completion(content: str) -> dict[str, Any]:
    """An answer in the form of api.openai.com."""
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


def stream(length: int = 200) -> Iterator[bytes]:
    """The chunks of a stream with usage."""
    rng = random.Random(SEED)
    head = {"role": "assistant", "content": "", "refusal": None}
    deltas = [head, *({"content": word} for word in rng.choices(vocabulary(), k=length)), {}]
    for delta in deltas:
        reason = None if delta else "stop"
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        yield text(_chunk([choice], None, rng))
    yield text(_chunk([], _usage(), rng))


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


def request(turns: int = 20) -> dict[str, Any]:
    """A request with tools and a history."""
    rng = random.Random(SEED)
    words = vocabulary()
    messages: list[dict[str, Any]] = [{"role": "system", "content": SENTENCE}]
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
    function = {"name": name, "description": SENTENCE, "parameters": schema, "strict": True}
    return {"type": "function", "function": function}


def text(members: dict[str, Any]) -> bytes:
    """Compact JSON, as servers send it."""
    return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode()


SENTENCE: Final = (
    "A protocol buffer is a compact binary form of a message whose fields have names,"
    " numbers and types in a schema. What else would you like to know?"
)
_SYLLABLES: Final = """
    al an ar be con de der dis en er es for gen hal ing in ion ist ka ker lan le ment
    mo na ner on or pa per pre ra re ri sen ser son sta ter the ti tion ve ver yl
"""
_FOREIGN: Final = "é über ção ñ да при вет 你 好 世界 日本 語 です 안녕 العر ελ λη नम"
