"""Unusual values: each is found by a condition, and survives every partitioning and care."""

from __future__ import annotations

from pathlib import Path

import pyarrow.compute as pc
import pytest

from chatpb.table import Dataset
from chatpb.v1 import CompletionRecord
from support.command_line import run
from support.limits import SOAK

TEXTS = (
    *("", "\0", "a\0b", "\n", "\r\n", "\u2028", "\ufffd", "\ud7ff", "\U00020000", "\U0010ffff"),
    *("\U0010ffff" * 50, "x" * 100_000, "é" * 40, "😀" * 33, "%20", "a/b", "..", "../../etc"),
    *("a=b", '{"a":1}', "null", "__HIVE_DEFAULT_PARTITION__", " ", "a b", "a:b", "[x]"),
    *("NaN", "2026-11", "\\", '"', "'", "\t", "\u200b"),
)


def record(text: str) -> bytes:
    made = CompletionRecord(caller=text, upstream=text, call_id=text, labels={text: text})
    made.completion.model = made.completion.id = text
    made.completion.choices.add().message.content = text
    return made.SerializeToString(deterministic=True)


@pytest.mark.parametrize("by", [None, "caller", "day", *(["model", "month"] if SOAK else [])])
def test_any_text(by: str | None, tmp_path: Path) -> None:
    table = Dataset(tmp_path)
    texts = TEXTS if SOAK or by is None else TEXTS[::8]  # each is a file, if it is a partition
    records = list(map(record, texts))
    table.append(records[:2], partition_by=by)
    table.append(records[2:])
    assert sorted(records) == sorted(table.records())
    table.optimize(everything=True)
    assert sorted(records) == sorted(table.records())
    for text in texts[:2]:
        assert 1 == table.delete(pc.field("caller") == text, vacuum=True).records
        records.remove(record(text))
    assert sorted(records) == sorted(table.records())
    assert not table.verify().damaged


@pytest.mark.parametrize("text", ["\U00020000", "\U0010ffff" * 50, "a\0b"])
def test_statistics_of_any_text(text: str, tmp_path: Path) -> None:
    """A file with nothing else is not left out."""
    table = Dataset(tmp_path)
    table.append([record(text)])
    for column in ("caller", "model", "id"):
        assert [record(text)] == list(table.records(pc.field(column) == text))
    quoted = text.replace("'", "''")
    if "\0" not in text:
        assert 1 == len(run("grep", f"caller = '{quoted}'", tmp_path).stdout.splitlines())
