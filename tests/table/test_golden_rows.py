"""Rows are those of the golden file, in both directions: it has what users have stored."""

from __future__ import annotations

import base64
import json
from typing import Any

import pyarrow as pa
import pytest

from chatpb.table._rows.batches import from_batch, to_batch
from chatpb.table._rows.columns import SCHEMA
from chatpb.table._rows.conform import plain
from chatpb.table._rows.plan import shredder
from support.golden_files import RENEW, ROWS, row_lines

LINES = [json.loads(line) for line in ROWS.read_text("utf-8").splitlines()]


@pytest.fixture(params=["native", "reference"], autouse=True)
def _implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "reference":
        monkeypatch.setattr("chatpb.table._rows.batches.shredder", lambda: None)
    elif shredder() is None:
        pytest.skip("the native implementation is not in use")


def test_rows_are_those_of_the_golden_file() -> None:
    assert LINES == [json.loads(line) for line in row_lines()], RENEW


def test_records_come_back_from_the_golden_file() -> None:
    """Columns and fields without a value are not even there."""
    for line in LINES:
        arrays = {
            name: pa.array([_value(SCHEMA.field(name).type, value)], _type_of(name))
            for name, value in line["row"].items()
        }
        assert [base64.b64decode(line["binary"])] == from_batch(pa.RecordBatch.from_pydict(arrays))


def test_rows_together_are_the_same() -> None:
    data = [base64.b64decode(line["binary"]) for line in LINES]
    assert data == from_batch(to_batch(data))
    assert data[2:5] == from_batch(to_batch(data)[2:5])


def _type_of(name: str) -> pa.DataType | None:
    kind = plain(SCHEMA.field(name).type)
    return None if pa.types.is_list(kind) and pa.types.is_struct(kind.value_type) else kind


def _value(kind: pa.DataType, value: Any) -> Any:
    """A value of a row from JSON."""
    if pa.types.is_binary(kind):
        return base64.b64decode(value)
    if pa.types.is_struct(kind):
        return {name: _value(kind.field(name).type, each) for name, each in value.items()}
    return [_value(kind.value_type, each) for each in value] if pa.types.is_list(kind) else value
