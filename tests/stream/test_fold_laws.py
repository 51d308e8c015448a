"""What holds for every completion: unfold and fold give it back, in time linear in its size."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import chatpb
from chatpb._mapping.schema import mapping_of
from chatpb.v1 import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionMessage,
    ChoiceDelta,
    ToolCall,
)
from support.strategies import json_objects, values

_words = st.sampled_from(["", "a", "ab", "text", "thinking"])
_parts = st.recursive(
    st.fixed_dictionaries(
        {},
        optional={
            "type": _words,
            "text": _words | st.none(),
            "index": st.integers(0, 2) | values,
            "signature": _words,
        },
    ),
    lambda inner: st.fixed_dictionaries(
        {"type": _words}, optional={"thinking": st.lists(inner, max_size=3), "summary": inner}
    ),
    max_leaves=6,
)
_arrays = st.lists(_parts | _words | values, max_size=4)
_calls = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "index": st.integers(0, 2) | st.none(),
            "id": _words | values,
            "function": st.fixed_dictionaries(
                {}, optional={"name": _words | values, "arguments": _words}
            )
            | json_objects(mapping_of(ToolCall)),
        },
    )
    | values,
    max_size=4,
)


def _some(names: str, value: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(names.split()), value, max_size=2)


def _messages(base: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[Any]:
    """Messages with calls, arrays where strings are expected, and arrays of unknown members."""
    return st.none() | st.builds(
        lambda members, arrays, calls: {**members, **arrays, **calls},
        base,
        _some("content refusal reasoning reasoning_details images x", _arrays | _words),
        _some("tool_calls", _calls),
    )


_whole = _messages(json_objects(mapping_of(ChatCompletionMessage)))
_deltas = _messages(json_objects(mapping_of(ChoiceDelta)))
_choices = st.fixed_dictionaries(
    {},
    optional={
        "index": st.integers(0, 2) | values,
        "message": _whole | values,
        "delta": _deltas | values,
        "finish_reason": _words | st.none(),
        "x": _arrays,
    },
)
_completions = st.builds(
    lambda members, more: {**members, **more},
    json_objects(mapping_of(ChatCompletion)),
    st.fixed_dictionaries(
        {},
        optional={
            "choices": st.lists(_choices | values, max_size=3) | _choices,
            "object": st.sampled_from(["chat.completion", "chat.completion.chunk", "", "x"]),
            "chat.completion": st.just('{"id":"a"}') | values,
            "x": _arrays,
        },
    ),
)


@given(members=_completions)
def test_fold_of_unfold(members: dict[str, Any]) -> None:
    completion = chatpb.from_json(json.dumps(members))

    assert completion == chatpb.fold(chatpb.unfold(completion))


@given(
    chunks=st.lists(
        st.builds(lambda members, choices: {**members, "choices": choices}, _completions,
                  st.lists(_choices, max_size=3)),
        min_size=1,
        max_size=5,
    )
)  # fmt: skip
def test_fold_takes_any_chunks(chunks: list[dict[str, Any]]) -> None:
    messages = [chatpb.from_json(json.dumps(chunk), ChatCompletionChunk) for chunk in chunks]
    completion = chatpb.fold(messages)

    assert completion == chatpb.fold(chatpb.unfold(completion))


def test_fold_of_unfold_at_the_depth_limit() -> None:
    deep: Any = []
    for _ in range(198):
        deep = [deep]
    completion = chatpb.from_json(json.dumps({"object": "chat.completion.chunk", "x": deep}))

    assert completion == chatpb.fold(chatpb.unfold(completion))


def test_fold_of_unfold_with_numbers_that_equal_nothing() -> None:
    text = b'{"choices":[{"logprobs":{"content":[{"token":"a","logprob":NaN}]},"x":-Infinity}]}'
    completion = chatpb.from_json(text, allow_nan=True)
    folded = chatpb.fold(chatpb.unfold(completion))

    assert completion.SerializeToString() == folded.SerializeToString()


def _steps(function: Callable[[], object]) -> int:
    """The number of lines of chatpb that a function runs."""
    count = 0

    def in_frame(_frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        count += event == "line"
        return in_frame

    def at_call(frame: FrameType, _event: str, _: object) -> Any:
        return in_frame if "chatpb" in frame.f_code.co_filename else None

    before = sys.gettrace()
    sys.settrace(at_call)
    try:
        function()
    finally:
        sys.settrace(before)
    return count


def _shuffled(numbers: Iterable[int]) -> list[int]:
    shuffled = list(numbers)
    random.Random(0).shuffle(shuffled)
    return shuffled


_ORDERS: dict[str, Callable[[int], list[int]]] = {
    "ascending": lambda n: list(range(n)),
    "descending": lambda n: list(range(n))[::-1],
    "random": lambda n: _shuffled(range(n)),
    "interleaved": lambda n: [half + i for i in range(n // 2) for half in (0, n // 2)],
    "in rounds": lambda n: list(range(n // 4)) * 4,
    "falling rounds": lambda n: list(range(n // 4))[::-1] * 4,
    "one": lambda n: [0] * n,
}


def _choice(index: int, delta: dict[str, Any]) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": delta}]}


_STREAMS: dict[str, Callable[[int], dict[str, Any]]] = {
    "choices": lambda i: _choice(i, {"content": "a"}),
    "calls": lambda i: _choice(
        0, {"tool_calls": [{"index": i, "function": {"name": "f", "arguments": "a"}}]}
    ),
    "calls by id": lambda i: _choice(
        0, {"tool_calls": [{"id": f"c{i}", "function": {"arguments": "a"}}]}
    ),
    "calls without both": lambda i: _choice(
        0, {"tool_calls": [{"function": {"name": "fg"[: i % 2], "arguments": "a"}}]}
    ),
    "details": lambda i: _choice(
        0, {"reasoning_details": [{"index": i, "type": "text", "text": "a"}]}
    ),
    "parts": lambda i: _choice(
        0, {"content": [{"type": ["text", "thinking"][i % 2], "text": "a"}]}
    ),
    "messages": lambda i: {
        "choices": [{"index": i, "delta": {"content": "a"}, "message": {"content": "a"}}]
    },
}


@pytest.mark.parametrize("stream", _STREAMS)
@pytest.mark.parametrize("order", _ORDERS)
def test_fold_takes_linear_time(stream: str, order: str) -> None:
    def steps(n: int) -> int:
        chunks = [
            chatpb.from_dict(_STREAMS[stream](i), ChatCompletionChunk) for i in _ORDERS[order](n)
        ]
        return _steps(lambda: chatpb.fold(chunks))

    assert steps(160) < 4.4 * steps(40)


_COMPLETIONS: dict[str, Callable[[list[int]], dict[str, Any]]] = {
    "choices": lambda order: {"choices": [{"index": i, "message": {}} for i in order]},
    "calls": lambda order: {
        "choices": [{"index": 0, "message": {"tool_calls": [{"id": f"c{i}"} for i in order]}}]
    },
    "calls with an index": lambda order: {
        "choices": [{"index": 0, "message": {"tool_calls": [{"index": i} for i in order]}}]
    },
    "parts": lambda order: {
        "choices": [
            {"index": 0, "message": {"content": [{"type": "text", "text": str(i)} for i in order]}}
        ]
    },
    "texts": lambda order: {
        "choices": [
            {
                "index": 0,
                "message": {"content": "a" * len(order)},
                "logprobs": {"content": [{"token": "a"} for _ in order]},
            }
        ]
    },
}


@pytest.mark.parametrize("completion", _COMPLETIONS)
@pytest.mark.parametrize("order", _ORDERS)
def test_unfold_takes_linear_time(completion: str, order: str) -> None:
    def steps(n: int) -> int:
        made = chatpb.from_dict(_COMPLETIONS[completion](_ORDERS[order](n)))
        return _steps(lambda: list(chatpb.unfold(made)))

    assert steps(160) < 4.4 * steps(40)
