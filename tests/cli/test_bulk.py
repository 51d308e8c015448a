"""JSON lines, many of which become rows at once: with the same result as one by one."""

from __future__ import annotations

import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from chatpb._cli.reading import bulk
from chatpb._cli.reading.input import Reading, open_source
from chatpb._cli.reading.source import Source
from chatpb.table._rows.plan import shredder
from support.command_line import run
from support.table_files import REQUEST, STREAM, compacted, completion, found, lines

FIRST = [json.dumps(completion(number)) for number in range(20)]
LAST = [json.dumps(completion(number)) for number in range(100, 120)]


def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "_ROWS", 10**9)
    monkeypatch.setattr(bulk, "_BYTES", 10**9)


@pytest.mark.parametrize(
    "between",
    [
        pytest.param([], id="nothing"),
        pytest.param(["", "  ", "\r"], id="blank"),
        pytest.param([json.dumps(STREAM[0]), json.dumps(completion(50))], id="chunk"),
        pytest.param([json.dumps({"request": REQUEST, "response": completion(50)})], id="exchange"),
        pytest.param([json.dumps({"object": "chat.completion", "x": "\ud800"})], id="surrogate"),
        pytest.param(['{"object":"chat.completion","object":"x","choices":[]}'], id="repeated"),
        pytest.param(['{"x": {"object": "chat.completion"}, "choices": []}'], id="nested"),
        pytest.param(['{"object": "chat.completion", "created": 1e400}'], id="number"),
        pytest.param(['{"choices": [], "y": "\\"object\\": \\"chat.completion\\""}'], id="text"),
        pytest.param([" \t" + json.dumps(completion(50)) + " \r"], id="space"),
    ],
)
def test_the_same_records(
    between: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join([*FIRST, *between, *LAST]))
    said = compacted("--label", "a=b", path, tmp_path / "bulk")
    one_by_one(monkeypatch)
    assert (
        said.split(" of JSON")[0]
        == compacted("--label", "a=b", path, tmp_path / "slow").split(" of JSON")[0]
    )
    assert found(tmp_path / "slow") == found(tmp_path / "bulk")


_ANSWER = completion(1)
_ODD = {"stop": ["a"], "x": {"y": [1.0, 1e2, "\\u00e9"]}, "messages": [{"role": "user"}]}
_TAKEN: dict[str, dict[str, Any]] = {
    "request": REQUEST,
    "odd request": _ODD,
    "exchange": {"request": REQUEST, "response": _ANSWER},
    "odd exchange": {"response": _ANSWER, "request": _ODD},
    "request around": {**REQUEST, "response": _ANSWER},
    "response first": {"response": _ANSWER, **_ODD},
    "response between": {"model": "m", "response": _ANSWER, "messages": []},
    "label": {"request": REQUEST, "response": _ANSWER, "team": "a"},
    "labels": {"b": 0, "request": REQUEST, "x": "", "response": _ANSWER, "a": None, "c": True},
    "messages as a label": {"request": REQUEST, "response": _ANSWER, "messages": "a", "n": 10},
    "error as response": {"request": REQUEST, "response": {"error": {"message": "no"}}},
    "error with a label": {"request": REQUEST, "response": {"error": {"x": 1.0}}, "team": "a"},
    "error around": {**REQUEST, "response": {"error": {"message": "no", "code": None}}},
    "record": {"request": REQUEST, "completion": _ANSWER},
    "record of an answer": {"completion": completion(1)},
    "record of all": {
        "labels": {"b": "c", "a": ""},
        "answer_bytes": 5000000000,
        "request_bytes": 0,
        "kept": "metadata",
        "call_id": "c",
        "error": {"error": {"message": "no"}},
        "http_status": 500,
        "status": 13,
        "upstream": "u",
        "caller": "",
        "duration_us": None,
        "start_time_unix_us": 1741569952000000,
        "completion": _ODD | {"choices": []},
        "request": _ODD,
    },
}
_LEFT: dict[str, dict[str, Any]] = {
    "chunk": STREAM[0],
    "error": {"error": {"message": "no"}},
    "request with an error": {**REQUEST, "error": None},
    "request with choices": {**REQUEST, "choices": []},
    "request with an object": {**REQUEST, "object": "chat.completion"},
    "label outside ASCII": {"request": REQUEST, "response": _ANSWER, "é": "é"},
    "label with escapes": {"request": REQUEST, "response": _ANSWER, "team": '"'},
    "label in an object": {"request": REQUEST, "response": _ANSWER, "team": {"a": 1}},
    "label with a fraction": {"request": REQUEST, "response": _ANSWER, "score": 1.0},
    "negative label": {"request": REQUEST, "response": _ANSWER, "score": -1},
    "label of a batch": {"request": REQUEST, "response": _ANSWER, "custom_id": "a"},
    "status": {"request": REQUEST, "response": _ANSWER, "status_code": 200},
    "error next to it": {"request": REQUEST, "response": _ANSWER, "error": None},
    "error that is a text": {"request": REQUEST, "response": {"error": "no"}},
    "error with more": {"request": REQUEST, "response": {"error": {}, "id": "a"}},
    "chunks as response": {"request": REQUEST, "response": STREAM},
    "null as response": {"request": REQUEST, "response": None},
    "HTTP": {"request": REQUEST, "response": {"status_code": 200, "body": _ANSWER}},
    "HTTP request": {"request": {"body": REQUEST}, "response": _ANSWER},
    "unnamed response": {"request": REQUEST, "response": {"choices": [], "model": "m"}},
    "record with chunks": {"request": REQUEST, "chunks": STREAM},
    "record with an error alone": {"error": {"error": {"message": "no"}}},
    "record of a fraction": {"request": REQUEST, "status": 1.0},
    "record of an escape": {"request": REQUEST, "caller": '"'},
    "page": {"object": "list", "data": [_ANSWER], "x": '"messages"'},
}


@pytest.mark.parametrize("name", [*_TAKEN, *_LEFT])
def test_shapes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    value = _TAKEN.get(name) or _LEFT[name]
    text = lines(*map(json.loads, FIRST), *(value,) * 17, *map(json.loads, LAST))
    path.write_text(text)
    texts = [line.encode() for line in text.splitlines()]
    with open_source(str(path), Reading()) as source:
        (block,) = source.blocks()
    found_runs = [
        (rows is not None, part.number - 1, part.number + part.text.count(b"\n"))
        for rows, part in bulk.runs(block)
    ]
    if shredder() is not None:
        left = [(True, 0, 20), (False, 20, 37), (True, 37, 57)]
        assert found_runs == ([(True, 0, len(texts))] if name in _TAKEN else left)
    label = ["--label", "team=b"]
    compacted(path, tmp_path / "bulk")
    compacted(*label, path, tmp_path / "bulk of b")
    one_by_one(monkeypatch)
    compacted(path, tmp_path / "slow")
    compacted(*label, path, tmp_path / "slow of b")
    assert found(tmp_path / "slow") == found(tmp_path / "bulk")
    assert found(tmp_path / "slow of b") == found(tmp_path / "bulk of b")


@pytest.mark.parametrize(
    "bad",
    [
        '{"object": "chat.completion", "x": }',
        "7",
        '{"a": 1}',
        '{"completion": {}, "status": 3000000000}',
        '{"completion": {}, "labels": {"a": 1}}',
        "x" * 2000,
    ],
    ids=str,
)
@pytest.mark.parametrize("options", [[], ["--skip-damage", "--skip-unknown"]], ids=["", "skip"])
def test_the_same_errors(
    bad: str, options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join([*FIRST, bad, *LAST, ""]))
    limit = ["--max-size", "0.0015"] if len(bad) > 1000 else []

    def outcome(table: str) -> Any:
        result = run("compact", *options, *limit, path, tmp_path / table)
        records = found(tmp_path / table) if result.exit_code == 0 else []
        said = result.stdout.split(" of JSON")[0]
        return result.exit_code, result.stderr.replace(table, "table"), said, records

    expected = outcome("bulk")
    one_by_one(monkeypatch)
    assert expected == outcome("slow")
    assert (":21: " in expected[1]) or options


def test_a_file_that_grows(tmp_path: Path) -> None:
    path, table = tmp_path / "a.jsonl", tmp_path / "table"
    path.write_text("\n".join(FIRST) + "\n" + LAST[0][:50])
    result = run("compact", path, table)
    assert "; left for when the line is whole" in result.stderr
    assert result.stdout.startswith("20 records, ")
    path.write_text("\n".join([*FIRST, *LAST]))
    assert compacted(path, table).startswith("20 records, ")
    assert [json.loads(each) for each in (*FIRST, *LAST)] == [
        each["completion"] for each in found(table)
    ]


def test_lines_longer_than_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatpb._cli.reading.source._BLOCK", 700)
    path = tmp_path / "a.jsonl"
    long = completion(7, x="x" * 3000)
    path.write_text(lines(*map(json.loads, FIRST), long, *map(json.loads, LAST)))
    compacted(path, tmp_path / "table")
    assert long == found(tmp_path / "table")[20]["completion"]
    assert 41 == len(found(tmp_path / "table"))


def test_empty_lines_cost_no_memory() -> None:
    """The lines between them have their numbers and ends."""
    text = b"\n" * 100_000 + b' {"a": 1}\r\n' + b"\n" * 100_000 + b"[]"
    source = Source("a.jsonl", io.BytesIO(text))
    tracemalloc.start()
    try:
        found = [(each.place, each.end) for block in source.blocks() for each in block.records()]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [("a.jsonl:100001", 100_011), ("a.jsonl:200002", len(text))] == found
    assert peak < 5 * len(text)
