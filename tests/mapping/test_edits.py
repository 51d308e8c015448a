"""Messages that a program changes after reading them: what it sets wins over the residue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.message import Message

import chatpb
from chatpb.v1 import (
    ChatCompletion,
    ChatCompletionMessage,
    ChatCompletionRequest,
    ChatCompletionTokenLogprob,
    Choice,
    FinishReason,
    Residue,
    Stop,
)

STOP = FinishReason.FINISH_REASON_STOP
MESSAGE: dict[str, Any] = {"role": "assistant", "content": "hi", "refusal": None, "annotations": []}


@pytest.mark.parametrize(
    ("kind", "read", "edit", "expected"),
    [
        pytest.param(
            Choice,
            {"index": 0, "finish_reason": "eos", "x": 1},
            Choice(finish_reason=STOP),
            {"index": 0, "finish_reason": "stop", "x": 1},
            id="an unknown word",
        ),
        pytest.param(
            Choice,
            {"message": None},
            Choice(message=ChatCompletionMessage(content="hi")),
            {"message": MESSAGE},
            id="null",
        ),
        pytest.param(
            Choice,
            {"message": "text", "index": "1"},
            Choice(message=ChatCompletionMessage(content="hi"), index=2),
            {"message": MESSAGE, "index": 2},
            id="a text in place of a message",
        ),
        pytest.param(
            ChatCompletion,
            {"id": 7, "created": "1715361795", "model": {}},
            ChatCompletion(id="a", created=1),
            {"id": "a", "created": 1, "model": {}},
            id="scalars without presence",
        ),
        pytest.param(
            ChatCompletion,
            {"id": "a", "choices": {"b": 1}, "metadata": [1], "x": [1]},
            ChatCompletion(choices=[Choice(index=3)], metadata={"a": "b"}),
            {
                "id": "a",
                "choices": [{"index": 3, "logprobs": None, "finish_reason": None}],
                "metadata": {"a": "b"},
                "x": [1],
            },
            id="a list and a map",
        ),
        pytest.param(
            ChatCompletionRequest,
            {"stop": {"a": 1}, "model": "m", "messages": []},
            ChatCompletionRequest(stop=Stop(sequence="END")),
            {"stop": "END", "model": "m", "messages": []},
            id="a union",
        ),
        pytest.param(
            ChatCompletionMessage,
            {"role": "assistant", "content": [{"a": 1}], "x": 1},
            ChatCompletionMessage(content="hi"),
            {"role": "assistant", "content": "hi", "x": 1},
            id="a string in place of parts",
        ),
        pytest.param(
            ChatCompletionMessage,
            {"role": "assistant", "content": 1, "x": 1},
            ChatCompletionMessage(content_parts="[2]"),
            {"role": "assistant", "content": [2], "x": 1},
            id="parts in place of a number",
        ),
        pytest.param(
            ChatCompletionTokenLogprob,
            {"token": 1, "logprob": 0.5, "bytes": "x", "top_logprobs": []},
            ChatCompletionTokenLogprob(token="a", bytes=b"b"),
            {"token": "a", "logprob": 0.5, "bytes": [98], "top_logprobs": []},
            id="bytes",
        ),
    ],
)
@pytest.mark.parametrize("is_binary", [False, True], ids=["message", "binary"])
def test_what_is_set_after_reading_is_written(
    kind: type[Message],
    read: dict[str, Any],
    edit: Message,
    expected: dict[str, Any],
    is_binary: bool,
) -> None:
    message = chatpb.from_dict(read, kind)
    assert read == chatpb.to_dict(message)

    message.MergeFrom(edit)

    if is_binary:
        text = chatpb.binary_to_json(message.SerializeToString(), kind)
        assert expected == chatpb.to_dict(chatpb.from_json(text, kind))
    else:
        assert expected == chatpb.to_dict(message)


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(lambda choice: choice.ClearField("finish_reason"), id="cleared"),
        pytest.param(lambda choice: choice.message.SetInParent(), id="another field"),
    ],
)
def test_what_is_not_set_stays_as_it_was_read(edit: Callable[[Choice], None]) -> None:
    choice = chatpb.from_dict({"finish_reason": "eos"}, Choice)
    edit(choice)
    assert "eos" == chatpb.to_dict(choice)["finish_reason"]


def test_an_old_message_keeps_a_member_that_has_a_field_now() -> None:
    stored = Choice(residue=Residue(extra_json='{"finish_reason":"stop"}'))

    text = chatpb.to_json(stored)

    assert b'"finish_reason":"stop"' in text
    assert STOP == chatpb.from_json(text, Choice).finish_reason


def test_a_value_that_the_schema_does_not_know_does_not_win() -> None:
    choice = chatpb.from_dict({"finish_reason": "eos"}, Choice)
    choice.finish_reason = 77  # type: ignore[assignment]
    assert b'"eos"' in chatpb.to_json(choice, ignore_unknown_fields=True)


READ = {
    "index": None,
    "message": {"role": "assistant"},
    "logprobs": 1.50,
    "finish_reason": "eos",
    "a b": [1e2, "\ud800"],
}
DEFAULT = {"index": 0, "logprobs": None, "finish_reason": None}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        pytest.param((), {**DEFAULT, "message": {"role": "assistant"}}, id="all"),
        pytest.param(("finish_reason",), {**READ, "finish_reason": None}, id="an unknown word"),
        pytest.param(("index",), {**READ, "index": 0}, id="null"),
        pytest.param(
            ("a b", "logprobs", "a b"),
            {key: value for key, value in READ.items() if key != "a b"} | {"logprobs": None},
            id="two",
        ),
        pytest.param(("message", "id", "residue"), READ, id="not in the residue"),
    ],
)
def test_what_was_read_can_be_forgotten(names: tuple[str, ...], expected: dict[str, Any]) -> None:
    choice = chatpb.from_dict(READ, Choice)

    chatpb.clear_residue(choice, *names)

    assert expected == chatpb.to_dict(choice)
    assert choice == chatpb.from_json(chatpb.to_json(choice), Choice)


def test_absent_and_empty_members_can_be_forgotten() -> None:
    completion = chatpb.from_dict({"id": "a", "choices": [], "metadata": {}})
    chatpb.clear_residue(completion, "metadata", "object", "created", "model")
    assert chatpb.to_dict(completion) == {
        "id": "a",
        "object": "chat.completion",
        "created": 0,
        "model": "",
        "choices": [],
    }
    chatpb.clear_residue(completion, "system_fingerprint")
    assert not completion.HasField("residue")
    chatpb.clear_residue(completion, "system_fingerprint")


def test_the_spelling_of_the_other_members_is_kept() -> None:
    choice = chatpb.from_json(b'{"a":1.50,"b":NaN,"c":"\\ud800","d":1}', Choice, allow_nan=True)
    chatpb.clear_residue(choice, "d")
    assert '{"a":1.50,"b":NaN,"c":"\\ud800"}' == choice.residue.extra_json


@pytest.mark.parametrize(
    ("forget", "kind", "reason"),
    [
        pytest.param(
            lambda: chatpb.clear_residue(Stop(), "sequence"),
            TypeError,
            "expected a message that mirrors a JSON object, got a Stop",
            id="a union",
        ),
        pytest.param(
            lambda: chatpb.clear_residue(Residue(), "extra_json"),
            TypeError,
            r"chatpb\.v1\.Residue is neither",
            id="a residue",
        ),
        pytest.param(
            lambda: chatpb.clear_residue({"a": 1}, "a"),  # type: ignore[arg-type]
            TypeError,
            r"expected a message of chatpb\.v1, got a dict",
            id="no message",
        ),
        pytest.param(
            lambda: chatpb.clear_residue(Choice(), 5),  # type: ignore[arg-type]
            TypeError,
            "expected the name of a member, got an int",
            id="a number",
        ),
        pytest.param(
            lambda: chatpb.clear_residue(Choice(residue=Residue(extra_json="[1]")), "a"),
            chatpb.ConversionError,
            "extra_json is not a JSON object but an array",
            id="an array",
        ),
        pytest.param(
            lambda: chatpb.residue(Choice(residue=Residue(extra_json="[1]"))),
            chatpb.ConversionError,
            "extra_json is not a JSON object but an array",
            id="an array in residue()",
        ),
    ],
)
def test_what_cannot_be_forgotten(
    forget: Callable[[], object], kind: type[Exception], reason: str
) -> None:
    with pytest.raises(chatpb.ChatpbError, match=reason) as caught:
        forget()
    assert isinstance(caught.value, kind)
