"""Conversions to and from the objects of OpenAI's library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from openai.types import chat

import chatpb
from chatpb.openai import from_openai, to_openai
from chatpb.v1 import ChatCompletionChunk
from support import recordings
from support.equality import tagged

_COMPLETION = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function",'
    b'"function":{"name":"f","arguments":"{}"},"extra_content":{"x":[1]}}]},"logprobs":null,'
    b'"finish_reason":"eos"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,'
    b'"cost":0.5},"service_tier":"on_demand","provider":null}'
)
_CHUNK = (
    b'{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,'
    b'"delta":{"content":"hi","reasoning":"r"},"finish_reason":null}],"usage":null}'
)


def test_a_completion() -> None:
    message = chatpb.from_json(_COMPLETION)

    model = to_openai(message)

    assert isinstance(model, chat.ChatCompletion)
    (choice,) = model.choices
    assert choice.message.tool_calls is not None
    assert choice.message.tool_calls[0].function.name == "f"  # type: ignore[union-attr]
    assert choice.finish_reason == "eos"  # type: ignore[comparison-overlap]
    assert message == from_openai(model)


def test_a_chunk() -> None:
    message = chatpb.from_json(_CHUNK, ChatCompletionChunk)

    model = to_openai(message)

    assert isinstance(model, chat.ChatCompletionChunk)
    assert model.choices[0].delta.content == "hi"
    assert message == from_openai(model)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"NaN", id="nan"),
        pytest.param(b"-Infinity", id="infinity"),
        pytest.param(b'{"a":[Infinity]}', id="in an object"),
        pytest.param(b"1e400", id="beyond the doubles"),
    ],
)
def test_numbers_that_are_not_finite_in_members_that_the_library_does_not_know(
    value: bytes,
) -> None:
    message = chatpb.from_json(_COMPLETION.replace(b"0.5", value), allow_nan=True)

    again = from_openai(to_openai(message))

    assert repr(chatpb.to_dict(message, allow_nan=True)) == repr(
        chatpb.to_dict(again, allow_nan=True)
    )


def test_other_objects_are_refused() -> None:
    with pytest.raises(TypeError, match="expected a ChatCompletion"):
        from_openai("x")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="expected a ChatCompletion"):
        to_openai(chatpb.v1.Choice())  # type: ignore[call-overload]


def test_recorded_completions(corpus: Path) -> None:
    for recording in recordings.completions(corpus):
        message = chatpb.from_json(recording.body)
        if message.choices:
            again = chatpb.to_dict(from_openai(to_openai(message)))
            assert tagged(chatpb.to_dict(message)) == tagged(again), recording.path


def test_importing_chatpb_imports_nothing_heavy() -> None:
    code = "import sys, chatpb; print(sorted({m.partition('.')[0] for m in sys.modules}))"
    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    for name in ("openai", "grpc", "pydantic", "click", "rich", "aiohttp", "pyarrow"):
        assert f"'{name}'" not in modules
