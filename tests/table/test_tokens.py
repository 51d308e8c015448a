"""Tokens in columns: nothing is lost, and nothing is stored twice."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatpb.table._rows.batches import from_batch, to_batch
from chatpb.v1 import (
    ChatCompletion,
    ChoiceLogprobs,
    CompletionRecord,
)
from support.table_rows import (
    alternative,
    double,
    logprobs,
    of_logprobs,
    of_tokens,
    serialized,
    single,
    single_token,
    token,
)


@given(st.lists(logprobs(), max_size=3))
def test_tokens_come_back(lists: list[ChoiceLogprobs]) -> None:
    record = CompletionRecord(completion=ChatCompletion())
    for tokens in lists:
        choice = record.completion.choices.add(logprobs=tokens)
        choice.message.content = "".join(each.token for each in tokens.content)
    data = [serialized(record)]
    assert data == from_batch(to_batch(data))


@pytest.mark.parametrize("content", ["ab", "abc", "", None])
def test_text_is_always_next_to_its_tokens(content: str | None) -> None:
    record = of_logprobs(content, token("a", -1.5), token("b", -0.25))
    data = [serialized(record)]
    batch = to_batch(data)
    ((message,),) = batch.column("messages").to_pylist()
    assert content == message["content"]
    assert data == from_batch(batch)


def test_tokens_have_their_choice_and_source() -> None:
    """In a completion and in chunks; tokens outside of choices would have none."""
    record = CompletionRecord(completion=ChatCompletion())
    for index in (1, 0, 7):
        tokens = ChoiceLogprobs(content=[single_token(-0.5)], refusal=[single_token(-1.0)] * 2)
        record.completion.choices.add(index=index, logprobs=tokens)
    chunks = CompletionRecord()
    for index in (2, 0):
        tokens = ChoiceLogprobs(content=[single_token(-0.5)])
        chunks.chunks.add(id="a").choices.add(index=index, logprobs=tokens)
    data = [serialized(record), serialized(chunks)]
    batch = to_batch(data)
    found = [
        [(each["choice"], each["source"]) for each in row]
        for row in batch.column("logprobs").to_pylist()
    ]
    of_choice = ["content", "refusal", "refusal"]
    expected = [(index, source) for index in (1, 0, 7) for source in of_choice]
    assert [expected, [(2, "content"), (0, "content")]] == found
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
