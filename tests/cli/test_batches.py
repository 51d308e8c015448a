"""OpenAI's batch files: requests, responses and errors in files of their own."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

from support.build import PING
from support.command_line import run
from support.table_files import compacted, completion, found, lines

FAILED = {"code": "batch_expired", "message": "too late"}


def asked(number: int, text: str = "ping") -> dict[str, Any]:
    body = {"model": "m", "messages": [{"role": "user", "content": text}]}
    url = "/v1/chat/completions"
    return {"custom_id": f"r-{number}", "method": "POST", "url": url, "body": body}


def answered(number: int) -> dict[str, Any]:
    response = {"status_code": 200, "request_id": f"x{number}", "body": completion(number)}
    return {"id": f"b{number}", "custom_id": f"r-{number}", "response": response, "error": None}


def failed(number: int) -> dict[str, Any]:
    return {"id": f"b{number}", "custom_id": f"r-{number}", "response": None, "error": FAILED}


def record(number: int, text: str = "ping") -> dict[str, Any]:
    return {
        "request": asked(number, text)["body"],
        "completion": completion(number),
        "http_status": 200,
        "labels": {"custom_id": f"r-{number}", "id": f"b{number}", "request_id": f"x{number}"},
    }


def test_responses_get_their_requests(tmp_path: Path) -> None:
    """In whatever order the lines are; what has no partner is a record of its own."""
    (tmp_path / "batch").mkdir()
    (tmp_path / "batch" / "a_output.jsonl").write_text(lines(answered(3), answered(1), answered(9)))
    (tmp_path / "batch" / "b_error.jsonl").write_text(lines(failed(2)))
    text = lines(*(asked(number, f"ping {number}") for number in (1, 2, 3, 4)))
    (tmp_path / "batch" / "c_input.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    assert compacted(tmp_path / "batch", tmp_path / "table").startswith("5 records, ")
    alone = record(9)
    del alone["request"]
    assert [
        record(3, "ping 3"),
        record(1, "ping 1"),
        alone,
        {
            "request": asked(2, "ping 2")["body"],
            "error": {"error": FAILED},
            "labels": {"custom_id": "r-2", "id": "b2"},
        },
        {"request": asked(4, "ping 4")["body"], "labels": {"custom_id": "r-4"}},
    ] == found(tmp_path / "table")
    assert "nothing new\n" == compacted(tmp_path / "batch", tmp_path / "table")


def test_responses_that_come_later(tmp_path: Path) -> None:
    """They get their requests, which are read again, but not added again."""
    table = tmp_path / "table"
    (tmp_path / "input.jsonl").write_text(lines(asked(1), asked(2)))
    compacted(tmp_path / "input.jsonl", table)
    (tmp_path / "output.jsonl").write_text(lines(answered(2)))
    assert compacted(tmp_path / "input.jsonl", tmp_path / "output.jsonl", table).startswith("1 rec")
    assert record(2) == found(table)[2]


def test_batches_that_use_the_same_names(tmp_path: Path) -> None:
    """Each has a directory of its own; else a response could get the request of another batch."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "input.jsonl").write_text(lines(asked(1, name)))
        (tmp_path / name / "output.jsonl").write_text(lines(answered(1)))
    compacted(tmp_path / "a", tmp_path / "b", tmp_path / "table")
    assert [record(1, "a"), record(1, "b")] == found(tmp_path / "table")

    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "output.jsonl").write_text(lines(answered(1)))
    result = run("compact", tmp_path, tmp_path / "other")
    one, two = (tmp_path / name / "input.jsonl" for name in ("a", "b"))
    assert 1 == result.exit_code
    assert (
        f"chatpb: error: {tmp_path}/c/output.jsonl:1: 'r-1' is the name of a request in {one} and"
        f" of another one in {two}; put the files of each batch into a directory of its own\n"
    ) == result.stderr
    result = run("compact", "--skip-damage", tmp_path, tmp_path / "other")
    assert [True, True, False] == ["request" in each for each in found(tmp_path / "other")]


def test_many_lines(tmp_path: Path) -> None:
    count = 3000
    (tmp_path / "i.jsonl").write_text(lines(*map(asked, range(count))))
    (tmp_path / "o.jsonl").write_text(lines(*map(answered, reversed(range(count)))))
    assert compacted(tmp_path, tmp_path / "table").startswith("3,000 records, ")
    assert all(PING == each["request"] for each in found(tmp_path / "table"))
