"""How often what `chatpb compact` reads is parsed on its way to a table."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import chatpb
from chatpb._mapping.convert import binary_to_json, json_to_binary
from chatpb._record import label_fields, labelled, record_of
from chatpb.log import LogWriter, Sync
from chatpb.table import Dataset
from chatpb.v1 import ChatCompletion, CompletionRecord, Residue
from support import build
from support.command_line import run

COMPLETION = json.dumps(build.completion(build.choice("hi"))).encode()
CHUNK = (
    b'{"id":"%d","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"a"}}]}'
)
REQUEST = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
COUNT = 50


def _calls(*args: object) -> Counter[str]:
    """Runs a command, and counts the calls that parse JSON or messages."""
    counts: Counter[str] = Counter()
    names = ("json_to_binary", "binary_to_json", "part_json_size", "FromString", "ParseFromString")

    def count(frame: FrameType, event: str, argument: Any) -> None:
        if event == "c_call" and argument.__name__ in names[3:]:
            is_residue = argument.__self__ is Residue  # a few bytes, which tell a kind
            counts[argument.__name__] += not is_residue
        elif event == "call" and frame.f_code.co_name in names[:3]:
            counts[frame.f_code.co_name] += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        result = run(*args)
    finally:
        sys.setprofile(before)
    assert 0 == result.exit_code, result.output
    return counts


@pytest.mark.parametrize(
    ("lines", "conversions", "parses"),
    [
        pytest.param([COMPLETION] * COUNT, COUNT, COUNT, id="completions"),
        pytest.param([REQUEST] * COUNT, COUNT, COUNT, id="requests"),
        # A chunk is parsed alone too: its kind and its stream are in it.
        pytest.param([CHUNK % (n // 10) for n in range(COUNT)], COUNT, COUNT + 5, id="chunks"),
    ],
)
def test_json_is_converted_once(
    lines: list[bytes], conversions: int, parses: int, tmp_path: Path
) -> None:
    source = tmp_path / "lines.jsonl"
    source.write_bytes(b"\n".join(lines) + b"\n")
    counts = _calls("compact", source, tmp_path / "table")
    folds = 5 if parses > conversions else 0  # a fold converts what it made
    if chatpb.implementation == "native" and not folds:
        # Rows are made of such lines with no call for a single one.
        conversions = parses = 0
    assert conversions <= counts["json_to_binary"] <= conversions + folds
    assert parses == counts["FromString"]
    assert 0 == counts["ParseFromString"]


@pytest.mark.parametrize("labels", [(), ("--label", "run=1")], ids=["plain", "labelled"])
def test_records_of_a_log_are_parsed_once(labels: tuple[str, ...], tmp_path: Path) -> None:
    """Also those that get a label before their last fields."""
    data = record_of([(ChatCompletion, json_to_binary(COMPLETION))])
    record = CompletionRecord.FromString(data)
    record.call_id = "1"
    with LogWriter(tmp_path / "log.chatpb.zst", sync=Sync.NEVER) as log:
        for _ in range(COUNT):
            log.append(record)
    counts = _calls("compact", *labels, tmp_path / "log.chatpb.zst", tmp_path / "table")
    measured = max(counts["binary_to_json"], counts["part_json_size"])
    others = 2 + measured  # the header, and the messages whose JSON is measured
    assert COUNT <= counts["FromString"] <= COUNT + others
    expected = record.SerializeToString() if not labels else None
    found = CompletionRecord.FromString(next(Dataset(tmp_path / "table").records()))
    assert (not labels) == (found.SerializeToString() == expected)
    assert ({"run": "1"} if labels else {}) == dict(found.labels)


def test_labels_keep_the_order_of_fields() -> None:
    record = CompletionRecord(duration_us=1, labels={"a": "b"}, call_id="c")
    expected = CompletionRecord(duration_us=1, labels={"a": "x", "b": "y"}, call_id="c")
    fields = label_fields({"a": "x", "b": "y"})
    found = labelled(record.SerializeToString(), fields)
    assert expected == CompletionRecord.FromString(found)
    assert found.endswith(CompletionRecord(call_id="c").SerializeToString())


def test_the_size_of_binary_input_is_that_of_its_json(tmp_path: Path) -> None:
    data = json_to_binary(COMPLETION)
    (tmp_path / "a.json").write_bytes(data)  # found to be binary by its content
    result = run("compact", tmp_path / "a.json", tmp_path / "table")
    assert f"1 record, {len(binary_to_json(data)):,} bytes of JSON" in result.stdout
