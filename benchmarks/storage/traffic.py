"""Many answers as a service gives them: each with its own id, time, model, text and usage."""

from __future__ import annotations

import json
import math
import random
import string
from collections.abc import Callable, Iterator
from typing import Any, Final

from common.documents import SEED, completion, position, text, uniform, vocabulary
from storage.language import Language, ranked, zipf

_BASE62: Final = string.ascii_letters + string.digits
_START: Final = 1_741_569_952
_PROMPT_TOKENS_CACHED_AT: Final = 1_024
_FULL_NAMES: Final = {  # and how often each is asked
    "gpt-4.1-2025-04-14": 5,
    "gpt-4.1-mini-2025-04-14": 4,
    "gpt-4o-2024-08-06": 3,
    "gpt-4o-mini-2024-07-18": 6,
}
_REASONS: Final = "o4-mini-2025-04-16"
_TOOLS: Final = {
    "get_weather": ("city", "days"),
    "search_documents": ("query", "limit", "language"),
    "send_message": ("to", "subject", "body"),
    "run_query": ("sql", "timeout"),
    "create_event": ("title", "start", "minutes"),
}


class Traffic:
    """Answers whose envelopes are as those of api.openai.com.

    Args:
        rng: What all is drawn from.
        can_reason: Whether a model that reasons is among the models.
    """

    def __init__(self, rng: random.Random, *, can_reason: bool) -> None:
        self._rng = rng
        self._created = float(_START)
        models = [*_FULL_NAMES, _REASONS] if can_reason else [*_FULL_NAMES]
        self._models = models
        self._weights = [_FULL_NAMES.get(model, 2) for model in models]
        self._fingerprints = {
            model: [f"fp_{rng.getrandbits(40):010x}" for _ in range(3)] for model in _FULL_NAMES
        }

    def answer(self, content: str | None, tokens: int) -> dict[str, Any]:
        """An answer with that many tokens."""
        rng = self._rng
        self._created += rng.expovariate(2)
        answer = completion("")
        model = rng.choices(self._models, self._weights)[0]
        fingerprints = self._fingerprints.get(model, [None])
        answer["id"] = self.name("chatcmpl-", 29)
        answer["created"] = int(self._created)
        answer["model"] = model
        answer["system_fingerprint"] = fingerprints[int(rng.random() ** 2 * len(fingerprints))]
        answer["service_tier"] = rng.choices(("default", "flex", "priority"), (30, 2, 1))[0]
        answer["choices"][0]["message"]["content"] = content
        self._count(answer["usage"], tokens, reasons=model == _REASONS)
        return answer

    def name(self, prefix: str, length: int) -> str:
        """A random name."""
        return prefix + "".join(self._rng.choices(_BASE62, k=length))

    def _count(self, usage: dict[str, Any], tokens: int, *, reasons: bool) -> None:
        rng = self._rng
        asked = round(rng.lognormvariate(5.8, 1.2)) + 8
        reasoning = 64 * round(rng.lognormvariate(1.5, 1)) if reasons else 0
        if asked >= _PROMPT_TOKENS_CACHED_AT and rng.random() < 0.5:
            usage["prompt_tokens_details"]["cached_tokens"] = asked // 128 * 128
        usage["completion_tokens_details"]["reasoning_tokens"] = reasoning
        usage["prompt_tokens"] = asked
        usage["completion_tokens"] = tokens + reasoning
        usage["total_tokens"] = asked + tokens + reasoning


def with_logprobs(
    alternatives: int, spell: Callable[[float], float], *, is_zipf: bool = False
) -> Iterator[bytes]:
    """Answers with log probabilities, without end.

    Args:
        alternatives: How many tokens there are for each.
        spell: How a number is written.
        is_zipf: Whether tokens are as frequent as words are; otherwise all are as frequent.
    """
    rng = random.Random(SEED + alternatives)
    traffic = Traffic(rng, can_reason=False)
    words = vocabulary()
    draw = zipf(rng, ranked(rng, words)) if is_zipf else uniform(rng, words)
    while True:
        tokens = min(2_000, round(rng.lognormvariate(5.5, 0.8)) + 1)
        content = [position(rng, draw, alternatives, spell) for _ in range(tokens)]
        answer = traffic.answer("".join(token["token"] for token in content), tokens)
        answer["choices"][0]["logprobs"] = {"content": content, "refusal": None}
        yield text(answer)


def chats(median: float, spread: float) -> Iterator[bytes]:
    """Answers without log probabilities, without end.

    Args:
        median: How many characters the middle one of their texts has.
        spread: How much they differ: the standard deviation of the logarithm.
    """
    rng = random.Random(SEED)
    traffic, language = Traffic(rng, can_reason=True), Language(rng)
    while True:
        if rng.random() < 0.12:
            yield text(_tool_calls(rng, traffic, language))
            continue
        content = language.text(round(rng.lognormvariate(math.log(median), spread)) + 10)
        is_cut = rng.random() < 0.1
        if is_cut:
            content = content[: int(len(content) * rng.uniform(0.5, 1))] or content
        answer = traffic.answer(content, _tokens(content))
        answer["choices"][0]["finish_reason"] = "length" if is_cut else "stop"
        yield text(answer)


def _tool_calls(rng: random.Random, traffic: Traffic, language: Language) -> dict[str, Any]:
    calls = []
    for _ in range(rng.choice((1, 1, 1, 2))):
        name, members = rng.choice([*_TOOLS.items()])
        values = {member: _argument(rng, language) for member in members}
        function = {"name": name, "arguments": json.dumps(values, separators=(",", ":"))}
        calls.append({"id": traffic.name("call_", 24), "type": "function", "function": function})
    answer = traffic.answer(None, sum(_tokens(json.dumps(call)) // 2 for call in calls))
    answer["choices"][0]["message"]["tool_calls"] = calls
    answer["choices"][0]["finish_reason"] = "tool_calls"
    return answer


def _argument(rng: random.Random, language: Language) -> Any:
    if rng.random() < 0.3:
        return rng.randint(1, 365)
    return " ".join(language.phrase(rng.randint(1, 6)))


def _tokens(content: str) -> int:
    return len(content.encode()) * 10 // 43 + 1


def short_chats(count: int) -> Iterator[bytes]:
    """So many answers of a few sentences, which are drawn from a pool: cheap to make."""
    rng = random.Random(SEED + 1)
    traffic, language = Traffic(rng, can_reason=True), Language(rng)
    pool = [language.sentence() for _ in range(50_000)]
    for _ in range(count):
        content = " ".join(rng.choices(pool, k=rng.randint(1, 3)))
        yield text(traffic.answer(content, _tokens(content)))
