"""Records for the questions of docs/queries.md: four days of calls, the same every time."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from typing import Any, Final

import chatpb
from chatpb.v1 import ChatCompletionChunk, ChatCompletionRequest, CompletionRecord, ErrorResponse

START: Final = datetime(2026, 1, 28, 9, 30, tzinfo=UTC)
MODELS: Final = ("gpt-4.1", "gpt-4.1-mini")
_HOUR: Final = 3_600_000_000
_CITIES: Final = ("Oslo", "Lima", "Nairobi", "Hanoi")
_SYSTEM: Final = {"role": "system", "content": "You help customers of a shop. Be brief."}
_TOOL: Final = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}},
}
_QUESTIONS: Final = (
    "Where is my order?",
    "Can I get a refund for order {number}?",
    "Which of your shoes are waterproof?",
    "How do I return a gift?",
    "Write a poem about order {number}.",
)
_ANSWERS: Final = (
    "It left our warehouse yesterday.",
    "Yes: a refund takes five days.",
    "The blue ones are.",
    "Send it back within 30 days, and you get the money back.",
)


def seeded() -> list[CompletionRecord]:
    """The records."""
    return [_record(number, random.Random(number)) for number in range(60)]


def _record(number: int, chance: random.Random) -> CompletionRecord:
    build = (_plain, _plain, _tokens, _streamed, _tool, _failed, _plain, _refused, _parts, _several)
    record = build[number % len(build)](number, chance)
    record.call_id = f"call-{number:02}"
    record.start_time_unix_us = int(START.timestamp()) * 1_000_000 + number * 3 * _HOUR // 2
    record.duration_us = chance.randrange(200_000, 9_000_000)
    record.caller = ("web", "app", "batch")[number % 3]
    record.upstream = ("east", "west")[number % 2]
    record.labels["team"] = ("search", "ads", "support")[chance.randrange(3)]
    return record


def _request(number: int, *messages: dict[str, Any], **more: Any) -> ChatCompletionRequest:
    members = {"model": MODELS[number // 10 % 2], "messages": [_SYSTEM, *messages]}
    return chatpb.from_dict(
        {**members, "user": f"user-{number % 7}", **more}, ChatCompletionRequest
    )


def _completion(number: int, *choices: dict[str, Any], **more: Any) -> dict[str, Any]:
    prompt, answer = 40 + 7 * number, 5 + number % 11
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": int(START.timestamp()) + number * 5400,
        "model": MODELS[number // 10 % 2],
        "choices": list(choices),
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": answer,
            "total_tokens": prompt + answer,
            "prompt_tokens_details": {"cached_tokens": 32 if number % 3 else 0},
        },
        **more,
    }


def _choice(content: str | None, index: int = 0, reason: str = "stop", **more: Any) -> Any:
    message = {"role": "assistant", "content": content, "refusal": None, **more.pop("message", {})}
    return {"index": index, "message": message, "logprobs": None, "finish_reason": reason, **more}


def _question(number: int, chance: random.Random) -> dict[str, Any]:
    return {"role": "user", "content": chance.choice(_QUESTIONS).format(number=number)}


def _plain(number: int, chance: random.Random) -> CompletionRecord:
    asked = [_question(number, chance)]
    if number % 4 == 1:  # the second turn of a conversation
        first = {"role": "assistant", "content": chance.choice(_ANSWERS)}
        asked = [{"role": "user", "content": "Hello!"}, first, *asked]
    limit = (None, 16, 64)[number % 3]
    reason = "length" if limit and chance.random() < 0.5 else "stop"
    limits = {"max_completion_tokens" if number % 2 else "max_tokens": limit} if limit else {}
    return CompletionRecord(
        request=_request(number, *asked, temperature=number % 5 / 4, **limits),
        completion=chatpb.from_dict(
            _completion(number, _choice(chance.choice(_ANSWERS), reason=reason))
        ),
        http_status=200,
    )


def _token(word: str, chance: random.Random) -> dict[str, Any]:
    """A token with three alternatives; the sampled one is any of them, or none."""
    numbers = sorted((round(-9 * chance.random() ** 2 - 0.01, 4) for _ in range(3)), reverse=True)
    others = [
        {"token": f"{word}{sign}", "logprob": value, "bytes": list(f"{word}{sign}".encode())}
        for sign, value in zip(("", "s", "é"), numbers, strict=True)
    ]
    chance.shuffle(others[1:])
    sampled = chance.choice([*others, *others[:1], {**others[2], "logprob": -6.5}])
    return {**sampled, "top_logprobs": others}


def _listed(text: str, chance: random.Random) -> list[dict[str, Any]]:
    words = text.split(" ")
    return [_token(word if place == 0 else f" {word}", chance) for place, word in enumerate(words)]


def _of_tokens(tokens: list[dict[str, Any]], index: int = 0) -> Any:
    text = "".join(token["token"] for token in tokens)
    return _choice(text, index, logprobs={"content": tokens, "refusal": None})


def _tokens(number: int, chance: random.Random) -> CompletionRecord:
    choices = [
        _of_tokens(_listed(chance.choice(_ANSWERS), chance), i) for i in range(1 + number % 4)
    ]
    return CompletionRecord(
        request=_request(number, _question(number, chance), logprobs=True, n=len(choices)),
        completion=chatpb.from_dict(_completion(number, *choices)),
        http_status=200,
    )


def _streamed(number: int, chance: random.Random) -> CompletionRecord:
    words = chance.choice(_ANSWERS).split(" ")
    deltas: list[tuple[dict[str, Any], str | None]] = [({"role": "assistant", "content": ""}, None)]
    deltas += [({"content": word if i == 0 else f" {word}"}, None) for i, word in enumerate(words)]
    deltas += [({}, "stop")]
    head = {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion.chunk",
        "created": int(START.timestamp()) + number * 5400,
        "model": MODELS[number // 10 % 2],
    }
    chunks = [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
        for delta, reason in deltas
    ]
    times = [200_000 + number * 1000]
    for _ in chunks[1:]:
        times.append(times[-1] + chance.randrange(5_000, 90_000))
    return CompletionRecord(
        request=_request(number, _question(number, chance), stream=True),
        chunks=[chatpb.from_dict(each, ChatCompletionChunk) for each in chunks],
        chunk_times_us=times,
        http_status=200,
    )


def _tool(number: int, chance: random.Random) -> CompletionRecord:
    """A call of a tool or, in the record 20 later, the answer that its result led to."""
    city = _CITIES[number % 20 // 10 + number // 40 * 2]
    call = {
        "id": f"tool-{number - number % 40 // 20 * 20}",
        "type": "function",
        "function": {"name": "get_weather", "arguments": json.dumps({"city": city})},
    }
    asked = {"role": "user", "content": f"What is the weather in {city}?"}
    if number % 40 < 20:
        return CompletionRecord(
            request=_request(number, asked, tools=[_TOOL]),
            completion=chatpb.from_dict(
                _completion(
                    number, _choice(None, reason="tool_calls", message={"tool_calls": [call]})
                )
            ),
            http_status=200,
        )
    made = {"role": "assistant", "content": None, "tool_calls": [call]}
    result = {"role": "tool", "tool_call_id": call["id"], "content": f"{chance.randrange(30)} °C"}
    return CompletionRecord(
        request=_request(number, asked, made, result, tools=[_TOOL]),
        completion=chatpb.from_dict(_completion(number, _choice(f"Nice in {city}."))),
        http_status=200,
    )


def _failed(number: int, chance: random.Random) -> CompletionRecord:
    status, code = chance.choice([(429, "rate_limit_exceeded"), (500, None), (400, "bad_request")])
    error = {"message": f"Failed with {status}", "type": "requests", "param": None, "code": code}
    return CompletionRecord(
        request=_request(number, _question(number, chance)),
        error=chatpb.from_dict({"error": error}, ErrorResponse),
        http_status=status,
        status=8 if status == 429 else 13,
    )


def _refused(number: int, chance: random.Random) -> CompletionRecord:
    if number % 20 < 10:
        choice = _choice(None, message={"refusal": "I cannot help with that."})
    else:
        choice = _choice("We", reason="content_filter")
    return CompletionRecord(
        request=_request(number, _question(number, chance)),
        completion=chatpb.from_dict(_completion(number, choice)),
        http_status=200,
    )


def _parts(number: int, chance: random.Random) -> CompletionRecord:
    parts = [
        {"type": "text", "text": "What is "},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "text", "text": "this? I want a refund."},
    ]
    return CompletionRecord(
        request=_request(
            number,
            {"role": "user", "content": parts},
            response_format={"type": "json_object"},
        ),
        completion=chatpb.from_dict(
            _completion(number, _choice(chance.choice(['{"kind":"shoe"}', "A shoe."])))
        ),
        http_status=200,
    )


def _several(number: int, chance: random.Random) -> CompletionRecord:
    choices = [_choice(chance.choice(_ANSWERS), index) for index in (1, 0, 2)]
    return CompletionRecord(
        request=_request(
            number, {"role": "user", "content": "Where is my order?"}, n=3, seed=number
        ),
        completion=chatpb.from_dict(_completion(number, *choices)),
        http_status=200,
    )
