"""The builtin model: what it answers to a request that is not refused.

The same request always gets the same answers. What only limits or describes an answer, such as
`max_tokens`, `stop` or `logprobs`, does not change its words: they are cut from the same text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import orjson

from chatpb_server.upstreams.builtin.refusals import refused
from chatpb_server.upstreams.builtin.schema import SchemaModel
from chatpb_server.upstreams.builtin.tokens import logprobs, pieces, tokenize
from chatpb_server.upstreams.builtin.tools import ToolPlan, ToolSpec, tool_plan

_WHO: Final = (
    *("A parrot", "The tide", "An old map", "The café", "Nobody", "A lighthouse", "The 🦜"),
    *("Zoë", "The night train", "東京", "A small robot", "The river"),
)
_DOES: Final = (
    *(" remembers", " counts", " paints", " carries", " follows", " translates", " hums about"),
    *(" waits for", " measures", " redraws"),
)
_WHAT: Final = (
    *(" the harbour", " 42 lanterns", " a naïve question", " the first snow", " every word"),
    *(" two quiet streets", " the 🌍", " a borrowed clock", " the long answer", " green tea"),
    *(" an unsent letter", " the Ångström"),
)
_HOW: Final = (" slowly", " twice a day", " again", ", they say,", " at dawn", " — of course —")

# These choose from the model's words, or how they are sent, and not the words.
_APART: Final = frozenset(
    (
        *("stream", "stream_options", "n", "logprobs", "top_logprobs", "stop"),
        *("max_tokens", "max_completion_tokens", "service_tier", "store", "metadata", "user"),
        *("safety_identifier", "prompt_cache_key"),
    )
)


@dataclass(frozen=True, slots=True)
class Piece:
    """Text that is sent at once.

    Attributes:
        text: One or more whole characters.
        logprobs: The log probabilities of its tokens, if they were asked for.
    """

    text: str
    logprobs: Sequence[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Call:
    """A call to a tool: its identifier, the tool, and the arguments or input in pieces."""

    id: str
    tool: ToolSpec
    pieces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """One choice of a completion: text, or calls if there are any.

    Attributes:
        pieces: The text.
        calls: The calls.
        finish_reason: Why it ends.
        tokens: How many tokens it has.
        legacy: Whether the call is a ``function_call``, which ``tool_calls`` have replaced.
    """

    pieces: tuple[Piece, ...]
    calls: tuple[Call, ...]
    finish_reason: str
    tokens: int
    legacy: bool = False


def fingerprint(value: Any) -> str:
    """A text that is the same for equal JSON values, and else another."""
    data = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def answers(body: dict[str, Any]) -> list[Answer]:
    """The choices of the completion that a request gets.

    Raises:
        UpstreamError: The request's JSON Schema cannot be followed.
    """
    seed = fingerprint({name: value for name, value in body.items() if name not in _APART})
    plan = tool_plan(body)
    calling = plan.mode == "required" or (plan.mode == "auto" and not _has_result(body))
    answer = _call_tools if calling and plan.tools else _write
    return [answer(body, plan, f"{seed}/{index}") for index in range(body.get("n") or 1)]


def _has_result(body: dict[str, Any]) -> bool:
    """Whether the last message is a tool's result, which is answered in words."""
    return body["messages"][-1]["role"] in ("tool", "function")


def _write(body: dict[str, Any], plan: ToolPlan, seed: str) -> Answer:  # noqa: ARG001 (as below)
    text = _text(body, Random(f"{seed}/text"))
    text = text[: _first_stop(text, body.get("stop"))]
    tokens, cut = _limit(tokenize(text), _max_tokens(body))
    entries: list[dict[str, Any]] = []
    if body.get("logprobs"):
        top, greedy = body.get("top_logprobs") or 0, body.get("temperature") == 0
        entries = logprobs(tokens, Random(f"{seed}/logprobs"), top, greedy)
    parts, start = [], 0
    for part, count in pieces(tokens):
        parts.append(Piece(part, entries[start : start + count]))
        start += count
    return Answer(tuple(parts), (), "length" if cut else "stop", len(tokens))


def _call_tools(body: dict[str, Any], plan: ToolPlan, seed: str) -> Answer:
    rng = Random(f"{seed}/tools")
    calls: list[Call] = []
    left, cut = _max_tokens(body), False
    for tool in _choose(plan, body, rng):
        taken, cut = _limit(tokenize(_arguments(tool, rng)), left)
        left -= len(taken)
        call_id = f"call_{fingerprint([seed, len(calls)])[:24]}"
        calls.append(Call(call_id, tool, tuple(text for text, _ in pieces(taken))))
        if cut:
            break
    reason = "function_call" if plan.legacy else "tool_calls"
    if plan.named:  # as OpenAI has it: the model did not decide to call
        reason = "stop"
    tokens = _max_tokens(body) - left
    return Answer((), tuple(calls), "length" if cut else reason, tokens, plan.legacy)


def _choose(plan: ToolPlan, body: dict[str, Any], rng: Random) -> Iterator[ToolSpec]:
    """One tool, or two neighbours if calls may be parallel."""
    start = int(rng.random() * len(plan.tools))
    yield plan.tools[start]
    if len(plan.tools) > 1 and not plan.legacy and body.get("parallel_tool_calls") is not False:
        yield plan.tools[(start + 1) % len(plan.tools)]


def _arguments(tool: ToolSpec, rng: Random) -> str:
    if tool.kind == "custom":
        return _sentence(rng)
    return _fitting(tool.parameters or {"type": "object"}, rng, f"function '{tool.name}'")


def _fitting(schema: Any, rng: Random, owner: str) -> str:
    try:
        return orjson.dumps(SchemaModel(schema, rng).value()).decode()
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        # Whatever is wrong in a schema surfaces as one of these.
        raise refused(f"Invalid schema for {owner}.", None, "invalid_schema") from None


def _text(body: dict[str, Any], rng: Random) -> str:
    form = body.get("response_format") or {"type": "text"}
    if form["type"] == "json_schema":
        json_schema = form["json_schema"]
        return _fitting(json_schema["schema"], rng, f"response_format '{json_schema['name']}'")
    sentences = [_sentence(rng) for _ in range(2 + int(rng.random() * 4))]
    if form["type"] == "json_object":
        value = {"answer": " ".join(sentences), "sentences": len(sentences), "certain": True}
        return orjson.dumps(value).decode()
    return " ".join(sentences)


def _sentence(rng: Random) -> str:
    words = [part[int(rng.random() * len(part))] for part in (_WHO, _DOES, _WHAT, _HOW)]
    return "".join(words).rstrip(",") + "."


def _first_stop(text: str, stop: str | list[str] | None) -> int:
    stops = [stop] if isinstance(stop, str) else stop or []
    found = [text.find(sequence) for sequence in stops if sequence]
    return min((place for place in found if place >= 0), default=len(text))


def _max_tokens(body: dict[str, Any]) -> int:
    limit: int = body.get("max_completion_tokens") or body.get("max_tokens") or 2**31
    return limit


def _limit(tokens: list[bytes], limit: int) -> tuple[list[bytes], bool]:
    """The tokens that are allowed, and whether there were more."""
    return tokens[:limit], len(tokens) > limit
