"""JSON lines that hold a request and its response, and those of an unknown shape."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from support.build import PING, USAGE
from support.command_line import run
from support.table_files import ERROR, chunk, compacted, completion, found, lines, printed

CASES: Final = Path(__file__).parent / "cases" / "import.jsonl"
STREAM: Final = [chunk("a", "po"), chunk("a", "ng")]
DONE: Final = completion()
FAILED: Final = {"code": "batch_expired", "message": "too late"}
OUTPUT: Final = {"id": "batch_req_1", "custom_id": "r-1", "error": None}
INPUT: Final = {"custom_id": "r-1", "method": "POST", "url": "/v1/chat/completions", "body": PING}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param(
            {"request": PING, "response": DONE, "user": "alice", "n": 1.50, "x": None},
            {"request": PING, "completion": DONE, "labels": {"user": "alice", "n": "1.5"}},
            id="request-response",
        ),
        pytest.param(
            {"request": PING, "response": STREAM},
            {"request": PING, "chunks": STREAM},
            id="chunks",
        ),
        pytest.param(
            {"request": PING, "response": [*STREAM, ERROR]},
            {"request": PING, "chunks": STREAM, "error": ERROR},
            id="chunks-and-error",
        ),
        pytest.param(
            {"request": PING, "response": ERROR}, {"request": PING, "error": ERROR}, id="error"
        ),
        pytest.param(
            {**PING, "temperature": 0.50, "response": DONE},
            {"request": {**PING, "temperature": 0.5}, "completion": DONE},
            id="messages-response",
        ),
        pytest.param(INPUT, {"request": PING, "labels": {"custom_id": "r-1"}}, id="batch-input"),
        pytest.param(
            {**OUTPUT, "response": {"status_code": 200, "request_id": "x", "body": DONE}},
            {
                "completion": DONE,
                "http_status": 200,
                "labels": {"id": "batch_req_1", "custom_id": "r-1", "request_id": "x"},
            },
            id="batch-output",
        ),
        pytest.param(
            {**OUTPUT, "response": {"status_code": 429, "body": {"detail": "slow", "a": 1}}},
            {
                "error": {"detail": "slow", "a": 1},
                "http_status": 429,
                "labels": {"id": "batch_req_1", "custom_id": "r-1"},
            },
            id="batch-output-status",
        ),
        pytest.param(
            {**OUTPUT, "response": None, "error": FAILED},
            {
                "error": {"error": FAILED},
                "labels": {"id": "batch_req_1", "custom_id": "r-1"},
            },
            id="batch-output-error",
        ),
    ],
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "-"])
def test_an_exchange_becomes_a_record(
    line: dict[str, Any], expected: dict[str, Any], name: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(lines(line))
    path = name if name == "-" else tmp_path / name
    result = run("compact", path, tmp_path / "table", stdin=lines(line))
    assert (0, "") == (result.exit_code, result.stderr)
    (record,) = found(tmp_path / "table")
    assert expected == record


def test_many_are_not_put_together(tmp_path: Path) -> None:
    exchanges = [{"request": PING, "response": completion(number)} for number in range(1000)]
    (tmp_path / "a.jsonl").write_text(lines(*exchanges))
    assert compacted(tmp_path / "a.jsonl", tmp_path / "table").startswith("1,000 records, ")


def test_cases(tmp_path: Path) -> None:
    table = tmp_path / "table"
    result = run("compact", CASES, table)
    place = f"{CASES}:5: not a completion, chunk, request, error or exchange"
    what = "an object with 'hello' (--skip-unknown leaves such input out)"
    assert (1, f"chatpb: error: {place}: {what}\n") == (result.exit_code, result.stderr)
    said = compacted("--skip-unknown", CASES, table).splitlines()
    assert said[0].startswith("4 records, ")
    assert ["1 of an unknown shape was left out"] == said[1:]
    parts = [sorted(record.keys() & {"request", "completion"}) for record in found(table)]
    assert [["completion", "request"], ["request"], ["completion"], ["request"]] == parts


def test_what_cat_prints_is_read(tmp_path: Path) -> None:
    """Whatever a record holds."""
    records = [
        {"completion": DONE},
        {"request": PING},
        {"error": ERROR},
        {
            "request": PING,
            "chunks": STREAM,
            "chunk_times_us": [0, 5],
            "start_time_unix_us": 1_700_000_000_123_456,
            "duration_us": 2**40,
            "caller": "search",
            "upstream": "u",
            "status": 14,
            "http_status": 503,
            "error": ERROR,
            "labels": {"a": "b", "c": "d"},
            "call_id": "1",
            "kept": "redacted",
            "request_bytes": 2**40,
            "answer_bytes": 0,
        },
    ]
    (tmp_path / "a.jsonl").write_text(lines(*records))
    compacted(tmp_path / "a.jsonl", tmp_path / "one")
    assert records == found(tmp_path / "one")
    text = run("cat", "--what", "record", tmp_path / "one").stdout
    (tmp_path / "b.jsonl").write_text(text)
    compacted(tmp_path / "b.jsonl", tmp_path / "two")
    assert text == run("cat", "--what", "record", tmp_path / "two").stdout


@pytest.mark.parametrize(
    ("line", "what"),
    [
        pytest.param({"a": 1}, "an object with 'a'", id="object"),
        pytest.param({}, "an empty object", id="empty"),
        pytest.param([1], "an array", id="array"),
        pytest.param("x", "a string", id="string"),
        pytest.param(
            {"level": "info", "message": "begun", "time": 1},
            "an object with 'level', 'message', 'time'",
            id="program-log",
        ),
        pytest.param(
            dict.fromkeys("abcdefg", 1),
            "an object with 'a', 'b', 'c', 'd', 'e' and 2 more",
            id="many-members",
        ),
        pytest.param(
            {"request": {"prompt": "x"}, "response": DONE},
            "its request is an object with 'prompt'",
            id="request",
        ),
        pytest.param(
            {"request": PING, "response": "pong"}, "its response is a string", id="response"
        ),
        pytest.param(
            {**INPUT, "url": "/v1/embeddings"},
            "a request of a batch for /v1/embeddings, not for chat completions",
            id="other-endpoint",
        ),
        pytest.param(
            {"request": None, "response": None}, "its request and its response are null", id="null"
        ),
        pytest.param(
            {"request": "hi", "completion": "you"},
            "its member 'request' is or contains a string",
            id="record-of-texts",
        ),
        pytest.param({"chunks": []}, "its members are empty", id="empty-record"),
    ],
)
def test_an_unknown_shape_is_named(line: Any, what: str, tmp_path: Path) -> None:
    path, table = tmp_path / "a.jsonl", tmp_path / "table"
    path.write_text(lines(DONE, line, line, completion(2)))
    result = run("compact", path, table)
    assert 1 == result.exit_code
    assert result.stderr.startswith(f"chatpb: error: {path}:2: not a completion, ")
    assert f": {what} (--skip-unknown " in result.stderr
    assert not (table / "_delta_log").exists()
    said = compacted("--skip-unknown", path, table)
    assert "2 of an unknown shape were left out" == said.splitlines()[1]
    assert [DONE, completion(2)] == printed("cat", table)


@pytest.mark.parametrize(
    "line",
    [{"model": "m", "usage": USAGE}, {"id": "a"}, {"object": "file", "id": "f", "created": 1}],
    ids=["usage", "id", "file"],
)
def test_what_only_continues_a_stream_does_not_begin_one(line: Any, tmp_path: Path) -> None:
    """Else the lines of a file with other objects would become one stream."""
    path, table = tmp_path / "a.jsonl", tmp_path / "table"
    path.write_text(lines(line, line))
    result = run("compact", path, table)
    assert 1 == result.exit_code
    assert result.stderr.startswith(f"chatpb: error: {path}:1: not a completion, ")


def test_a_list_that_no_record_can_contain_is_skipped(tmp_path: Path) -> None:
    path, table = tmp_path / "a.jsonl", tmp_path / "table"
    path.write_text(lines({"object": "list", "data": [{"embedding": [1]}]}, DONE))
    result = run("compact", path, table)
    assert (1, "which a record cannot contain" in result.stderr) == (result.exit_code, True)
    said = compacted("--skip-unknown", path, table)
    assert "1 of an unknown shape was left out" == said.splitlines()[1]


def test_labels_with_lone_surrogates_are_json_texts(tmp_path: Path) -> None:
    line = {"request": PING, "response": None, "a": "\ud800", "\ud800": "b"}
    (tmp_path / "a.jsonl").write_text(lines(line))
    compacted(tmp_path / "a.jsonl", tmp_path / "table")
    labels = {"a": r'"\ud800"', r'"\ud800"': "b"}
    assert [{"request": PING, "labels": labels}] == found(tmp_path / "table")


def test_null_members_of_a_record_are_left_out(tmp_path: Path) -> None:
    line = {"completion": DONE, "chunks": None, "labels": None, "status": None}
    (tmp_path / "a.jsonl").write_text(lines(line))
    compacted(tmp_path / "a.jsonl", tmp_path / "table")
    assert [{"completion": DONE}] == found(tmp_path / "table")


@pytest.mark.parametrize(
    ("line", "what"), [(DONE, "completion"), (PING, "request")], ids=["completion", "request"]
)
def test_fold_refuses_whole_objects(line: Any, what: str) -> None:
    result = run("fold", stdin=lines(line, line))
    assert (1, f"chatpb: error: <stdin>:1: a {what}, not a chunk\n") == (
        result.exit_code,
        result.stderr,
    )


@pytest.mark.parametrize(
    "line",
    [
        pytest.param({"usage": USAGE}, id="usage"),
        pytest.param({"object": "chat.completion.chunk", "x": 1}, id="word"),
        pytest.param({"choices": [], "x": 1}, id="choices"),
    ],
)
def test_odd_chunks_are_known(line: Any, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(lines(*STREAM, line))
    assert compacted(tmp_path / "a.jsonl", tmp_path / "table").startswith("1 record, ")
    assert [{"chunks": [*STREAM, line]}] == found(tmp_path / "table")


def test_a_member_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(lines({"completion": DONE, "status": "x"}))
    result = run("compact", tmp_path / "a.jsonl", tmp_path / "table")
    assert 1 == result.exit_code
    assert result.stderr.startswith(f"chatpb: error: {tmp_path}/a.jsonl:1: $.status: ")


def test_fold_refuses_lines_of_an_unknown_shape() -> None:
    result = run("fold", stdin=lines({"a": 1}, {"a": 2}))
    assert (1, "chatpb: error: <stdin>:1: not a chunk: an object with 'a'\n") == (
        result.exit_code,
        result.stderr,
    )
    result = run("fold", stdin=lines(*STREAM, {"a": 2}))
    assert "chatpb: error: <stdin>:3: not a chunk: an object with 'a'\n" == result.stderr
    assert "pong" == json.loads(result.stdout)["choices"][0]["message"]["content"]
