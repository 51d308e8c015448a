"""Streams and completions as servers in the field send them: what fold and unfold make of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import chatpb
from chatpb.v1 import ChatCompletionChunk

_CASES = Path(__file__).with_name("cases")


def _parameters(file: str) -> list[Any]:
    cases = json.loads((_CASES / file).read_text())
    return [pytest.param(case, id=case["name"]) for case in cases]


def _call(call: dict[str, Any]) -> dict[str, Any]:
    members = {"id": call.get("id"), **call.get("function", {})}
    return {name: value for name, value in members.items() if value is not None}


@pytest.mark.parametrize("case", _parameters("fold.json"))
def test_fold(case: dict[str, Any]) -> None:
    """Expected are members of the completion, the members of the message, or its calls."""
    chunks = [chatpb.from_dict(chunk, ChatCompletionChunk) for chunk in case["chunks"]]
    folded = chatpb.fold(chunks)
    completion = chatpb.to_dict(folded)
    (choice,) = completion["choices"]
    message = choice["message"]
    found = {
        "top": {name: completion[name] for name in case["expect"].get("top", ())},
        "message": message,
        "tool_calls": [_call(call) for call in message.get("tool_calls") or ()],
    }

    assert case["expect"] == {name: found[name] for name in case["expect"]}, case["why"]
    assert folded == chatpb.fold(chatpb.unfold(folded))


@pytest.mark.parametrize("case", _parameters("unfold.json"))
def test_unfold(case: dict[str, Any]) -> None:
    completion = chatpb.from_dict(case["completion"])
    chunks = list(chatpb.unfold(completion))
    as_json = [chatpb.from_json(chatpb.to_json(chunk), ChatCompletionChunk) for chunk in chunks]

    assert completion == chatpb.fold(chunks)
    assert completion == chatpb.fold(as_json)


def test_the_last_resort_is_a_stream_that_clients_can_read() -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "delta": {}}
    completion = chatpb.from_dict({"id": "a", "choices": [choice]})
    chunks = [chatpb.to_dict(chunk) for chunk in chatpb.unfold(completion)]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]

    assert "Hi" == "".join(delta.get("content", "") for delta in deltas)
    assert [{}] * (len(chunks) - 1) == [
        {name: chunk[name] for name in chunk if name == "chat.completion"} for chunk in chunks[:-1]
    ]
    assert completion == chatpb.from_json(chunks[-1]["chat.completion"])
