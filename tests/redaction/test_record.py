"""Redacted records: pieces of streams, JSON in strings, tokens, and what is left out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatpb import fold, from_dict, to_dict
from chatpb.redaction import (
    PatternRedactor,
    RedactionError,
    load_redactor,
    redact_record,
)
from chatpb.redaction._json import Text
from chatpb.redaction._pieces import cut, joined
from chatpb.v1.chat_completion_chunk_pb2 import ChatCompletionChunk
from chatpb.v1.chat_completion_request_pb2 import ChatCompletionRequest
from chatpb.v1.completion_record_pb2 import CompletionRecord
from support.build import choice, chunk_of, completion

PATTERNS = PatternRedactor()
MAIL = "john.doe@example.com"


def redacted(record: CompletionRecord) -> CompletionRecord:
    return CompletionRecord.FromString(redact_record(record.SerializeToString(), PATTERNS))


def of_chunks(*choices: dict[str, Any]) -> list[Any]:
    """Chunks with these choices, after redaction."""
    record = CompletionRecord()
    for each in choices:
        rest = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": None}
        record.chunks.append(from_dict(chunk_of(rest | each), ChatCompletionChunk))
    found = redacted(record)
    assert len(choices) == len(found.chunks)
    return list(found.chunks)


def deltas(*values: dict[str, Any]) -> list[Any]:
    chunks = of_chunks(*({"delta": value} for value in values))
    return [to_dict(chunk)["choices"][0]["delta"] for chunk in chunks]


def split(text: str, size: int = 3) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def token(text: str, data: bytes | None = None, **more: Any) -> dict[str, Any]:
    top = {"token": text, "logprob": -1.5, "bytes": list(data or text.encode())}
    return {**top, "top_logprobs": [top], **more}


def test_a_text_that_is_split_over_chunks() -> None:
    found = deltas(*({"content": piece} for piece in split(f"to {MAIL}, please")))
    text = "".join(each["content"] for each in found)
    assert "to [email], please" == text
    assert "to " == found[0]["content"]
    assert ", please".endswith(found[-1]["content"])


@pytest.mark.parametrize("name", ["refusal", "reasoning", "reasoning_content", "unknown_text"])
def test_other_texts_of_a_delta(name: str) -> None:
    found = deltas(*({name: piece} for piece in split(f"to {MAIL}!")))
    assert "to [email]!" == "".join(each[name] for each in found)


def test_the_last_word_of_a_text_that_was_cut() -> None:
    record = CompletionRecord()
    for piece in split("write to john.do"):
        record.chunks.add().choices.add().delta.content = piece
    record.completion.choices.add().message.content = "all of it"
    data = redact_record(record.SerializeToString(), PATTERNS, is_cut=True)
    found = CompletionRecord.FromString(data)
    contents = [chunk.choices[0].delta.content for chunk in found.chunks]
    assert (len(record.chunks), "write to [cut]") == (len(contents), "".join(contents))
    assert "all of it" == found.completion.choices[0].message.content


def test_the_last_word_in_json_that_was_cut() -> None:
    record = CompletionRecord()
    for piece in ("to ", "joh", "n.d"):
        details = [{"type": "text", "text": piece}]
        delta = {"unknown": {"x": [piece]}, "reasoning_details": details}
        rest = {"index": 0, "logprobs": None, "finish_reason": None, "delta": delta}
        record.chunks.append(from_dict(chunk_of(rest), ChatCompletionChunk))
    cut_off = redact_record(record.SerializeToString(), PATTERNS, is_cut=True)
    found = [
        to_dict(each)["choices"][0]["delta"] for each in CompletionRecord.FromString(cut_off).chunks
    ]
    assert "to [cut]" == "".join(each["unknown"]["x"][0] for each in found)
    assert "to [cut]" == "".join(each["reasoning_details"][0]["text"] for each in found)


def test_choices_are_kept_apart() -> None:
    record = CompletionRecord()
    for first, second in zip(split(f"a {MAIL}"), split("b text that is as long"), strict=False):
        choices = [
            {"index": 1, "delta": {"content": second}, "finish_reason": None, "logprobs": None},
            {"index": 0, "delta": {"content": first}, "finish_reason": None, "logprobs": None},
        ]
        record.chunks.append(from_dict(chunk_of(*choices), ChatCompletionChunk))
    found = to_dict(fold(redacted(record).chunks))
    contents = {each["index"]: each["message"]["content"] for each in found["choices"]}
    assert "a [email]" == contents[0]
    assert contents[1].startswith("b text that is as")


def test_arguments_of_tools_stay_json() -> None:
    text = json.dumps({"to": MAIL, "n": 4111111111111111, "deep": json.dumps({"x": MAIL})})
    calls = [
        {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}
        for pieces in zip(split(text), split(text), strict=True)
        for index, piece in enumerate(pieces)
    ]
    chunks = of_chunks(*({"delta": call} for call in calls))
    for call in to_dict(fold(chunks))["choices"][0]["message"]["tool_calls"]:
        expected = {"to": "[email]", "n": "[card]", "deep": '{"x": "[email]"}'}
        assert expected == json.loads(call["function"]["arguments"])


def test_messages_that_repeat_all_so_far() -> None:
    text = f"to {MAIL} now"
    chunks = of_chunks(
        *(
            {"delta": {"content": text[end - 3 : end]}, "message": {"content": text[:end]}}
            for end in range(3, len(text) + 1, 3)
        )
    )
    wholes = [to_dict(chunk)["choices"][0]["message"]["content"] for chunk in chunks]
    assert all("to [email] now".startswith(whole) for whole in wholes)


def test_texts_that_are_repeated_are_found_each() -> None:
    found = deltas(*({"a": "4155552671 x"} if n % 2 else {"a": "415-555-2671"} for n in range(4)))
    assert all("5552671" not in each["a"].replace("-", "") or n % 2 for n, each in enumerate(found))


def test_parts_in_chunks() -> None:
    found = deltas(
        *({"content": [{"type": "text", "text": piece}]} for piece in split(f"to {MAIL}!"))
    )
    assert "to [email]!" == "".join(each["content"][0]["text"] for each in found)


@pytest.mark.parametrize("is_stream", [False, True])
def test_tokens_that_are_redacted(is_stream: bool) -> None:
    tokens = [token(piece, id=7) for piece in split(f"é to {MAIL}!")]
    if is_stream:
        chunks = of_chunks(*({"logprobs": {"content": [each], "refusal": None}} for each in tokens))
        found = [to_dict(part)["choices"][0]["logprobs"]["content"][0] for part in chunks]
    else:
        answer = completion(choice(""))
        answer["choices"][0]["logprobs"] = {"content": tokens, "refusal": None}
        record = CompletionRecord(completion=from_dict(answer))
        found = to_dict(redacted(record).completion)["choices"][0]["logprobs"]["content"]
    assert "é to [email]!" == "".join(each["token"] for each in found)
    assert tokens[0] == found[0]
    assert "[email]" in found[2]["token"] or "[email]" in found[1]["token"]
    for each in found:
        assert list(each["token"].encode()) == each["bytes"]
    assert not any("john" in json.dumps(each) or "exa" in json.dumps(each) for each in found)
    changed = [each for before, each in zip(tokens, found, strict=True) if before != each]
    assert all(each["top_logprobs"] == [] and "id" not in each for each in changed)


def test_bytes_of_tokens_that_hide_a_text() -> None:
    data = f"ж {MAIL}".encode()
    tokens = [token("?", data[at : at + 1]) for at in range(len(data))]
    chunks = of_chunks({"logprobs": {"content": tokens, "refusal": None}})
    found = to_dict(chunks[0])["choices"][0]["logprobs"]["content"]
    assert tokens[:3] == found[:3]  # half characters too
    text = bytes(byte for each in found for byte in each["bytes"]).decode()
    assert "ж [email]" == text


def test_everything_in_a_request() -> None:
    asked = {
        "model": "m",
        "messages": [
            {"role": "user", "name": MAIL, "content": f"I am {MAIL}"},
            {"role": "user", "content": [{"type": "text", "text": MAIL}]},
        ],
        "metadata": {"who": MAIL, MAIL: "1"},
        "stop": [MAIL],
        "user": MAIL,
        "tools": [{"type": "function", "function": {"parameters": {"enum": [MAIL], MAIL: 1.0}}}],
        "unknown": {"a": [MAIL, 4111111111111111, 1.50], "b": None},
        "n": 1,
    }
    record = CompletionRecord(request=from_dict(asked, ChatCompletionRequest))
    found = to_dict(redacted(record).request)
    expected = json.loads(json.dumps(asked).replace(MAIL, "[email]"))
    expected["unknown"]["a"][1] = "[card]"
    assert expected == found


def test_what_cannot_be_read_is_left_out() -> None:
    data = "A" * 600
    asked = {
        "model": "m",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
                    {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                    {"type": "file", "file": {"file_data": data, "filename": "a"}},
                    {"type": "text", "text": f"![x](data:text/plain,{MAIL}) end"},
                ],
            }
        ],
        "stop_token_ids": [1, 2],
    }
    record = CompletionRecord(request=from_dict(asked, ChatCompletionRequest))
    found = to_dict(redacted(record).request)
    assert {"model", "messages"} == set(found)
    image, audio, file, text = found["messages"][0]["content"]
    assert "data:image/png,[data]" == image["image_url"]["url"]
    assert {"format": "wav"} == audio["input_audio"]
    assert {"file_data": "[data]", "filename": "a"} == file["file"]
    assert "![x](data:text/plain,[data]) end" == text["text"]


def test_metadata_and_labels_stay() -> None:
    record = CompletionRecord(caller=MAIL, labels={"a": MAIL}, status=3, call_id="c")
    record.completion.model = "m"
    record.error.error.message = f"bad {MAIL}"
    record.error.error.code = "c"
    found = redacted(record)
    assert (MAIL, MAIL, "bad [email]", "c") == (
        found.caller,
        found.labels["a"],
        found.error.error.message,
        found.error.error.code,
    )


CUT = [
    ('{"to": "john\\u0040example.com", "x": "', '{"to": "[email]", "x": "'),
    ('{"a": "{\\"to\\": \\"john\\\\u0040example.com', '{"a": "{\\"to\\": \\"[email]'),
    ('{"to": "\\u006aohn.doe\\u0040ex\\u00e4mple.com', '{"to": "[email]'),
]


@pytest.mark.parametrize(("arguments", "expected"), CUT)
def test_json_that_was_cut_hides_nothing(arguments: str, expected: str) -> None:
    record = CompletionRecord()
    call = record.completion.choices.add().message.tool_calls.add()
    call.function.arguments = arguments
    found = redacted(record).completion.choices[0].message.tool_calls[0].function.arguments
    assert expected == found


def test_json_in_json_hides_nothing_however_deep() -> None:
    text = '"john\\u0040example.com"'
    for _ in range(8):
        text = json.dumps([text])
    record = CompletionRecord()
    record.completion.choices.add().message.content = text
    assert "john" not in redacted(record).completion.choices[0].message.content


@pytest.mark.parametrize(
    "number", ["4111111111111111", "4111111111111111.0", "4.111111111111111e15"]
)
def test_numbers_however_they_are_written(number: str) -> None:
    record = CompletionRecord()
    record.completion.choices.add().message.content = f'{{"n": {number}, "x": 1.50, "y": 2e3}}'
    found = redacted(record).completion.choices[0].message.content
    assert '{"n": "[card]", "x": 1.50, "y": 2e3}' == found


def test_tokens_that_the_schema_does_not_know() -> None:
    tokens = split(f"to {MAIL}!")
    value = completion(choice("x"))
    value["choices"][0]["logprobs"] = {
        "tokens": tokens,
        "top_logprobs": [{each: -1.0} for each in tokens],
        "text_offset": list(range(len(tokens))),
        "few": [1, 2, 3],
    }
    value["verbose"] = [{"token": each, "bytes": list(each.encode())} for each in tokens]
    record = CompletionRecord(completion=from_dict(value))
    found = to_dict(redacted(record).completion)
    logprobs = found["choices"][0]["logprobs"]
    assert "to [email]!" == "".join(logprobs["tokens"])
    assert "to [email]!" == "".join(name for each in logprobs["top_logprobs"] for name in each)
    assert ([0] * len(tokens), [1, 2, 3]) == (logprobs["text_offset"], logprobs["few"])
    assert "to [email]!" == "".join(each["token"] for each in found["verbose"])
    assert {0} == {number for each in found["verbose"] for number in each["bytes"]}


class Upper:
    """A redactor that is a class."""

    def __call__(self, texts: Sequence[str], /) -> list[str]:
        """Puts texts in capitals."""
        return [text.upper() for text in texts]


def test_redactors_are_found() -> None:
    assert isinstance(load_redactor("patterns"), PatternRedactor)
    assert ["A"] == list(load_redactor("redaction.test_record:Upper")(["a"]))
    for name in ("nowhere", "no.module:x", "json:x", "json:__name__"):
        with pytest.raises(RedactionError):
            load_redactor(name)


@pytest.mark.parametrize("results", [[], ["a", "b"], [1]])
def test_redactors_that_return_something_else(results: list[Any]) -> None:
    record = CompletionRecord()
    record.error.error.message = "a"
    with pytest.raises(RedactionError):
        redact_record(record.SerializeToString(), lambda _: results)


@given(st.lists(st.text(max_size=12), max_size=8), st.text(max_size=40))
def test_cut_texts_add_up(pieces: list[str], after: str) -> None:
    before, ends = joined([piece.encode("utf-8", "surrogatepass") for piece in pieces])
    if pieces:
        found = cut(before, after, ends)
        assert (len(pieces), after) == (len(found), "".join(found))
        assert cut(before, before, ends) == [
            before[start:end] for start, end in zip([0, *ends], ends, strict=False)
        ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10) | st.just(MAIL),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)


@given(st.lists(JSON, max_size=3) | st.dictionaries(st.text(max_size=5), JSON))
def test_json_stays_json(value: Any) -> None:
    text = Text(json.dumps(value))
    same = {each: each for each in text.texts()}
    assert json.dumps(value) == text.redacted(same)
    changed = text.redacted({each: each.replace(MAIL, '"\\[e]') for each in same})
    assert json.dumps(value).replace(MAIL, "[m]").count("[m]") == changed.count("[e]")
    json.loads(changed)
