"""The command `export`, in each of its forms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.build import PING
from support.command_line import run
from support.table_files import (
    ERROR,
    REQUEST,
    STREAM,
    chunk,
    compacted,
    completion,
    found,
    lines,
    printed,
)

EXCHANGES: list[dict[str, Any]] = [
    {"request": REQUEST, "completion": completion(1000), "call_id": "0"},
    {"completion": completion(2), "labels": {"team": "ad sales"}, "call_id": "1"},
    {"chunks": STREAM, "labels": {"team": "search"}, "call_id": "2"},
    {"error": ERROR, "http_status": 429, "call_id": "3"},
    {"request": {**PING, "stream": True, "stream_options": None}, "call_id": "4"},
]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"x": 1.50}}}]
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
ENDED = {"message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}
CUT = {"message": {"content": "x"}, "finish_reason": "length"}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five records: two completions, one with its request, a stream, an error, a lone request."""
    return tabled(tmp_path_factory.mktemp("export"), *EXCHANGES)


def tabled(folder: Path, *records: Any) -> Path:
    (folder / "a.jsonl").write_text(lines(*records))
    compacted(folder / "a.jsonl", folder / "table")
    return folder / "table"


def exchange(*choices: Any, **request: Any) -> dict[str, Any]:
    return {"request": {**REQUEST, **request}, "completion": completion(choices=list(choices))}


def test_responses(table: Path) -> None:
    result = run("export", table)
    assert printed("cat", table) == [json.loads(line) for line in result.stdout.splitlines()]
    note = "chatpb: note: 2 records left out: 2 without a response\n"
    assert (0, note) == (result.exit_code, result.stderr)


def test_records(table: Path, tmp_path: Path) -> None:
    result = run("export", "--form", "records", "-o", tmp_path / "a.jsonl", table)
    assert (0, "") == (result.exit_code, result.stderr)
    compacted(tmp_path / "a.jsonl", tmp_path / "table")
    assert found(table) == found(tmp_path / "table")


def test_stored(table: Path, tmp_path: Path) -> None:
    run("export", "--form", "stored", "-o", tmp_path / "pages.jsonl", table)
    page = json.loads((tmp_path / "pages.jsonl").read_text())
    assert ["list", "chatcmpl-1000", "a", False] == [
        page[name] for name in ("object", "first_id", "last_id", "has_more")
    ]
    first = page["data"][0]
    assert completion(1000) == {name: first[name] for name in completion()}
    assert (0.5, None, {}, None) == tuple(
        first[name] for name in ("temperature", "top_p", "metadata", "input_user")
    )
    compacted(tmp_path / "pages.jsonl", tmp_path / "table")
    assert page["data"] == printed("cat", tmp_path / "table")


def test_stored_pages_are_full(tmp_path: Path) -> None:
    pages = printed("export", "--form", "stored", tabled(tmp_path, *map(completion, range(250))))
    assert [(100, True), (100, True), (50, False)] == [
        (len(page["data"]), page["has_more"]) for page in pages
    ]
    assert ["chatcmpl-100", "chatcmpl-199"] == [pages[1]["first_id"], pages[1]["last_id"]]


def test_fine_tuning(table: Path) -> None:
    result = run("export", "--form", "fine-tuning", table)
    answer = {"role": "assistant", "content": "Answer 1000"}
    assert {"messages": [*REQUEST["messages"], answer]} == json.loads(result.stdout)
    assert "4 records left out: 2 without a request, 2 without a response" in result.stderr


@pytest.mark.parametrize(
    ("request_members", "choices", "expected"),
    [
        pytest.param(
            {"tools": TOOLS, "parallel_tool_calls": False},
            [{"message": {"content": None, "tool_calls": [CALL], "annotations": []},
              "finish_reason": "tool_calls"}],
            {"answer": {"role": "assistant", "tool_calls": [CALL]}, "tools": TOOLS,
             "parallel_tool_calls": False},
            id="tool-call",
        ),
        pytest.param({}, [CUT], "1 whose answer did not come to its end", id="cut-off"),
        pytest.param(
            {}, [{"message": {"content": None}, "finish_reason": "stop"}],
            "1 whose answer is empty", id="empty",
        ),
        pytest.param({}, [], "1 without a choice", id="no-choice"),
        pytest.param({}, [ENDED, CUT], {"answer": ENDED["message"]}, id="first-choice"),
    ],
)  # fmt: skip
def test_what_fits_fine_tuning(
    request_members: Any, choices: Any, expected: Any, tmp_path: Path
) -> None:
    table = tabled(tmp_path, exchange(*choices, **request_members))
    result = run("export", "--form", "fine-tuning", table)
    if isinstance(expected, str):
        assert ("", f"chatpb: note: 1 record left out: {expected}\n") == (
            result.stdout,
            result.stderr,
        )
        assert 1 == result.exit_code
    else:
        answer = expected["answer"]
        rest = {name: value for name, value in expected.items() if name != "answer"}
        assert {"messages": [*REQUEST["messages"], answer], **rest} == json.loads(result.stdout)


def test_answers_that_are_asked_for(tmp_path: Path) -> None:
    table = tabled(tmp_path, exchange(ENDED, CUT), exchange(CUT))
    result = run("export", "--form", "fine-tuning", "--all-choices", table)
    assert 1 == len(result.stdout.splitlines())
    note = "2 answers left out: 2 whose answer did not come to its end"
    assert f"chatpb: note: {note}\n" == result.stderr
    rows = printed("export", "--form", "messages", "--all-choices", "--cut-off", table)
    assert [0, 1, 0] == [row["choice"] for row in rows]


def test_a_record_without_contents_is_left_out(tmp_path: Path) -> None:
    table = tabled(tmp_path, {**exchange(ENDED), "kept": "metadata"})
    for form in ("messages", "fine-tuning", "batch"):
        result = run("export", "--form", form, table)
        note = "chatpb: note: 1 record left out: 1 kept without contents\n"
        assert (1, "", note) == (result.exit_code, result.stdout, result.stderr)


def test_messages(tmp_path: Path) -> None:
    """Content is text, tools are JSON text, and columns and labels come along."""
    parts = [{"type": "text", "text": text} for text in ("Be ", "brief")]
    said = [
        {"role": "system", "content": parts},
        {"role": "user", "content": "Hi", "name": None},
        {"role": "assistant", "content": None, "tool_calls": [{**CALL, "index": 0}], "audio": None},
        {"role": "tool", "content": "1", "tool_call_id": "c"},
    ]
    message = {"content": "x", "reasoning": "hm", "x": 1}
    first = {
        **exchange({**ENDED, "message": message}, messages=said, tools=TOOLS),
        "labels": {"team": "search"},
        "start_time_unix_us": 1_769_860_800_000_000,
    }
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}]
    number = [{"role": "user", "content": 7}]
    lone = [{"role": "user", "content": "\ud800"}]
    others = [exchange(ENDED, messages=messages) for messages in (image, number, lone)]
    table = tabled(tmp_path, first, *others)
    options = ("--column", "model", "--column", "start_time", "--label", "team")
    result = run("export", "--form", "messages", *options, table)
    assert {
        "messages": [
            {"role": "system", "content": "Be brief"},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "content": "1", "tool_call_id": "c"},
            {"role": "assistant", "content": "x", "reasoning_content": "hm"},
        ],
        "tools": '[{"type":"function","function":{"name":"f","parameters":{"x":1.5}}}]',
        "model": "gpt-4.1",
        "start_time": "2026-01-31T12:00:00+00:00",
        "team": "search",
    } == json.loads(result.stdout)
    assert (
        "chatpb: note: 3 records left out: 1 with content that is not text,"
        " 1 with messages of an unusual form, 1 with text that is not Unicode\n"
    ) == result.stderr


def test_messages_in_parquet(tmp_path: Path) -> None:
    """Members that no message has are no fields of the type."""
    import pyarrow as pa
    import pyarrow.parquet

    table = tabled(tmp_path, *(exchange(ENDED, seed=number) for number in range(1500)))
    path = tmp_path / "train.parquet"
    result = run("export", "--form", "messages", "--column", "id", "-o", path, table)
    assert (0, "") == (result.exit_code, result.stderr)
    rows = pa.parquet.read_table(path)
    assert 1500 == rows.num_rows
    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    assert pa.schema([("messages", pa.list_(message)), ("id", pa.string())]) == rows.schema
    assert [*REQUEST["messages"], ENDED["message"]] == rows["messages"][1499].as_py()


def test_batch(table: Path, tmp_path: Path) -> None:
    result = run("export", "--form", "batch", "-o", tmp_path / "batch.jsonl", table)
    assert "chatpb: note: 3 records left out: 3 without a request\n" == result.stderr
    batch = [json.loads(line) for line in (tmp_path / "batch.jsonl").read_text().splitlines()]
    line = {"method": "POST", "url": "/v1/chat/completions"}
    assert [
        {"custom_id": "0", **line, "body": REQUEST},
        {"custom_id": "4", **line, "body": PING},
    ] == batch
    compacted(tmp_path / "batch.jsonl", tmp_path / "table")
    again = printed("export", "--form", "batch", tmp_path / "table")
    assert batch == again


def test_requests_in_a_batch_have_different_names(tmp_path: Path) -> None:
    names = ["a", "a-2", "a", "", "", "a"]
    records: list[Any] = [{"request": PING, "call_id": name} for name in names]
    records.append({"request": PING, "chunks": [chunk("a", "x")]})
    table = tabled(tmp_path, *records)
    batch = printed("export", "--form", "batch", table)
    expected = ["a", "a-2", "a-3", "request", "request-2", "a-4", "a-5"]
    assert expected == [line["custom_id"] for line in batch]


def test_split(tmp_path: Path) -> None:
    text = "x" * 400_000
    table = tabled(tmp_path, *(exchange(ENDED, user=text) for _ in range(5)))
    (tmp_path / "out").mkdir()
    result = run(
        "export", "--form", "batch", "--split", 1, "-o", tmp_path / "out" / "b.jsonl", table
    )
    assert (0, "") == (result.exit_code, result.stderr)
    files = sorted((tmp_path / "out").iterdir())
    assert ["b-00001.jsonl", "b-00002.jsonl", "b-00003.jsonl"] == [path.name for path in files]
    assert [2, 2, 1] == [len(path.read_text().splitlines()) for path in files]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (
            ["-o", "a.parquet"],
            "a.parquet: responses cannot be written as Parquet; expected --form messages",
        ),
        (["--label", "a"], "--column and --label are for --form messages"),
        (["--cut-off"], "--cut-off and --all-choices are for --form messages and fine-tuning"),
        (["--split", "1"], "--split requires -o FILE, with JSON lines"),
        (["--form", "messages", "--column", "mode"], "no column mode; did you mean model?"),
        (
            ["--form", "messages", "--column", "labels"],
            "labels: only numbers, texts and times can be columns here",
        ),
        (
            ["--form", "messages", "--label", "tools"],
            "tools: there would be two columns of this name",
        ),
    ],
)
def test_mistakes(arguments: list[str], error: str, table: Path) -> None:
    result = run("export", *arguments, table)
    assert (2, f"chatpb: error: {error}\n") == (result.exit_code, result.stderr)
