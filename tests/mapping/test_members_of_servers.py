"""Members that OpenAI does not document, also in messages stored before they had fields."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.message import Message

import chatpb
from chatpb.v1 import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionMessage,
    Choice,
    ChoiceDelta,
    CompletionUsage,
    MatchedStop,
    Residue,
    ServiceTier,
    TopLogprob,
    UsageCost,
)

# What OpenAI's message has beside the content, and chatpb's residue for it.
_MESSAGE: dict[str, Any] = {"role": "assistant", "refusal": None, "annotations": []}
_COUNTS = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


@pytest.mark.parametrize(
    ("members", "message"),
    [
        pytest.param(
            {"content": [{"type": "text", "text": "4"}], **_MESSAGE},
            ChatCompletionMessage(content_parts='[{"type":"text","text":"4"}]'),
            id="parts",
        ),
        pytest.param(
            {"content": [], **_MESSAGE}, ChatCompletionMessage(content_parts="[]"), id="no parts"
        ),
        pytest.param(
            {"content": {"a": None}, **_MESSAGE},
            ChatCompletionMessage(content_parts='{"a":null}'),
            id="an object",
        ),
        pytest.param(
            {"content": None, **_MESSAGE}, ChatCompletionMessage(), id="null, as without content"
        ),
        pytest.param(
            {"content": 4, **_MESSAGE},
            ChatCompletionMessage(residue=Residue(extra_json='{"content":4}')),
            id="neither form",
        ),
        pytest.param(
            {"content_parts": ["x"], "content": "4", **_MESSAGE},
            ChatCompletionMessage(
                content="4", residue=Residue(extra_json='{"content_parts":["x"]}')
            ),
            id="a member of the field's name",
        ),
        pytest.param({"content": ["x"]}, ChoiceDelta(content_parts='["x"]'), id="in a delta"),
        pytest.param(
            {"token": "a", "logprob": -1.0, "bytes": [97], "id": 0},
            TopLogprob(token="a", logprob=-1.0, id=0),
            id="the number of a token",
        ),
        pytest.param(
            {"stop_reason": "</s>", "matched_stop": 2, "index": 0},
            Choice(
                stop_reason=MatchedStop(text="</s>"),
                matched_stop=MatchedStop(token_id=2),
                residue=Residue(absent_fields=[3, 4]),
            ),
            id="a string or a number",
        ),
        pytest.param(
            {**_COUNTS, "cost": 0},
            CompletionUsage(cost=UsageCost(amount=0.0)),
            id="a cost of nothing",
        ),
        pytest.param(
            {**_COUNTS, "cost": {"total_cost": 0.5}},
            CompletionUsage(cost=UsageCost(breakdown='{"total_cost":0.5}')),
            id="a cost in parts",
        ),
    ],
)
def test_both_directions(members: dict[str, Any], message: Message) -> None:
    read = chatpb.from_dict(members, type(message))
    assert message == read
    assert members == chatpb.to_dict(message)
    text = json.dumps(members).encode()
    assert message == chatpb.from_json(text, type(message))
    assert members == json.loads(chatpb.to_json(message))


def test_messages_that_were_stored_before_keep_their_json() -> None:
    """Then their members were unknown, and so were words."""
    stored = ChatCompletion(
        residue=Residue(
            absent_fields=[1, 2, 3, 4, 5, 8],
            extra_json='{"service_tier":"on_demand","provider":"P","citations":["a"],"timings":{}}',
        )
    )
    text = chatpb.to_json(stored)
    assert {
        "service_tier": "on_demand",
        "provider": "P",
        "citations": ["a"],
        "timings": {},
    } == json.loads(text)
    assert chatpb.from_json(text) == ChatCompletion(
        service_tier=ServiceTier.SERVICE_TIER_ON_DEMAND,
        provider="P",
        citations=["a"],
        timings="{}",
        residue=Residue(absent_fields=[1, 2, 3, 4, 5, 8]),
    )


def test_a_content_that_is_set_after_reading_wins() -> None:
    parts = ChatCompletionMessage(content_parts="[]", content="4")
    assert chatpb.to_dict(parts)["content"] == "4"
    stored = ChatCompletionMessage(residue=Residue(extra_json='{"content":["x"]}'))
    assert chatpb.to_dict(stored)["content"] == ["x"]
    stored.content_parts = '["y"]'
    assert chatpb.to_dict(stored)["content"] == ["y"]
    assert json.loads(chatpb.to_json(stored))["content"] == ["y"]


def test_parts_that_another_content_hides_are_read_nevertheless() -> None:
    """Both implementations refuse bytes that no protobuf runtime reads."""
    content = ChatCompletionMessage(content="4").SerializeToString()
    parts = ChatCompletionMessage(content_parts="x").SerializeToString().replace(b"x", b"\x89")
    with pytest.raises(chatpb.ConversionError, match="not the binary form"):
        chatpb.binary_to_json(content + parts, ChatCompletionMessage)


@pytest.mark.parametrize("lists", ["null_fields", "absent_fields"])
def test_a_field_without_a_member_cannot_be_null_or_missing(lists: str) -> None:
    number = ChatCompletionMessage.CONTENT_PARTS_FIELD_NUMBER
    message = ChatCompletionMessage(residue=Residue(**{lists: [number]}))  # type: ignore[arg-type]
    with pytest.raises(chatpb.ConversionError, match=f"field {number}, which the schema does not"):
        chatpb.to_json(message)


def test_parts_that_are_not_json_are_an_error() -> None:
    broken = ChatCompletionMessage(content_parts="[")
    with pytest.raises(chatpb.ConversionError) as caught:
        chatpb.to_json(ChatCompletion(choices=[Choice(message=broken)]))
    assert caught.value.path == "$.choices[0].message.content"


def test_parts_are_folded() -> None:
    def chunk(delta: dict[str, Any]) -> ChatCompletionChunk:
        members = {"choices": [{"index": 0, "delta": delta, "token_ids": [1]}]}
        return chatpb.from_dict(members, ChatCompletionChunk)

    whole = chatpb.fold(
        [
            chunk({"content": [{"type": "thinking", "thinking": "H"}]}),
            chunk({"content": [{"type": "thinking", "thinking": "m"}]}),
            chunk({"content": "4"}),
        ]
    )
    message = whole.choices[0].message
    assert message.content_parts == (
        '[{"type":"thinking","thinking":"Hm"},{"type":"text","text":"4"}]'
    )
    assert not message.HasField("content")
    assert whole.choices[0].token_ids == [1, 1, 1]
