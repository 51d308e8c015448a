"""The nested columns of any record: nothing is lost, and they are what the JSON is."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import chatpb
from chatpb.table._rows.batches import from_batch, to_batch
from chatpb.table._rows.columns import COLUMNS
from chatpb.table._rows.plan import shredder
from chatpb.table._rows.tree import Column, ListColumn
from chatpb.v1 import ChatCompletionRequest, CompletionRecord
from support.random_records import random_record
from support.strategies import messages
from support.table_rows import rows_of, same, serialized

SEEDS = st.integers(0, 2**32)


def records(seed: int) -> list[CompletionRecord]:
    rng = random.Random(seed)
    return [random_record(rng) for _ in range(rng.choice((1, 3, 12)))]


@given(SEEDS)
def test_records_come_back(seed: int) -> None:
    data = [serialized(record) for record in records(seed)]
    batch = to_batch(data)
    batch.validate(full=True)
    assert same(data, from_batch(batch))
    assert same(data[1:], from_batch(batch[1:]))


@given(SEEDS)
def test_implementations_agree(seed: int) -> None:
    if shredder() is None:
        pytest.skip("the native implementation is not in use")
    data = [serialized(record) for record in records(seed)]
    native = to_batch(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("chatpb.table._rows.batches.shredder", lambda: None)
        reference = to_batch(data)
        assert same(data, from_batch(native))
    assert repr(rows_of(reference)) == repr(rows_of(native))
    assert same(data, from_batch(reference))


def test_every_column_is_filled_by_some_record() -> None:
    """So the other tests here do compare all of them."""
    rng = random.Random(1)
    rows = rows_of(to_batch([random_record(rng) for _ in range(300)]))
    found = {path for row in rows for name, value in row.items() for path in paths(name, value)}
    assert set() == set(declared(COLUMNS)) - found


def declared(columns: Any, prefix: str = "") -> Iterator[str]:
    for column in columns:
        if isinstance(column, Column):
            yield f"{prefix}{column.name}"
        elif isinstance(column, ListColumn):
            yield from declared(column.columns, f"{prefix}{column.name}.")


def paths(name: str, value: Any) -> Iterator[str]:
    """The paths of the values in a value that are not null."""
    if value is not None:
        yield name
    for each in value if isinstance(value, list) else ():
        for inner, below in each.items() if isinstance(each, dict) else ():
            yield from paths(f"{name}.{inner}", below)


@given(
    messages(ChatCompletionRequest) | st.just(ChatCompletionRequest()),
    SEEDS.map(lambda seed: random_record(random.Random(seed))),
)
def test_messages_are_what_the_json_is(
    request: ChatCompletionRequest, record: CompletionRecord
) -> None:
    """Roles, texts and calls of the request and of the answer, in their order."""
    request.messages.extend(record.request.messages)
    for choice in record.completion.choices:
        if not choice.message.role:  # set to no word: it stays, although JSON has one for it
            choice.message.ClearField("role")
    try:
        asked = json.loads(chatpb.to_json(request))
        answered = json.loads(chatpb.to_json(record.completion))
    except chatpb.ConversionError:
        return  # a value that JSON does not have
    record = CompletionRecord(request=request, completion=record.completion)
    (row,) = rows_of(to_batch([record]))
    told = [(None, message) for message in asked.get("messages") or ()]
    told += [(choice["index"], choice.get("message")) for choice in answered["choices"] or ()]
    found = row.get("messages") or []
    assert len(told) == len(found)
    for (index, message), struct in zip(told, found, strict=True):
        assert index == struct["choice"]
        if message is None:
            continue
        for name in ("role", "content", "refusal", "name", "tool_call_id", "reasoning"):
            _compare(message, name, struct[name])
        calls = message.get("tool_calls") or []
        assert len(calls) == len(struct["tool_calls"] or ())
        for call, column in zip(calls, struct["tool_calls"] or (), strict=True):
            _compare(call, "id", column["id"])
            _compare(call.get("function") or {}, "arguments", column["arguments"])


def _compare(message: dict[str, Any], name: str, column: Any) -> None:
    """A text is in its column, and a column is a text of the message."""
    value = message.get(name)
    if isinstance(value, str) or column is not None:
        assert value == column, name
