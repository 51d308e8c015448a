"""The builtin upstream: what it honours, and what it refuses in OpenAI's words."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from chatpb import from_json, residue
from chatpb_server.upstreams.builtin.tokens import pieces, tokenize
from support.builtin import CLOCK, HELLO, SHELL, WEATHER, choice, chunks, create, text


async def test_completion_shape() -> None:
    """The members are those that api.openai.com sends, in its order."""
    completion = await create()
    content = completion["choices"][0]["message"]["content"]
    tokens = len(tokenize(content))
    expected = {
        "id": completion["id"],
        "object": "chat.completion",
        "created": 1700000000,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": content,
                    "refusal": None,
                    "annotations": [],
                },
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": tokens,
            "total_tokens": 9 + tokens,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        "service_tier": "default",
        "system_fingerprint": completion["system_fingerprint"],
    }
    assert json.dumps(expected) == json.dumps(completion)
    assert completion["id"].startswith("chatcmpl-")


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({"n": 2, "logprobs": True, "top_logprobs": 3}, id="logprobs"),
        pytest.param({"tools": [WEATHER, SHELL]}, id="tools"),
        pytest.param({"functions": [WEATHER["function"]]}, id="functions"),
        pytest.param({"max_tokens": 2}, id="length"),
    ],
)
async def test_completion_needs_no_residue(members: dict[str, Any]) -> None:
    """The schema's typed fields say all that the builtin upstream does."""
    assert [] == residue(from_json(json.dumps(await create(**members))))


async def test_chunk_shape() -> None:
    first, *between, last, end = await chunks(stream_options={"include_usage": True})
    envelope = {
        "id": first["id"],
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "m",
        "service_tier": "default",
        "system_fingerprint": first["system_fingerprint"],
    }

    def expected(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        piece = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return {**envelope, "choices": [piece], "usage": None}

    opening = expected({"role": "assistant", "content": "", "refusal": None})
    assert json.dumps(opening) == json.dumps(first)
    for chunk in between:
        assert expected({"content": chunk["choices"][0]["delta"]["content"]}) == chunk
    assert expected({}, "stop") == last
    assert {**envelope, "choices": [], "usage": (await create())["usage"]} == end


async def test_no_usage_unless_asked() -> None:
    assert all("usage" not in chunk for chunk in await chunks())


def assembled(stream: list[Any]) -> dict[str, Any]:
    """The completion that chunks make, put together by concatenation alone."""
    found: dict[int, dict[str, Any]] = {}
    for chunk in stream:
        for part in chunk["choices"]:
            delta = part["delta"]
            if part["index"] not in found:
                message = {**delta, "annotations": []}
                found[part["index"]] = {"message": message, "logprobs": None}
                continue
            known = found[part["index"]]
            message = known["message"]
            if "content" in delta:
                message["content"] += delta["content"]
            for call in delta.get("tool_calls", []):
                calls = message.setdefault("tool_calls", [])
                if call["index"] == len(calls):
                    calls.append({k: v for k, v in call.items() if k != "index"})
                else:
                    [(kind, piece)] = [(k, v) for k, v in call.items() if k != "index"]
                    [(name, more)] = piece.items()
                    calls[call["index"]][kind][name] += more
            if "function_call" in delta:
                legacy = message.setdefault("function_call", {"arguments": ""})
                name = delta["function_call"].get("name", legacy.get("name"))
                arguments = legacy["arguments"] + delta["function_call"]["arguments"]
                message["function_call"] = {"name": name, "arguments": arguments}
            if part["logprobs"]:
                logprobs = known["logprobs"] or {"content": [], "refusal": None}
                known["logprobs"] = logprobs
                logprobs["content"] += part["logprobs"]["content"]
            known["finish_reason"] = part["finish_reason"]
    choices = [{"index": index, **found[index]} for index in sorted(found)]
    envelope = {name: stream[-1][name] for name in ("id", "created", "model", "service_tier")}
    return {
        **envelope,
        "object": "chat.completion",
        "system_fingerprint": stream[-1]["system_fingerprint"],
        "choices": choices,
        "usage": stream[-1]["usage"],
    }


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({}, id="plain"),
        pytest.param({"n": 3, "logprobs": True, "top_logprobs": 2}, id="n and logprobs"),
        pytest.param({"logprobs": True, "stop": ""}, id="empty stop"),
        pytest.param({"max_completion_tokens": 4, "logprobs": True}, id="length"),
        pytest.param({"tools": [WEATHER, CLOCK, SHELL], "n": 2}, id="tools"),
        pytest.param({"tools": [WEATHER], "max_tokens": 3}, id="cut call"),
        pytest.param({"functions": [WEATHER["function"]]}, id="functions"),
        pytest.param({"response_format": {"type": "json_object"}}, id="json"),
        pytest.param({"service_tier": "flex"}, id="tier"),
    ],
)
async def test_stream_agrees_with_completion(members: dict[str, Any]) -> None:
    stream = await chunks(**members, stream_options={"include_usage": True})
    assert await create(**members) == assembled(stream)


async def test_deterministic_in_the_seed() -> None:
    assert await create(seed=1) == await create(seed=1)
    assert await text(seed=1) != await text(seed=2)
    assert await text() != await text(messages=[HELLO, HELLO])


async def test_n() -> None:
    completion = await create(n=128)
    assert list(range(128)) == [c["index"] for c in completion["choices"]]
    assert 128 == len({c["message"]["content"] for c in completion["choices"]})
    usage = completion["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


@pytest.mark.parametrize("top", [None, 0, 1, 20])
async def test_logprobs(top: int | None) -> None:
    """Tokens spell the content; alternatives are sorted, distinct, and no more than certain."""
    members = {} if top is None else {"top_logprobs": top}
    answer = await choice(logprobs=True, seed=7, **members)
    entries = answer["logprobs"]["content"]
    spelled = bytes(byte for entry in entries for byte in entry["bytes"])
    assert answer["message"]["content"] == spelled.decode()
    assert answer["logprobs"]["refusal"] is None
    among = 0
    for entry in entries:
        ranked = entry["top_logprobs"]
        assert (top or 0) == len(ranked)
        assert len(ranked) == len({bytes(other["bytes"]) for other in ranked})
        values = [other["logprob"] for other in ranked]
        assert sorted(values, reverse=True) == values
        assert sum(map(math.exp, values)) <= 1 + 1e-9
        chosen = {name: entry[name] for name in ("token", "logprob", "bytes")}
        among += chosen in ranked
    assert not top or among > len(entries) / 2


async def test_logprobs_do_not_depend_on_how_many_are_asked_for() -> None:
    few = await choice(logprobs=True, top_logprobs=1, max_tokens=5)
    many = await choice(logprobs=True, top_logprobs=20)
    expected = [
        {**entry, "top_logprobs": entry["top_logprobs"][:1]}
        for entry in many["logprobs"]["content"][:5]
    ]
    assert expected == few["logprobs"]["content"]


async def test_greedy_sampling_takes_the_most_likely_token() -> None:
    answer = await choice(logprobs=True, top_logprobs=1, temperature=0)
    for entry in answer["logprobs"]["content"]:
        assert entry["token"] == entry["top_logprobs"][0]["token"]


def test_tokens_may_split_a_character() -> None:
    tokens = tokenize('The 🦜 paints 東京, {"a": 1234}.')
    assert [b"The", b" ", b"\xf0\x9f", b"\xa6\x9c", b" paints", " 東京".encode()] == tokens[:6]
    assert [("The", 1), (" ", 1), ("🦜", 2), (" paints", 1)] == list(pieces(tokens[:5]))
    assert [("The", 1), (" ", 1)] == list(pieces(tokens[:3]))


async def test_split_characters_are_spelled_as_openai_does() -> None:
    """A piece of a stream is whole characters, with the log probabilities of all its tokens."""
    for seed in range(100):
        for chunk in await chunks(seed=seed, logprobs=True):
            part = chunk["choices"][0]
            if part["delta"].get("content") == "🦜":
                expected = [("\\xf0\\x9f", [0xF0, 0x9F]), ("\\xa6\\x9c", [0xA6, 0x9C])]
                entries = part["logprobs"]["content"]
                assert expected == [(entry["token"], entry["bytes"]) for entry in entries]
                return
    pytest.fail("no answer had a parrot")


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_max_tokens(name: str) -> None:
    whole = await create()
    count = whole["usage"]["completion_tokens"]
    words = whole["choices"][0]["message"]["content"]
    cut = await create(**{name: 3})
    assert "length" == cut["choices"][0]["finish_reason"]
    assert 3 == cut["usage"]["completion_tokens"]
    assert b"".join(tokenize(words)[:3]).decode() == cut["choices"][0]["message"]["content"]
    assert "stop" == (await choice(**{name: count}))["finish_reason"]
    assert "length" == (await choice(**{name: count - 1}))["finish_reason"]


async def test_stop() -> None:
    """The answer ends before the first of the sequences, also where that spans tokens."""
    words = await text()
    spanning = words[9:15]
    assert len(tokenize(spanning)) > 1
    for stop in (spanning, ["no such text", spanning], [words[20:26], spanning]):
        answer = await choice(stop=stop, logprobs=True)
        expected = words[: words.index(spanning)]
        assert expected == answer["message"]["content"]
        assert "stop" == answer["finish_reason"]
        spelled = (bytes(entry["bytes"]) for entry in answer["logprobs"]["content"])
        assert expected.encode() == b"".join(spelled)
    assert words == await text(stop=["no such text"])


@pytest.mark.parametrize(
    ("asked", "expected"),
    [(None, "default"), ("auto", "default"), ("default", "default"), ("flex", "flex")],
)
async def test_service_tier(asked: str | None, expected: str) -> None:
    assert expected == (await create(service_tier=asked))["service_tier"]


async def test_unknown_members_and_nulls_are_fine() -> None:
    optional = ("temperature", "n", "stop", "tools", "tool_choice", "logprobs", "stream_options")
    assert await text(frobnicate={"a": 1}, **dict.fromkeys(optional))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param([{"type": "text", "text": "Hello"}], id="parts"),
        pytest.param([{"type": "image_url", "image_url": {"url": "https://a.b/c"}}], id="image"),
    ],
)
async def test_content_may_be_parts(content: Any) -> None:
    assert await text(messages=[{"role": "user", "content": content}])
