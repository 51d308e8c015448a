"""Records, tokens and rows for the tests of `chatpb.table`."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any

import pyarrow as pa
from google.protobuf.message import Message
from hypothesis import strategies as st

from chatpb import from_dict
from chatpb._wire import spans
from chatpb.table._rows.columns import COLUMNS
from chatpb.table._rows.tree import KEY, Kind, ListColumn
from chatpb.v1 import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionRequest,
    ChatCompletionTokenLogprob,
    ChoiceLogprobs,
    CompletionRecord,
    ErrorResponse,
)
from support.strategies import messages, utf8_texts

INT64 = st.integers(-(2**63), 2**63 - 1)


INT32 = st.integers(-(2**31), 2**31 - 1)


def records() -> st.SearchStrategy[CompletionRecord]:
    """Records with any parts."""
    parts: dict[str, st.SearchStrategy[Any]] = {
        "request": messages(ChatCompletionRequest),
        "completion": messages(ChatCompletion),
        "chunks": st.lists(messages(ChatCompletionChunk), max_size=3),
        "chunk_times_us": st.lists(INT64, max_size=3),
        "start_time_unix_us": INT64,
        "duration_us": INT64,
        "caller": utf8_texts,
        "upstream": utf8_texts,
        "status": INT32,
        "http_status": INT32,
        "error": messages(ErrorResponse),
        "labels": st.dictionaries(utf8_texts, utf8_texts, max_size=3),
        "call_id": utf8_texts,
    }
    names = st.lists(st.sampled_from(sorted(parts)), unique=True, max_size=5)
    some = names.flatmap(lambda chosen: st.fixed_dictionaries({n: parts[n] for n in chosen}))
    return some.map(lambda arguments: CompletionRecord(**arguments))


def logprobs() -> st.SearchStrategy[ChoiceLogprobs]:
    """Tokens with any alternatives; some of them are among these."""
    numbers = st.sampled_from(NUMBERS) | st.floats(allow_nan=True)
    token = st.builds(
        lambda text, number, data, id_, rest: {
            "token": text,
            "logprob": number,
            **({} if data is None else {"bytes": data}),
            **({} if id_ is None else {"id": id_}),
            **({} if rest is None else {"residue": {"extra_json": rest}}),
        },
        st.sampled_from(["a", "b"]) | utf8_texts,
        numbers,
        st.none() | st.binary(max_size=3),
        st.none() | st.integers(-1, 2),
        st.none() | st.just('{"id":3}'),
    )
    alternatives = st.lists(token, max_size=3)
    position = st.builds(
        lambda own, others, place: {
            **own,
            "top_logprobs": others if place is None else [*others[:place], own, *others[place:]],
        },
        token,
        alternatives,
        st.none() | st.integers(0, 3),
    )
    lists = st.lists(position, max_size=3)
    return st.builds(lambda a, b: ChoiceLogprobs(content=a, refusal=b), lists, lists)


def double(bits: int) -> float:
    """The double with these bits."""
    value: float = struct.unpack("<d", struct.pack("<Q", bits))[0]
    return value


def single(bits: int) -> float:
    """The float32 with these bits, as a double."""
    value: float = struct.unpack("<f", struct.pack("<I", bits))[0]
    return value


NUMBERS = [
    *(0.0, -0.0, -1.0, -9999.0, -0.5, -0.1, -6.704273e-7, -0.000012590794, -0.20239226520061493),
    *(single(0xBF8CCCCD), single(0x3F8CCCCD), single(0x80800000), single(0xFF7FFFFF)),
    *(double(0x8000000000000001), 5e-324, 1e-50, 1e300, -1e300, 2.0**-126, 2.0**-126 * 0.99),
    *((2 - 2.0**-23) * 2.0**127, math.nextafter((2 - 2.0**-23) * 2.0**127, math.inf)),
    *(math.inf, -math.inf, -0.12345678901234567),
]


def rows_of(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """The rows, but for columns that are null; entries of maps in order, times as numbers."""
    rows = []
    times = batch.column("start_time").cast(pa.int64())
    index = batch.schema.get_field_index("start_time")
    for row in batch.set_column(index, "start_time", times).to_pylist():
        values = {name: value for name, value in row.items() if value is not None}
        for column in COLUMNS:
            if isinstance(column, ListColumn) or column.kind is not Kind.MAP:
                continue
            if column.name in values:
                values[column.name] = sorted(values[column.name], key=itemgetter(KEY))
        rows.append(values)
    return rows


def some(value: Any) -> Any:
    """A value without the nulls and empty lists in it."""
    if isinstance(value, dict):
        return {name: some(each) for name, each in value.items() if each is not None}
    return [some(each) for each in value] if isinstance(value, list) else value


def serialized(record: Message) -> bytes:
    """The binary form of a record."""
    data: bytes = record.SerializeToString(deterministic=True)
    return data


def same(expected: Sequence[bytes], actual: Sequence[bytes]) -> bool:
    """Whether records are the same messages; numbers that are not equal to themselves too."""
    parsed = [[CompletionRecord.FromString(data) for data in each] for each in (expected, actual)]
    texts = [[str(record) for record in each] for each in parsed]
    return texts[0] == texts[1]


def of_tokens(tokens: ChoiceLogprobs) -> CompletionRecord:
    """A record with these tokens in a completion, and one by one in chunks."""
    record = CompletionRecord(completion=ChatCompletion())
    record.completion.choices.add(logprobs=tokens)
    for token in tokens.content:
        choice = record.chunks.add().choices.add()
        choice.delta.content = token.token
        choice.logprobs.content.append(token)
    return record


COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_700_000_000,
    "model": "m-1",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hi", "refusal": None, "annotations": []},
            "logprobs": None,
            "finish_reason": "stop",
        },
        {
            "index": 1,
            "message": {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "add", "arguments": '{"a":1}'},
                    },
                    {"id": "call_2", "type": "custom", "custom": {"name": "run", "input": "x"}},
                ],
                "refusal": None,
                "annotations": [],
            },
            "logprobs": None,
            "finish_reason": "eos_token",
        },
    ],
    "usage": {
        "prompt_tokens": 9,
        "completion_tokens": 0,
        "total_tokens": 9,
        "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
    },
    "service_tier": "turbo",
    "system_fingerprint": None,
    "metadata": {"run": "7"},
}


def token(text: str, logprob: float, *others: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A token as a server sends it."""
    data = more.pop("data", text.encode())
    members = {"token": text, "logprob": logprob, "bytes": list(data), **more}
    return members | ({"top_logprobs": list(others)} if others else {"top_logprobs": []})


def alternative(text: str, logprob: float, **more: Any) -> dict[str, Any]:
    """An alternative as a server sends it."""
    return {"token": text, "logprob": logprob, "bytes": list(text.encode()), **more}


def of_logprobs(content: str | None, *tokens: dict[str, Any], **more: Any) -> CompletionRecord:
    """A record with a text and its tokens."""
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
    message |= {"annotations": []}
    choice = {
        "index": 0,
        "message": message | more,
        "logprobs": {"content": list(tokens), "refusal": None},
        "finish_reason": "stop",
    }
    return CompletionRecord(completion=from_dict({**COMPLETION, "choices": [choice]}))


def single_token(number: float) -> ChatCompletionTokenLogprob:
    """A token with this log probability."""
    return ChatCompletionTokenLogprob(token="a", logprob=number)


TEXTS = [
    json.dumps(COMPLETION).encode(),
    b'{"id":"a","choices":[],"x":[1.50,null]}',
    json.dumps({**COMPLETION, "created": 1.5, "usage": None}).encode(),
]


def fields(data: bytes) -> Iterator[bytes]:
    """The outermost fields of a message."""
    for span in spans(data):
        yield data[span.start : span.end]
