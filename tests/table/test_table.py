"""Records as rows of a table: nothing is lost, and both implementations agree."""

from __future__ import annotations

import json
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

import chatpb
from chatpb import ConversionError, from_dict
from chatpb._record import record_field
from chatpb._wire import embedded
from chatpb.table._files.encoding import parquet_options
from chatpb.table._rows import batches as _rows
from chatpb.table._rows.assemble import assemble
from chatpb.table._rows.batches import batch_to_lines, from_batch, json_to_batch, to_batch
from chatpb.table._rows.columns import SCHEMA
from chatpb.table._rows.plan import shredder
from chatpb.table._rows.shred import shred
from chatpb.v1 import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionRequest,
    CompletionRecord,
    ErrorResponse,
)
from support.golden_files import COLUMNS as GOLDEN_COLUMNS
from support.golden_files import RENEW, column_lines
from support.table_rows import (
    COMPLETION,
    TEXTS,
    alternative,
    logprobs,
    of_logprobs,
    of_tokens,
    records,
    rows_of,
    same,
    serialized,
    some,
    token,
)


@given(st.lists(records(), max_size=4))
def test_records_come_back(given_records: list[CompletionRecord]) -> None:
    data = [serialized(record) for record in given_records]
    batch = to_batch(given_records)
    batch.validate(full=True)
    assert batch.schema == SCHEMA
    assert same(data, from_batch(batch))


def _folds(record: CompletionRecord) -> bool:
    try:
        chatpb.fold(record.chunks)
    except ConversionError:
        return False
    return True


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


NAMES = ["b", "", "a", "B", "\u00e9", "\U00020000", "\uffff", "a b", "aa", "a\0", "\0", " "]


@pytest.mark.parametrize("is_native", [True, False], ids=["native", "reference"])
def test_labels_are_in_one_order(*, is_native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the bytes of their names, whatever the names are."""
    if not is_native:
        monkeypatch.setattr(_rows, "shredder", lambda: None)
    elif shredder() is None:
        pytest.skip("the native implementation is not in use")
    labels = dict.fromkeys(NAMES, "x")
    completion = from_dict({**COMPLETION, "metadata": labels})
    record = CompletionRecord(labels=labels, completion=completion)
    record.request.metadata.update(labels)
    ordered = sorted(name.encode() for name in NAMES)
    entries = [b"\x0a%c%b\x12\x01x" % (len(name), name) for name in ordered]
    (data,) = from_batch(to_batch([record]))
    at = [data.index(b"%c%b" % (len(entry), entry)) for entry in entries]
    assert sorted(at) == at
    assert record == CompletionRecord.FromString(data)


def test_columns_are_those_of_the_golden_file() -> None:
    """Renaming a column breaks what people query."""
    assert GOLDEN_COLUMNS.read_text("utf-8").splitlines() == column_lines(), RENEW


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
    assert ["eos_token", "turbo"] == [
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
        "messages": [
            {"choice": 0, "role": "assistant", "content": "Hi", "finish_reason": "stop"},
            {
                "choice": 1,
                "role": "assistant",
                "tool_calls": [
                    {"id": "call_1", "type": "function", "name": "add", "arguments": '{"a":1}'},
                    {"id": "call_2", "type": "custom", "custom_name": "run", "custom_input": "x"},
                ],
            },
        ],
        "prompt_tokens": 9,
        "completion_tokens": 0,
        "total_tokens": 9,
        "cached_tokens": 4,
        "metadata": [{"key": "run", "value": "7"}],
        "start_time": 1_700_000_000_123_456,
        "duration_us": 250_000,
        "caller": "alice",
        "upstream": "u",
        "status": 0,
        "http_status": 200,
        "labels": [{"key": "team", "value": "a"}],
        "call_id": "c",
    } == some(row)


def test_chunks_fill_the_columns_of_their_completion() -> None:
    completion = {**COMPLETION, "choices": [COMPLETION["choices"][0]]}  # type: ignore[index]
    chunks = list(chatpb.unfold(from_dict(completion)))
    record = CompletionRecord(chunks=chunks, chunk_times_us=range(len(chunks)))
    (row,) = rows_of(to_batch([record]))
    (message,) = row["messages"]
    assert ("chatcmpl-1", "m-1", "Hi", "stop", 0, 9) == (
        row["id"],
        row["model"],
        message["content"],
        message["finish_reason"],
        message["choice"],
        row["total_tokens"],
    )
    choices = [choice for chunk in row["chunks"] for choice in chunk["choices"] or ()]
    assert "Hi" == "".join(choice["content"] or "" for choice in choices)
    assert {0} == {choice["index"] for choice in choices}
    assert ["chatcmpl-1"] * len(chunks) == [chunk["id"] for chunk in row["chunks"]]
    assert list(range(len(chunks))) == row["chunk_times_us"]
    assert not CompletionRecord.FromString(row["record"]).HasField("completion")


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


def test_slices_and_any_order_of_columns() -> None:
    data = [
        serialized(of_logprobs("ab", token("a", -1.5, alternative("a", -1.5)), token("b", -0.1)))
        for _ in range(5)
    ]
    batch = to_batch(data)
    assert data[2:4] == from_batch(batch[2:4])
    turned = batch.select(list(reversed(SCHEMA.names))).append_column("more", pa.array(range(5)))
    assert data == from_batch(turned)


def test_nothing_of_pyarrow_is_imported_with_the_package() -> None:
    code = "import sys, chatpb; print(sorted({'pyarrow', 'numpy', 'zstandard'} & set(sys.modules)))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "[]\n" == process.stdout


def test_maps_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = {"b": "1", "a": "2", "ab": "3", "": "x", "\U0001f389": "6", "\xe4": "7"}
    record = CompletionRecord(labels=labels)
    if shredder() is not None:
        monkeypatch.setattr(_rows, "shred", None)  # the reference is not needed
    for is_sorted in (True, False):
        (back,) = from_batch(to_batch([record.SerializeToString(deterministic=is_sorted)]))
        assert labels == CompletionRecord.FromString(back).labels
