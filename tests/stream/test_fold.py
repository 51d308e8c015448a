"""fold gives the completion that a client would have assembled, and unfold takes it apart again."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import chatpb
from chatpb._mapping.schema import mapping_of
from chatpb.v1 import ChatCompletion, ChatCompletionChunk
from support import recordings
from support.equality import tagged
from support.strategies import json_objects

_HEAD = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "m",
    "system_fingerprint": None,
}


def folded(*chunks: dict[str, Any]) -> dict[str, Any]:
    return chatpb.to_dict(
        chatpb.fold(chatpb.from_dict(chunk, ChatCompletionChunk) for chunk in chunks)
    )


def choices(*deltas: dict[str, Any], index: int = 0) -> list[dict[str, Any]]:
    return [
        {**_HEAD, "choices": [{"index": index, "delta": delta, "finish_reason": None}]}
        for delta in deltas
    ]


def message(*deltas: dict[str, Any]) -> Any:
    (choice,) = folded(*choices(*deltas))["choices"]
    return choice["message"]


@given(members=json_objects(mapping_of(ChatCompletion)))
def test_unfold_and_fold_give_the_completion_back(members: dict[str, Any]) -> None:
    completion = chatpb.from_json(json.dumps(members))

    assert completion == chatpb.fold(chatpb.unfold(completion))


@given(data=st.data())
def test_fold_takes_any_chunks(data: st.DataObject) -> None:
    mapped = mapping_of(ChatCompletionChunk)
    chunks = [
        chatpb.from_json(json.dumps(members), ChatCompletionChunk)
        for members in data.draw(st.lists(json_objects(mapped), min_size=1, max_size=4))
    ]
    completion = chatpb.fold(chunks)

    assert completion == chatpb.fold(chatpb.unfold(completion))


def test_a_stream_as_openai_sends_it() -> None:
    tokens = [
        {"token": text, "logprob": -0.5, "bytes": list(text.encode()), "top_logprobs": []}
        for text in ("Hel", "lo")
    ]
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    head = {**_HEAD, "service_tier": "default", "usage": None}
    pieces: list[dict[str, Any]] = [
        {"delta": {"role": "assistant", "content": "", "refusal": None}, "logprobs": None},
        *(
            {"delta": {"content": t["token"]}, "logprobs": {"content": [t], "refusal": None}}
            for t in tokens
        ),
        {"delta": {}, "logprobs": None, "finish_reason": "stop"},
    ]
    stream = [
        {**head, "choices": [{"index": 0, "finish_reason": None, **piece}], "obfuscation": "x7"}
        for piece in pieces
    ]
    stream.append({**head, "choices": [], "usage": usage})

    assert folded(*stream) == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "system_fingerprint": None,
        "service_tier": "default",
        "usage": usage,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "refusal": None},
                "logprobs": {"content": tokens, "refusal": None},
                "finish_reason": "stop",
            }
        ],
    }


def test_choices_are_told_apart_by_index() -> None:
    chunks = [
        *choices({"content": "b1"}, index=1),
        *choices({"content": "a1"}),
        *choices({"content": "b2"}, index=1),
        *choices({"content": "a2"}),
    ]
    assert [(c["index"], c["message"]["content"]) for c in folded(*chunks)["choices"]] == [
        (0, "a1a2"),
        (1, "b1b2"),
    ]


def _call(**members: Any) -> dict[str, Any]:
    return {"tool_calls": [members]}


@pytest.mark.parametrize(
    ("deltas", "expected"),
    [
        pytest.param(
            [
                _call(index=0, id="a", type="function", function={"name": "f", "arguments": ""}),
                _call(index=0, function={"arguments": "{"}),
                _call(index=1, id="b", type="function", function={"name": "g", "arguments": ""}),
                _call(index=0, function={"arguments": "}"}),
                _call(index=1, function={"arguments": "[]"}),
            ],
            [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                {"id": "b", "type": "function", "function": {"name": "g", "arguments": "[]"}},
            ],
            id="by index",
        ),
        pytest.param(
            [
                _call(function={"name": "f", "arguments": "{"}),
                _call(function={"arguments": "}"}),
            ],
            [{"function": {"name": "f", "arguments": "{}"}}],
            id="by position where the index is missing",
        ),
        pytest.param(
            [
                _call(id="a", function={"name": "f", "arguments": "{}"}),
                _call(id="b", function={"name": "f", "arguments": "[]"}),
            ],
            [
                {"id": "a", "function": {"name": "f", "arguments": "{}"}},
                {"id": "b", "function": {"name": "f", "arguments": "[]"}},
            ],
            id="no index, whole calls one by one, as Gemini and Mistral send them",
        ),
        pytest.param(
            [
                _call(index=0, id="a", function={"name": "f", "arguments": "1"}),
                _call(index=0, id="b", function={"name": "g", "arguments": "2"}),
                _call(index=0, function={"arguments": "3"}),
            ],
            [
                {"id": "a", "function": {"name": "f", "arguments": "1"}},
                {"id": "b", "function": {"name": "g", "arguments": "23"}},
            ],
            id="an index used again for another call",
        ),
        pytest.param(
            [
                _call(index=0, id="a", function={"name": "f", "arguments": ""}),
                _call(index=0, id="", type=None, function={"name": "", "arguments": "{}"}),
            ],
            [{"id": "a", "type": None, "function": {"name": "f", "arguments": "{}"}}],
            id="empty and null do not erase",
        ),
        pytest.param(
            [{"tool_calls": {"index": 0, "function": {"name": "f", "arguments": "{}"}}}],
            [{"function": {"name": "f", "arguments": "{}"}}],
            id="an object in place of the list, as TGI sends it",
        ),
    ],
)
def test_tool_calls(deltas: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert expected == message(*deltas)["tool_calls"]


@pytest.mark.parametrize(
    ("deltas", "expected"),
    [
        pytest.param(
            [{"reasoning_content": "a"}, {"reasoning_content": None}, {"reasoning_content": "b"}],
            {"reasoning_content": "ab"},
            id="reasoning",
        ),
        pytest.param(
            [{"refusal": "I "}, {"refusal": "can't"}], {"refusal": "I can't"}, id="refusal"
        ),
        pytest.param([{"content": None}, {}], {"content": None}, id="only null stays null"),
        pytest.param(
            [
                {"content": ""},
                {"content": [{"type": "thinking"}]},
                {"content": "a"},
                {"content": "b"},
            ],
            {"content": [{"type": "thinking"}, {"type": "text", "text": "ab"}]},
            id="a list and then text, as Mistral sends it",
        ),
        pytest.param(
            [{"reasoning_details": [{"text": "a"}]}, {"reasoning_details": [{"text": "b"}]}],
            {"reasoning_details": [{"text": "a"}, {"text": "b"}]},
            id="arrays that the schema does not know are appended",
        ),
        pytest.param(
            [
                {"audio": {"id": "x", "data": "AA==", "transcript": "a"}},
                {"audio": {"data": "AQI=", "transcript": "b"}},
                {"audio": {"expires_at": 7}},
            ],
            {"audio": {"id": "x", "data": "AAEC", "transcript": "ab", "expires_at": 7}},
            id="audio is joined as bytes",
        ),
        pytest.param(
            [
                {"function_call": {"name": "f", "arguments": ""}},
                {"function_call": {"arguments": "{}"}},
            ],
            {"function_call": {"name": "f", "arguments": "{}"}},
            id="function call",
        ),
    ],
)
def test_deltas(deltas: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    assert expected == message(*deltas)


def test_a_later_chunk_does_not_erase() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    first = {
        **_HEAD,
        "service_tier": "priority",
        "usage": usage,
        "choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "eos_token"}],
        "citations": ["u"],
    }
    second = {
        "id": "",
        "object": "",
        "created": 0,
        "model": "",
        "service_tier": None,
        "usage": None,
        "choices": [{"index": 0, "finish_reason": None, "delta": {}}],
        "citations": None,
        "x": 1,
    }
    third = {"object": "chat.completion.chunk", "error": {"code": 429}}

    assert folded(first, second, third) == {
        **_HEAD,
        "object": "chat.completion",
        "service_tier": "priority",
        "usage": usage,
        "choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": "eos_token"}],
        "citations": ["u"],
        "x": 1,
        "error": {"code": 429},
    }


def test_the_whole_message_beside_the_deltas_counts_once() -> None:
    """Perplexity repeats the message, as it has grown, in each chunk."""
    chunks = choices({"role": "assistant", "content": "a"}, {"content": "b"})
    chunks[0]["choices"][0]["message"] = {"role": "assistant", "content": "a"}
    chunks[1]["choices"][0]["message"] = {"role": "assistant", "content": "ab"}

    assert folded(*chunks)["choices"][0]["message"] == {"role": "assistant", "content": "ab"}


def test_numbers_outside_the_schema_keep_their_spelling() -> None:
    chunk = chatpb.from_json(b'{"choices":[],"cost":0.00000537}', ChatCompletionChunk)
    assert b'"cost":0.00000537' in chatpb.to_json(chatpb.fold([chunk]))


@pytest.mark.parametrize("zero", [b"0", b"0.0", b"-0", b"-0.0", b"0e5", b"1e-400"])
@pytest.mark.parametrize(
    "members",
    [
        pytest.param(b'"usage":{"cost":%s}', id="typed"),
        pytest.param(b'"usage":{"prompt_tokens":%s}', id="of another type"),
        pytest.param(b'"timings":{"prompt_ms":%s}', id="in JSON text"),
        pytest.param(b'"x":%s', id="outside the schema"),
    ],
)
def test_a_zero_is_empty_however_it_is_written(members: bytes, zero: bytes) -> None:
    first, last = (
        chatpb.from_json(b'{"choices":[],' + members % number + b"}", ChatCompletionChunk)
        for number in (b"5", zero)
    )
    assert chatpb.fold([first]) == chatpb.fold([first, last])


def test_no_chunks_are_no_completion() -> None:
    with pytest.raises(chatpb.ConversionError, match="at least one chunk"):
        chatpb.fold([])


def test_unfold_streams_token_by_token() -> None:
    tokens: list[dict[str, Any]] = [
        {"token": text, "logprob": -1.0, "bytes": None, "top_logprobs": []} for text in "ab"
    ]
    completion = chatpb.from_dict(
        {
            "id": "c",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "ab", "refusal": None},
                    "logprobs": {"content": tokens, "refusal": None},
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
        }
    )
    chunks = [chatpb.to_dict(chunk) for chunk in chatpb.unfold(completion)]

    assert [chunk["object"] for chunk in chunks] == ["chat.completion.chunk"] * 5
    assert [chunk["choices"][0]["delta"] for chunk in chunks[:-1]] == [
        {"role": "assistant", "refusal": None},
        {"content": "a"},
        {"content": "b"},
        {},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]] == [
        None,
        None,
        None,
        "stop",
    ]
    assert (chunks[-1]["choices"], chunks[-1]["usage"]["total_tokens"]) == ([], 3)


def test_recorded_streams(corpus: Path) -> None:
    """A plain client that concatenates deltas assembles the same text, logprobs and arguments."""
    for recording in recordings.streams(corpus):
        path, texts = recording.path, recording.texts
        completion = chatpb.fold(chatpb.from_json(t, ChatCompletionChunk) for t in texts)
        expected: dict[tuple[int, str], str] = defaultdict(str)
        tokens: dict[int, int] = defaultdict(int)
        for text in texts:
            for choice in json.loads(text).get("choices") or ():
                for name, piece in (choice.get("delta") or {}).items():
                    if isinstance(piece, str) and name in ("content", "refusal", "reasoning"):
                        expected[choice["index"], name] += piece
                    elif isinstance(piece, list) and name == "content":
                        expected[choice["index"], name] += json.dumps(piece)
                tokens[choice["index"]] += len((choice.get("logprobs") or {}).get("content") or ())

        for choice in chatpb.to_dict(completion)["choices"]:
            index, whole = choice["index"], choice["message"]
            for name in ("refusal", "reasoning"):
                assert expected[index, name] == (whole.get(name) or ""), path
            if not isinstance(whole.get("content"), list):
                assert expected[index, "content"] == (whole.get("content") or ""), path
            assert tokens[index] == len((choice.get("logprobs") or {}).get("content") or ()), path
        assert completion == chatpb.fold(chatpb.unfold(completion)), path


def test_recorded_completions(corpus: Path) -> None:
    for recording in recordings.completions(corpus):
        completion = chatpb.from_json(recording.body)
        assert completion == chatpb.fold(chatpb.unfold(completion)), recording.path
        assert tagged(json.loads(recording.body)) == tagged(chatpb.to_dict(completion))
