"""Records, texts and rows that are unusual or wrong: read as they are, or refused by place."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest

import chatpb
from chatpb import ConversionError, from_dict
from chatpb.table._rows.batches import batch_to_lines, from_batch, json_to_batch, to_batch
from chatpb.table._rows.columns import SCHEMA
from chatpb.table._rows.plan import shredder
from chatpb.v1 import ChoiceLogprobs, CompletionRecord
from support.limits import SOAK
from support.table_rows import (
    COMPLETION,
    TEXTS,
    alternative,
    fields,
    of_logprobs,
    same,
    serialized,
    token,
)
from table import fuzz as fuzz_table


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


@pytest.mark.parametrize("data", [b"\x12", b"\x12\x02\x0a", b"\x12\x03\x0a\x01\xff", b"\x00"])
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(ConversionError, match=r"\$\[1\]: not the binary form") as caught:
        to_batch([b"", data])
    assert "$[1]" == caught.value.path


def test_rows_that_are_not_those_of_a_table_are_refused() -> None:
    """Each column in turn is of another type, null, or from other records."""
    data = [
        serialized(of_logprobs("ab", token("a", -1.5, alternative("c", -3.0)), token("b", 0.0)))
    ]
    batch = to_batch(data * 2)
    other = to_batch([b"", serialized(of_logprobs("xyz", token("x", -1.0)))])
    for index, name in enumerate(SCHEMA.names):
        for column in (
            pa.array([b"?"] * 2, pa.binary()),
            pa.array([None] * 2, SCHEMA.field(name).type),
            other.column(name),
        ):
            try:
                from_batch(batch.set_column(index, name, column))
            except ConversionError as error:
                assert "the row is not one of a table" in str(error)  # noqa: PT017


def test_missing_columns_are_null() -> None:
    """Only the column `record` must be there; without the others, what they have is missing."""
    record = of_logprobs("ab", token("a", -1.5, alternative("c", -3.0)), token("b", 0.0))
    record.request.messages.add().content.text = "x"
    batch = to_batch([record] * 2)
    for name in SCHEMA.names[:-1]:
        found = from_batch(batch.drop_columns([name]))
        nulls = pa.nulls(2, SCHEMA.field(name).type)
        assert found == from_batch(batch.set_column(SCHEMA.get_field_index(name), name, nulls))
    rest = batch.column("record").to_pylist()
    expected = [CompletionRecord.FromString(data) for data in rest]
    found = from_batch(batch.select(["record"]))
    assert expected == [CompletionRecord.FromString(data) for data in found]
    with pytest.raises(ConversionError, match="do not have the column record"):
        from_batch(batch.drop_columns(["record"]))


@pytest.mark.parametrize("name", ["messages", "chunks", "logprobs", "labels"])
def test_fields_of_structs_in_any_order_and_number(name: str) -> None:
    """Unknown ones are left out, and a missing one is null."""
    completion = from_dict(COMPLETION)
    record = CompletionRecord(completion=completion, labels={"a": "b"})
    record.chunks.extend(chatpb.unfold(completion))
    tokens = from_dict({"content": [token("a", -1.0, id=3)]}, ChoiceLogprobs)
    record.completion.choices[0].logprobs.CopyFrom(tokens)
    batch = to_batch([record])
    place = SCHEMA.get_field_index(name)
    rows = batch.column(name).to_pylist()
    turned = [[dict(reversed(each.items())) | {"more": 1} for each in row] for row in rows]
    assert [serialized(record)] == from_batch(batch.set_column(place, name, pa.array(turned)))
    wide = pa.array(rows).cast(pa.large_list(pa.array(rows).type.value_type))
    assert [serialized(record)] == from_batch(batch.set_column(place, name, wide))
    if name == "messages":
        fewer = [[{"choice": each["choice"], "content": "x"} for each in row] for row in rows]
        (data,) = from_batch(batch.set_column(place, name, pa.array(fewer)))
        choices = CompletionRecord.FromString(data).completion.choices
        assert ["x", "x"] == [choice.message.content for choice in choices]
        assert not any(choice.HasField("finish_reason") for choice in choices)


def test_list_with_too_few_elements_is_refused() -> None:
    batch = to_batch([CompletionRecord(), CompletionRecord(completion=from_dict(COMPLETION))])
    rows = batch.column("messages").to_pylist()
    column = pa.array([None, rows[1][:1]], SCHEMA.field("messages").type)
    with pytest.raises(ConversionError, match="more elements of messages") as caught:
        from_batch(batch.set_column(SCHEMA.get_field_index("messages"), "messages", column))
    assert "$[1]" == caught.value.path


def test_mutated_rows_are_refused_or_give_records() -> None:
    """Numbers that say where things are, changed at random: no crash, and no endless work."""
    record = of_logprobs(
        "ab", token("a", -0.1, alternative("a", -0.1), alternative("c", -3.0)), token("b", 0.0)
    )
    batch = to_batch([serialized(record)] * 2)
    batch = batch.drop_columns([name for name in SCHEMA.names if batch[name].null_count == 2])
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
                row["messages"] = [{"content": "x"}] * rng.randrange(3)
        mutated = pa.RecordBatch.from_pylist(rows, batch.schema)
        try:
            assert len(rows) == len(from_batch(mutated))
        except ConversionError as error:
            refused += error.path in ("$[0]", "$[1]")
    assert refused > 60


def test_mutated_records() -> None:
    if shredder() is None:
        pytest.skip("the native implementation is not in use")
    count = 3000 if SOAK else 300
    tally = fuzz_table.run(count, seed=1)
    assert tally["shredded"] > count / 4
    assert tally["refused"] > count / 4


def test_mutated_rows() -> None:
    if shredder() is None:
        pytest.skip("the native implementation is not in use")
    tally = fuzz_table.run_on_rows(150, seed=1)
    assert tally["rows assembled"] > 50
    assert tally["rows refused"] > 20
