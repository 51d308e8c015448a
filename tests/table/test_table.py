"""Records as rows of a table: nothing is lost, and both implementations agree."""

from __future__ import annotations

import json
import math
import random
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

import chatpb
from chatpb import ConversionError, from_dict
from chatpb._record import record_field
from chatpb._wire import embedded, spans
from chatpb.table._arrow import shredder
from chatpb.table._columns import COLUMNS, SCHEMA
from chatpb.table._encoding import parquet_options
from chatpb.table._rows import batch_to_lines, from_batch, json_to_batch, to_batch
from chatpb.table._shred import assemble, shred
from chatpb.v1 import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionRequest,
    ChatCompletionTokenLogprob,
    ChoiceLogprobs,
    CompletionRecord,
    ErrorResponse,
)
from support.golden_files import COLUMNS as GOLDEN_COLUMNS
from support.golden_files import RENEW, column_lines
from support.strategies import messages, utf8_texts
from table import fuzz as fuzz_table

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
        lambda text, number, data, rest: {
            "token": text,
            "logprob": number,
            **({} if data is None else {"bytes": data}),
            **({} if rest is None else {"residue": {"extra_json": rest}}),
        },
        utf8_texts,
        numbers,
        st.none() | st.binary(max_size=3),
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
            if column.kind == "map" and column.name in values:
                values[column.name] = sorted(values[column.name])
        rows.append(values)
    return rows


def serialized(record: Message) -> bytes:
    """The binary form of a record."""
    data: bytes = record.SerializeToString(deterministic=True)
    return data


def same(expected: Sequence[bytes], actual: Sequence[bytes]) -> bool:
    """Whether records are the same messages; numbers that are not equal to themselves too."""
    parsed = [[CompletionRecord.FromString(data) for data in each] for each in (expected, actual)]
    texts = [[str(record) for record in each] for each in parsed]
    return texts[0] == texts[1]


@given(st.lists(records(), max_size=4))
def test_records_come_back(given_records: list[CompletionRecord]) -> None:
    data = [serialized(record) for record in given_records]
    batch = to_batch(given_records)
    batch.validate(full=True)
    assert batch.schema == SCHEMA
    assert same(data, from_batch(batch))


@given(st.lists(logprobs(), max_size=3))
def test_tokens_come_back(lists: list[ChoiceLogprobs]) -> None:
    record = CompletionRecord(completion=ChatCompletion())
    for tokens in lists:
        choice = record.completion.choices.add(logprobs=tokens)
        choice.message.content = "".join(each.token for each in tokens.content)
    data = [serialized(record)]
    assert data == from_batch(to_batch(data))


@given(st.lists(records() | logprobs().map(lambda tokens: of_tokens(tokens)), max_size=4))
def test_implementations_agree(given_records: list[CompletionRecord]) -> None:
    if shredder() is None:
        pytest.skip("the native implementation is not in use")
    data = [serialized(record) for record in given_records]
    native = to_batch(data)
    folded = [
        chatpb.fold(record.chunks) if record.chunks and not record.HasField("completion") else None
        for record in given_records
        if not record.chunks or record.HasField("completion") or _folds(record)
    ]
    if len(folded) < len(data):
        return
    reference = shred(
        list(zip((CompletionRecord.FromString(each) for each in data), folded, strict=True))
    )
    assert repr(rows_of(reference)) == repr(rows_of(native))
    assembled = [serialized(record) for record in assemble(native)]
    assert same(assembled, from_batch(reference))


def of_tokens(tokens: ChoiceLogprobs) -> CompletionRecord:
    """A record with these tokens in a completion, and one by one in chunks."""
    record = CompletionRecord(completion=ChatCompletion())
    record.completion.choices.add(logprobs=tokens)
    for token in tokens.content:
        choice = record.chunks.add().choices.add()
        choice.delta.content = token.token
        choice.logprobs.content.append(token)
    return record


def _folds(record: CompletionRecord) -> bool:
    try:
        chatpb.fold(record.chunks)
    except ConversionError:
        return False
    return True


def test_columns_are_those_of_the_golden_file() -> None:
    """Renaming a column breaks what people query."""
    assert GOLDEN_COLUMNS.read_text("utf-8").splitlines() == column_lines(), RENEW


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
    "service_tier": "on_demand",
    "system_fingerprint": None,
    "metadata": {"run": "7"},
}


def test_what_columns_say() -> None:
    """A word that the schema does not know is in the message; a count of 0 is 0, not null."""
    record = CompletionRecord(
        completion=from_dict(COMPLETION),
        start_time_unix_us=1_700_000_000_123_456,
        duration_us=250_000,
        caller="alice",
        upstream="u",
        status=0,
        http_status=200,
        labels={"team": "a"},
        call_id="c",
    )
    (row,) = rows_of(to_batch([record]))
    rest = CompletionRecord.FromString(row.pop("record"))
    assert ["eos_token", "on_demand"] == [
        json.loads(part.residue.extra_json)[name]
        for part, name in (
            (rest.completion.choices[1], "finish_reason"),
            (rest.completion, "service_tier"),
        )
    ]
    assert {
        "id": "chatcmpl-1",
        "created": 1_700_000_000,
        "model": "m-1",
        "contents": ["Hi", None],
        "finish_reasons": ["stop", None],
        "tool_call_ids": ["call_1", "call_2"],
        "tool_names": ["add", None],
        "tool_arguments": ['{"a":1}', None],
        "custom_tool_names": [None, "run"],
        "custom_tool_inputs": [None, "x"],
        "prompt_tokens": 9,
        "completion_tokens": 0,
        "total_tokens": 9,
        "cached_tokens": 4,
        "metadata": [("run", "7")],
        "start_time": 1_700_000_000_123_456,
        "duration_us": 250_000,
        "caller": "alice",
        "upstream": "u",
        "status": 0,
        "http_status": 200,
        "labels": [("team", "a")],
        "call_id": "c",
    } == row


def test_chunks_fill_the_columns_of_their_completion() -> None:
    completion = {**COMPLETION, "choices": [COMPLETION["choices"][0]]}  # type: ignore[index]
    chunks = list(chatpb.unfold(from_dict(completion)))
    record = CompletionRecord(chunks=chunks, chunk_times_us=range(len(chunks)))
    (row,) = rows_of(to_batch([record]))
    assert ("chatcmpl-1", "m-1", ["Hi"], ["stop"], 9) == (
        row["id"],
        row["model"],
        row["contents"],
        row["finish_reasons"],
        row["total_tokens"],
    )
    assert "Hi" == "".join(text or "" for text in row["chunk_contents"])
    assert ["chatcmpl-1"] * len(chunks) == row["chunk_ids"]
    assert list(range(len(chunks))) == row["chunk_times_us"]
    assert not CompletionRecord.FromString(row["record"]).HasField("completion")


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


@pytest.mark.parametrize(
    ("record", "content"),
    [
        pytest.param(of_logprobs("ab", token("a", -1.5), token("b", -0.25)), None, id="made"),
        pytest.param(of_logprobs("abc", token("a", -1.5), token("b", -0.25)), ["abc"], id="more"),
        pytest.param(of_logprobs("a", token("a", -1.5), token("b", -0.25)), ["a"], id="less"),
        pytest.param(of_logprobs("", token("", -1.5)), [""], id="empty"),
        pytest.param(of_logprobs(None, token("a", -1.5)), None, id="null"),
        pytest.param(
            of_logprobs(
                "é", token("\\xc3", -1.0, data=b"\xc3"), token("\\xa9", -1.0, data=b"\xa9")
            ),
            None,
            id="a split character",
        ),
    ],
)
def test_text_that_tokens_make_is_not_stored_twice(
    record: CompletionRecord, content: list[str] | None
) -> None:
    data = [serialized(record)]
    batch = to_batch(data)
    assert [content] == batch.column("contents").to_pylist()
    assert data == from_batch(batch)


@pytest.mark.parametrize(
    ("rank", "others", "kept"),
    [
        pytest.param(0, [alternative("a", -1.0), alternative("b", -2.0)], ["b"], id="first"),
        pytest.param(1, [alternative("b", -0.5), alternative("a", -1.0)], ["b"], id="last"),
        pytest.param(None, [alternative("b", -0.5)], ["b"], id="not there"),
        pytest.param(None, [alternative("a", -1.5)], ["a"], id="another number"),
        pytest.param(None, [alternative("a", -1.0, id=3)], ["a"], id="another member"),
        pytest.param(0, [alternative("a", -1.0)], None, id="alone"),
        pytest.param(0, [alternative("a", -1.0)] * 2, ["a"], id="twice"),
    ],
)
def test_token_among_its_alternatives_is_not_stored_twice(
    rank: int | None, others: list[dict[str, Any]], kept: list[str] | None
) -> None:
    data = [serialized(of_logprobs("a", token("a", -1.0, *others)))]
    batch = to_batch(data)
    ((row,),) = batch.column("logprobs").to_pylist()
    assert ("a", -1.0, rank) == (row["token"], row["logprob"], row["rank"])
    assert kept == (row["top_logprobs"] and [each["token"] for each in row["top_logprobs"]])
    assert data == from_batch(batch)


@pytest.mark.parametrize(
    ("numbers", "is_decimal", "corrections"),
    [
        pytest.param([-0.1, -6.704273e-7], True, None, id="decimals"),
        pytest.param([single(0xBDCCCCCD), single(0xBF8CCCCD)], False, None, id="widened"),
        pytest.param([-0.5, 0.0, -0.0, -9999.0], True, None, id="both"),
        pytest.param([-0.12345678901234567], True, "some", id="doubles"),
        pytest.param([-0.1, single(0xBDCCCCCD), single(0xBF8CCCCD)], False, "some", id="mixed"),
        pytest.param([math.inf, 1e300, 1e-300], True, None, id="beyond float32"),
    ],
)
def test_how_numbers_are_spelled(
    numbers: list[float], is_decimal: bool, corrections: str | None
) -> None:
    tokens = ChoiceLogprobs(content=[single_token(number) for number in numbers])
    record = CompletionRecord(completion=ChatCompletion())
    record.completion.choices.add(logprobs=tokens)
    data = [serialized(record)]
    batch = to_batch(data)
    assert [is_decimal] == batch.column("logprobs_decimal").to_pylist()
    assert (corrections is None) == (batch.column("logprobs_corrections")[0].as_py() is None)
    near = [row["logprob"] for row in batch.column("logprobs")[0].as_py()]
    for number, value in zip(numbers, near, strict=True):
        assert value is None or math.isclose(number, value, rel_tol=1e-7)
    assert data == from_batch(batch)


def single_token(number: float) -> ChatCompletionTokenLogprob:
    """A token with this log probability."""
    return ChatCompletionTokenLogprob(token="a", logprob=number)


def test_every_size_of_number() -> None:
    """Float32 and double numbers of every exponent, from a fixed seed, in both spellings."""
    rng = random.Random(7)
    numbers = [
        value
        for exponent in range(256)
        for mantissa in (0, 1, 0x7FFFFF, *(rng.getrandbits(23) for _ in range(20)))
        if math.isfinite(wide := single(rng.getrandbits(1) << 31 | exponent << 23 | mantissa))
        for value in (wide, float(str(pa.scalar(wide, pa.float32()).cast(pa.string()))))
    ]
    numbers += [double(rng.getrandbits(64)) for _ in range(5_000)]
    data = [
        serialized(of_tokens(ChoiceLogprobs(content=[single_token(number)])))
        for number in numbers
        if not math.isnan(number)
    ]
    assert data == from_batch(to_batch(data))


def test_decimals_are_those_of_arrow() -> None:
    """Random ones, and those in the middle of two decimals, of which the even one is meant."""
    rng = np.random.default_rng(5)
    bits = rng.integers(0x00800000, 0x7F800000, 100_000).astype(np.uint32)
    quarters = np.arange(2**22, 2**23, 41).astype(np.float32) / 4
    singles = np.concatenate([bits.view(np.float32), quarters])
    decimals = pa.array(singles, pa.float32()).cast(pa.string()).cast(pa.float64()).to_pylist()
    tokens = ChoiceLogprobs(content=[single_token(-number) for number in decimals])
    record = CompletionRecord(completion=ChatCompletion())
    record.completion.choices.add(logprobs=tokens)
    batch = to_batch([record])
    assert [True] == batch.column("logprobs_decimal").to_pylist()
    assert [None] == batch.column("logprobs_corrections").to_pylist()
    assert [serialized(record)] == from_batch(batch)


def parquet(batch: pa.RecordBatch) -> pa.RecordBatch:
    """What Parquet gives back."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, batch.schema, **parquet_options(batch)) as writer:
        writer.write_batch(batch)
    table = pq.read_table(pa.BufferReader(sink.getvalue()))
    return table.combine_chunks().to_batches()[0]


@given(st.lists(records(), min_size=1, max_size=3))
def test_parquet_gives_the_same(given_records: list[CompletionRecord]) -> None:
    data = [serialized(record) for record in given_records]
    assert same(data, from_batch(parquet(to_batch(data))))


TEXTS = [
    json.dumps(COMPLETION).encode(),
    b'{"id":"a","choices":[],"x":[1.50,null]}',
    json.dumps({**COMPLETION, "created": 1.5, "usage": None}).encode(),
]


@pytest.mark.parametrize(
    ("texts", "message_type"),
    [
        pytest.param(TEXTS, ChatCompletion, id="completions"),
        pytest.param([*TEXTS, b'{"id":"a","id":"b"}'], ChatCompletion, id="a duplicate"),
        pytest.param([b'{"model":"m","x":1}'], ChatCompletionRequest, id="requests"),
        pytest.param([b'{"error":{"code":1}}'], ErrorResponse, id="errors"),
        pytest.param([b'{"id":"a","choices":[]}'], ChatCompletionChunk, id="chunks"),
        pytest.param([], ChatCompletion, id="none"),
    ],
)
def test_json_to_rows_and_back(texts: list[bytes], message_type: type[Message]) -> None:
    """In one pass it is the same as step by step."""
    batch = json_to_batch(texts, message_type)
    number = record_field(message_type)
    binary = [chatpb.json_to_binary(text, message_type) for text in texts]
    assert rows_of(to_batch([embedded(number, [data]) for data in binary])) == rows_of(batch)
    written = [chatpb.binary_to_json(data, message_type) + b"\n" for data in binary]
    assert b"".join(written) == batch_to_lines(batch, message_type)
    others: list[type[Message]] = [ChatCompletion, ChatCompletionRequest, ErrorResponse]
    for other in others:
        if other is not message_type:
            assert b"" == batch_to_lines(batch, other)


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"a":NaN}'])
def test_text_that_is_no_object_is_named(text: bytes) -> None:
    with pytest.raises(ConversionError) as caught:
        json_to_batch([*TEXTS, text])
    assert caught.value.path.startswith("$[3]")


def test_rows_whose_messages_have_no_json() -> None:
    """As in `to_json`: what the JSON cannot say is an error."""
    record = CompletionRecord.FromString(b"\x12\x04\x2a\x02\x20\x63")  # finish_reason 99
    with pytest.raises(ConversionError, match="99"):
        batch_to_lines(to_batch([record]))


def test_slices_and_any_order_of_columns() -> None:
    data = [
        serialized(of_logprobs("ab", token("a", -1.5, alternative("a", -1.5)), token("b", -0.1)))
        for _ in range(5)
    ]
    batch = to_batch(data)
    assert data[2:4] == from_batch(batch[2:4])
    turned = batch.select(list(reversed(SCHEMA.names))).append_column("more", pa.array(range(5)))
    assert data == from_batch(turned)


def test_records_in_odd_forms() -> None:
    """Fields out of order, twice, and unknown ones: the same messages come back."""
    record = of_logprobs("ab", token("a", -1.5), token("b", -0.1))
    odd = [
        b"".join(reversed(list(fields(serialized(record) + b"\x3a\x01x\x3a\x01y")))),
        serialized(record) + serialized(record),
        serialized(record) + b"\xf8\x3f\x01",
        b"\x12\x04\xfa\x3f\x01x" + serialized(record),
        b"\x12\x04\x38\x7f\x38\x02",  # a tier that the schema does not know, then one that it does
        serialized(CompletionRecord(chunk_times_us=[1])) + b"\x20\x02\x22\x02\x03\x04",
    ]
    assert same(odd, from_batch(to_batch(odd)))


def fields(data: bytes) -> Iterator[bytes]:
    """The outermost fields of a message."""
    for span in spans(data):
        yield data[span.start : span.end]


@pytest.mark.parametrize("data", [b"\x12", b"\x12\x02\x0a", b"\x12\x03\x0a\x01\xff", b"\x00"])
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(ConversionError, match=r"\$\[1\]: not the binary form") as caught:
        to_batch([b"", data])
    assert "$[1]" == caught.value.path


def test_rows_that_are_not_those_of_a_table_are_refused() -> None:
    """Each column in turn is missing, of another type, null, or from other records."""
    data = [
        serialized(of_logprobs("ab", token("a", -1.5, alternative("c", -3.0)), token("b", 0.0)))
    ]
    batch = to_batch(data * 2)
    other = to_batch([b"", serialized(of_logprobs("xyz", token("x", -1.0)))])
    for index, name in enumerate(SCHEMA.names):
        with pytest.raises(ConversionError, match=f"lack the column {name}"):
            from_batch(batch.drop_columns([name]))
        for column in (
            pa.array([b"?"] * 2, pa.binary()),
            pa.array([None] * 2, SCHEMA.field(name).type),
            other.column(name),
        ):
            try:
                from_batch(batch.set_column(index, name, column))
            except ConversionError as error:
                assert "the row is not one of a table" in str(error)  # noqa: PT017


def test_mutated_rows_are_refused_or_give_records() -> None:
    """Numbers that say where things are, changed at random: no crash, and no endless work."""
    record = of_logprobs(
        "ab", token("a", -0.1, alternative("a", -0.1), alternative("c", -3.0)), token("b", 0.0)
    )
    batch = to_batch([serialized(record)] * 2)
    rng = random.Random(3)
    refused = 0
    for _ in range(600):
        rows = batch.to_pylist()
        row = rng.choice(rows)
        number = rng.choice([-1, 0, 1, 2, 3, 2**15 - 1])
        match rng.randrange(6):
            case 0:
                row["logprobs_counts"][rng.randrange(2)] = number
            case 1:
                row["logprobs_counts"] = [1] * rng.randrange(5)
            case 2:
                rng.choice(row["logprobs"])["rank"] = number
            case 3:
                row["logprobs_corrections"] = [1] * rng.randrange(6)
            case 4:
                row["record"] = rng.randbytes(rng.randrange(6)) + row["record"][rng.randrange(9) :]
            case 5:
                row["contents"] = ["x"] * rng.randrange(3)
        mutated = pa.RecordBatch.from_pylist(rows, SCHEMA)
        try:
            assert len(rows) == len(from_batch(mutated))
        except ConversionError as error:
            refused += error.path in ("$[0]", "$[1]")
    assert refused > 60


def test_nothing_of_pyarrow_is_imported_with_the_package() -> None:
    code = "import sys, chatpb; print(sorted({'pyarrow', 'numpy', 'zstandard'} & set(sys.modules)))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "[]\n" == process.stdout


def test_mutated_records() -> None:
    if shredder() is None:
        pytest.skip("the native implementation is not in use")
    tally = fuzz_table.run(600, seed=1)
    assert tally["shredded"] > 200
    assert tally["refused"] > 200
