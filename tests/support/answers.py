"""The answers to the questions of docs/queries.md, in plain Python, from the records themselves."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import pairwise
from statistics import fmean, median
from typing import Any, Final

import chatpb
from chatpb.v1 import CompletionRecord

Rows = list[tuple[Any, ...]]
SCORES: Final = {f"chatcmpl-{number}": (number * 37 % 100) / 100 for number in range(0, 60, 4)}
_PRICES: Final = {"gpt-4.1": (2.00, 0.50, 8.00), "gpt-4.1-mini": (0.40, 0.10, 1.60)}


@dataclass(frozen=True)
class Exchange:
    """A record as its JSON."""

    record: CompletionRecord

    @cached_property
    def request(self) -> Any:
        """Its request."""
        return chatpb.to_dict(self.record.request)

    @cached_property
    def completion(self) -> Any:
        """Its completion, folded if it came in chunks."""
        if self.record.chunks:
            return chatpb.to_dict(chatpb.fold(self.record.chunks))
        if self.record.HasField("completion"):
            return chatpb.to_dict(self.record.completion)
        return {"choices": []}

    @property
    def choices(self) -> list[Any]:
        """The choices of the answer."""
        return list(self.completion["choices"])

    @property
    def usage(self) -> dict[str, Any]:
        """What was counted."""
        return self.completion.get("usage") or {}

    @property
    def cached(self) -> int | None:
        """How many tokens of the prompt were cached."""
        details = self.usage.get("prompt_tokens_details") or {}
        return details.get("cached_tokens")

    @property
    def model(self) -> str | None:
        """The model that answered."""
        found: str | None = self.completion.get("model")
        return found

    @property
    def team(self) -> str:
        """Its label."""
        return self.record.labels["team"]

    @property
    def call(self) -> str:
        """Its name."""
        return self.record.call_id

    @property
    def time(self) -> datetime:
        """When it began."""
        return datetime.fromtimestamp(self.record.start_time_unix_us / 1e6, UTC)

    @property
    def prompt(self) -> str:
        """What the user asked last."""
        return next(
            str(text_of(message["content"]))
            for message in reversed(self.request["messages"])
            if message["role"] == "user"
        )

    @property
    def first(self) -> Any:
        """Choice 0."""
        return next((each for each in self.choices if each["index"] == 0), None)

    @property
    def answer(self) -> str | None:
        """The text of choice 0."""
        return self.first["message"]["content"] if self.first else None

    @property
    def texts(self) -> Iterator[tuple[str, Any]]:
        """The roles and texts of all messages, those of the answer last."""
        for message in self.request["messages"]:
            yield message["role"], text_of(message.get("content"))
        for choice in self.choices:
            yield "assistant", choice["message"]["content"]

    @property
    def tokens(self) -> Iterator[tuple[int, int, Any]]:
        """The tokens with their choices and positions."""
        for choice in self.choices:
            found = (choice.get("logprobs") or {}).get("content") or []
            for position, token in enumerate(found, 1):
                yield choice["index"], position, token


def text_of(content: Any) -> str | None:
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    text: str | None = content
    return text


def grouped(pairs: Sequence[tuple[Any, Any]]) -> list[tuple[Any, list[Any]]]:
    """Values by key, in the order of the keys; null is last, as DuckDB sorts."""
    found = defaultdict(list)
    for key, value in pairs:
        found[key].append(value)
    keyed = [(key if isinstance(key, tuple) else (key,), key) for key in found]
    keyed.sort(key=lambda each: [(part is None, part) for part in each[0]])
    return [(key, found[key]) for _, key in keyed]


def quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    at = share * (len(ordered) - 1)
    low = ordered[math.floor(at)]
    return low + (ordered[math.ceil(at)] - low) * (at - math.floor(at))


def costs(all_: Sequence[Exchange]) -> Rows:
    rows = []
    counted = [((e.model, e.time.date(), e.team), e) for e in all_ if e.usage]
    for key, found in grouped(counted):
        prompt, cached, completion = _PRICES[key[0]]
        dollars = sum(
            (e.usage["prompt_tokens"] - e.cached) * prompt
            + e.cached * cached
            + e.usage["completion_tokens"] * completion
            for e in found
        )
        tokens = sum(e.usage["total_tokens"] for e in found)
        rows.append((*key, tokens, round(dollars / 1e6, 6)))
    return rows


def latencies(all_: Sequence[Exchange]) -> Rows:
    return [
        (key, len(times), [quantile(times, share) for share in (0.5, 0.9, 0.99)])
        for key, times in grouped([(e.record.upstream, e.record.duration_us / 1e6) for e in all_])
    ]


def chunk_times(all_: Sequence[Exchange]) -> Rows:
    rows: Rows = []
    times = [(e.model, list(e.record.chunk_times_us)) for e in all_ if e.record.chunks]
    for model, lists in grouped(times):
        gaps = [b - a for each in lists for a, b in pairwise(each)]
        rows.append((model, median(each[0] for each in lists) / 1e3, quantile(gaps, 0.9) / 1e3))
    return rows


def errors(all_: Sequence[Exchange]) -> Rows:
    keys = [
        (
            e.time.replace(minute=0),
            e.record.upstream,
            e.record.http_status,
            chatpb.to_dict(e.record.error)["error"]["code"],
        )
        for e in all_
        if e.record.HasField("error")
    ]
    return [(*key, len(found)) for key, found in grouped([(key, None) for key in keys])]


def phrases(all_: Sequence[Exchange]) -> Rows:
    rows: Rows = []
    for e in all_:
        for position, (role, text) in enumerate(e.texts, 1):
            if text and (at := text.find("refund")) >= 0:
                rows.append((e.call, position, role, text[max(at - 12, 0) : at + 13]))
    return rows


def pairs(all_: Sequence[Exchange]) -> Rows:
    return [(e.call, e.prompt, e.answer) for e in all_ if e.answer is not None]


def perplexities(all_: Sequence[Exchange]) -> Rows:
    tokens = [((e.call, choice), t["logprob"]) for e in all_ for choice, _, t in e.tokens]
    return [(*key, fmean(found), math.exp(-fmean(found))) for key, found in grouped(tokens)]


def unlikely(all_: Sequence[Exchange]) -> Rows:
    rows: Rows = []
    for e in all_:
        for choice, position, token in e.tokens:
            if math.exp(token["logprob"]) < 0.01:
                near = [
                    t["token"] for c, p, t in e.tokens if c == choice and abs(p - position) <= 3
                ]
                likeliest = token["top_logprobs"][0]["token"]
                rows.append((e.call, choice, position, token["token"], likeliest, "".join(near)))
    return sorted(rows, key=lambda row: row[:3])


def not_likeliest(all_: Sequence[Exchange]) -> Rows:
    rows = [
        (e.call, choice, position, token["token"], token["top_logprobs"][0]["token"])
        for e in all_
        for choice, position, token in e.tokens
        if token["top_logprobs"][0]["logprob"] > token["logprob"]
    ]
    return sorted(rows, key=lambda row: row[:3])


def entropies(all_: Sequence[Exchange]) -> Rows:
    bits = [
        (
            position,
            -sum(math.exp(t["logprob"]) * t["logprob"] for t in token["top_logprobs"])
            / math.log(2),
        )
        for e in all_
        for _, position, token in e.tokens
    ]
    return [(position, fmean(found)) for position, found in grouped(bits)]


def tools(all_: Sequence[Exchange]) -> Rows:
    results = {
        message["tool_call_id"]: message["content"]
        for e in reversed(all_)
        for message in e.request["messages"]
        if message["role"] == "tool"
    }
    return [
        (
            e.call,
            call["function"]["name"],
            json.loads(call["function"]["arguments"])["city"],
            results.get(call["id"]),
        )
        for e in all_
        for choice in e.choices
        for call in choice["message"].get("tool_calls") or ()
    ]


def refusals(all_: Sequence[Exchange]) -> Rows:
    return [
        (e.call, choice["index"], choice["message"]["refusal"], choice["finish_reason"])
        for e in all_
        for choice in e.choices
        if choice["message"].get("refusal") or choice["finish_reason"] == "content_filter"
    ]


def endings(all_: Sequence[Exchange]) -> Rows:
    found = Counter((e.model, choice["finish_reason"]) for e in all_ for choice in e.choices)
    return sorted((*key, count) for key, count in found.items())


def cut_off(all_: Sequence[Exchange]) -> Rows:
    limits = [
        (
            e.request.get("max_completion_tokens", e.request.get("max_tokens")),
            e.first["finish_reason"] == "length",
        )
        for e in all_
        if e.first
    ]
    return [(limit, len(found), sum(found)) for limit, found in grouped(limits)]


def repeated(all_: Sequence[Exchange]) -> Rows:
    asked = grouped([(e.prompt, e.answer) for e in all_ if e.answer is not None])
    rows = [(key, len(found), sorted(set(found))) for key, found in asked if len(found) > 1]
    return sorted(rows, key=lambda row: (-row[1], row[0]))


def cached(all_: Sequence[Exchange]) -> Rows:
    return [
        (model, sum(e.cached or 0 for e in found) / sum(e.usage["prompt_tokens"] for e in found))
        for model, found in grouped([(e.model, e) for e in all_ if e.usage])
    ]


def sample(all_: Sequence[Exchange]) -> Rows:
    seen = set()
    unique = []
    for e in all_:
        if e.first and e.first["finish_reason"] == "stop" and e.answer is not None:
            if (e.prompt, e.answer) not in seen:
                unique.append(e)
            seen.add((e.prompt, e.answer))
    rows: Rows = []
    for team, found in grouped([(e.team, e) for e in unique]):
        share = math.ceil(12 * len(found) / len(unique))
        found.sort(key=lambda e: hashlib.md5(e.call.encode()).hexdigest())
        rows += [(e.call, team, e.prompt, e.answer) for e in found[:share]]
    return sorted(rows, key=lambda row: (row[1], row[0]))


def scored(all_: Sequence[Exchange]) -> Rows:
    found = [(e.model, SCORES[i]) for e in all_ if (i := e.completion.get("id")) in SCORES]
    return [(key, round(fmean(values), 3), len(values)) for key, values in grouped(found)]


def of_user(all_: Sequence[Exchange]) -> Rows:
    return [(e.call, e.time, e.prompt, e.answer) for e in all_ if e.request["user"] == "user-3"]


def old(all_: Sequence[Exchange]) -> Rows:
    limit = datetime(2026, 4, 30, tzinfo=UTC) - timedelta(days=90)
    times = [e.time for e in all_ if e.time < limit]
    return [(len(times), min(times), max(times))]


def not_json(all_: Sequence[Exchange]) -> Rows:
    rows: Rows = []
    for e in all_:
        if "response_format" in e.request and e.answer is not None:
            try:
                json.loads(e.answer)
            except ValueError:
                rows.append((e.call, e.answer))
    return rows


def differing(all_: Sequence[Exchange]) -> Rows:
    return [
        (e.call, len(e.choices), len({each["message"]["content"] for each in e.choices}))
        for e in all_
        if len(e.choices) > 1
    ]


def several_turns(all_: Sequence[Exchange]) -> Rows:
    rows: Rows = []
    for e in all_:
        asked = [text_of(m["content"]) for m in e.request["messages"] if m["role"] == "user"]
        if len(asked) > 1:
            rows.append((e.call, len(asked), " / ".join(map(str, asked))))
    return rows


def slowest(all_: Sequence[Exchange]) -> Rows:
    since = datetime(2026, 1, 29, tzinfo=UTC)
    found = [e for e in all_ if e.team == "search" and e.time >= since]
    found.sort(key=lambda e: -e.record.duration_us)
    return [
        (e.call, e.record.duration_us / 1e6, e.first["finish_reason"] if e.first else None)
        for e in found[:3]
    ]


def offered(all_: Sequence[Exchange]) -> Rows:
    found = [
        (e.model, e.first["finish_reason"] == "tool_calls") for e in all_ if "tools" in e.request
    ]
    return [(model, len(called), sum(called)) for model, called in grouped(found)]


#: The answers to the SQL blocks of the page, in their order.
ANSWERS: Final[Sequence[Callable[[Sequence[Exchange]], Rows]]] = (
    costs, latencies, chunk_times, errors, phrases, pairs, perplexities, unlikely, not_likeliest,
    entropies, tools, refusals, endings, cut_off, repeated, cached, sample, scored, of_user, old,
    not_json, differing, several_turns, slowest, offered,
)  # fmt: skip
