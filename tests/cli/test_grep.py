"""The commands `ls`, `cat`, `grep` and `stat`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import chatpb
from chatpb.log import LogWriter
from chatpb.table import Dataset
from chatpb.v1 import ChatCompletion, ChatCompletionChunk, ChatCompletionRequest, CompletionRecord
from support.command_line import run
from support.table_files import (
    REQUEST,
    STREAM,
    completion,
    found,
    printed,
)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five records: two completions, one with its request, a stream, an error, a lone request."""
    folder = tmp_path_factory.mktemp("grep")
    tokens = [
        {"token": token, "logprob": -0.5, "bytes": list(token.encode()), "top_logprobs": []}
        for token in ("Ref", "unds")
    ]
    spelled = completion(2)
    spelled["choices"][0] |= {
        "message": {"role": "assistant", "content": "Refunds", "refusal": None},
        "logprobs": {"content": tokens, "refusal": None},
        "finish_reason": "length",
    }
    with LogWriter(folder / "a.chatpb.zst") as writer:
        for number, record in enumerate(
            [
                CompletionRecord(
                    completion=chatpb.from_dict(completion(1000)),
                    request=chatpb.from_dict(REQUEST, ChatCompletionRequest),
                    http_status=200,
                ),
                CompletionRecord(completion=chatpb.from_dict(spelled), labels={"team": "ad sales"}),
                CompletionRecord(
                    chunks=[chatpb.from_dict(each, ChatCompletionChunk) for each in STREAM],
                    chunk_times_us=[10, 20],
                    labels={"team": "search"},
                ),
                CompletionRecord(http_status=429),
                CompletionRecord(request=chatpb.from_dict(REQUEST, ChatCompletionRequest)),
            ]
        ):
            record.call_id = str(number)
            record.start_time_unix_us = 1_769_860_800_000_000 + number * 3_600_000_000
            writer.append(record)
    run("compact", folder, folder / "table")
    return folder / "table"


@pytest.mark.parametrize(
    ("predicate", "calls"),
    [
        pytest.param("model = gpt-4.1", "01", id="equal"),
        pytest.param("model == 'gpt-4.1' and total_tokens > 1000", "0", id="and"),
        pytest.param("total_tokens >= 1005", "0", id="at-least"),
        pytest.param("total_tokens < 1005", "1", id="less"),
        pytest.param("total_tokens <= 7 or http_status = 429", "13", id="or"),
        pytest.param("model != gpt-4.1", "2", id="not-equal-nulls-left-out"),
        pytest.param("not (model = m or http_status = 429)", "0", id="not-of-unknown"),
        pytest.param("not model = m", "01", id="not"),
        pytest.param("model is null", "34", id="null"),
        pytest.param("model is not null and not model is null", "012", id="not-null"),
        pytest.param('model in (m, "x")', "2", id="in"),
        pytest.param("model not in (m, x)", "01", id="not-in"),
        pytest.param("model ~ ^gpt", "01", id="search"),
        pytest.param("messages.finish_reason = length", "1", id="list"),
        pytest.param("messages.finish_reason != length", "0", id="list-not-equal"),
        pytest.param("messages.finish_reason in (stop, x)", "0", id="list-in"),
        pytest.param("messages.finish_reason ~ to", "0", id="list-search"),
        pytest.param("messages.tool_calls.name is null", "01234", id="list-null"),
        pytest.param("labels.team = 'ad sales'", "1", id="map"),
        pytest.param('labels.team in (search, "ad sales")', "12", id="map-in"),
        pytest.param("labels is null", "034", id="map-null"),
        pytest.param("labels.run is null and request_model = gpt-4.1", "04", id="map-key-null"),
        pytest.param("request_temperature = 0.5", "04", id="double"),
        pytest.param("start_time >= 2026-01-31T14:00:00Z", "234", id="time"),
        pytest.param("start_time < 2026-01-31T14:00+02:00", "", id="time-zone"),
        pytest.param("start_time < '2026-01-31 13:30'", "01", id="time-utc"),
        pytest.param("start_time > 2026-02-01", "", id="date"),
        pytest.param("messages.content = Refunds", "1", id="text-made-of-tokens"),
        pytest.param("messages.content ~ 'Hel|fund'", "12", id="text-search"),
    ],
)
def test_grep(predicate: str, calls: str, table: Path) -> None:
    log = table.parent / "a.chatpb.zst"
    for path in (table, log):
        result = run("grep", "--what", "record", predicate, path)
        assert ("", 0 if calls else 1) == (result.stderr, result.exit_code)
        names = [json.loads(line)["call_id"] for line in result.stdout.splitlines()]
        assert calls == "".join(names)
        assert f"{len(calls)}\n" == run("grep", "--count", predicate, path).stdout


def test_grep_text(table: Path) -> None:
    texts = [
        each["choices"][0]["message"]["content"]
        for each in printed("grep", "--text", "(?i)REFUND|hello", table)
    ]
    assert ["Refunds", "Hello"] == texts
    assert ["length"] == [
        each["choices"][0]["finish_reason"]
        for each in printed("grep", "total_tokens < 10", "--text", "fund", table)
    ]


@pytest.mark.parametrize(
    ("predicate", "said"),
    [
        pytest.param("tokens > 1", "no column tokens; ", id="no-column"),
        pytest.param("total_token > 1", "mean total_tokens? there are: request_model, ", id="near"),
        pytest.param("total_tokens > many", "total_tokens is an integer, not 'many'", id="integer"),
        pytest.param("request_temperature > x", "request_temperature is a number", id="number"),
        pytest.param("request_stream = 1", "request_stream is true or false, not '1'", id="bool"),
        pytest.param("start_time > noon", "start_time is a time such as 2026-01-31T", id="time"),
        pytest.param("labels = 3", "labels is a map: name a key, such as labels.team", id="map"),
        pytest.param("model.x = 3", "model is not a map, and has no x", id="no-map"),
        pytest.param("logprobs = 3", "logprobs cannot be compared", id="logprobs"),
        pytest.param("total_tokens ~ 3", "total_tokens is not text", id="no-text"),
        pytest.param("model ~ '('", "'(' is not a regular expression", id="pattern"),
        pytest.param("model =", "expected a value, got the end", id="no-value"),
        pytest.param("model = = 3", "expected a value, got '='", id="two-signs"),
        pytest.param("(model = a", "expected ), got the end", id="open"),
        pytest.param("model = a b", "expected and, or, or the end, got 'b'", id="more"),
        pytest.param("model a", "a comparison, such as =, after model, got 'a'", id="no-op"),
        pytest.param("model = 'a", '"\'" at character 9', id="quote"),
        pytest.param("", "expected a column, got the end", id="empty"),
    ],
)
def test_a_predicate_that_is_wrong(predicate: str, said: str, table: Path) -> None:
    result = run("grep", predicate, table)
    assert (2, "") == (result.exit_code, result.stdout)
    assert result.stderr.startswith("chatpb: error: predicate: ")
    assert said in result.stderr


def test_cat_chooses(table: Path) -> None:
    assert [completion(1000), "Refunds", "Hello"] == [
        each if each["id"] == "chatcmpl-1000" else each["choices"][0]["message"]["content"]
        for each in printed("cat", table)
    ]
    assert STREAM == printed("cat", "--chunks", table)[2:]
    assert [REQUEST, REQUEST] == printed("cat", "--what", "request", table)
    assert [] == printed("cat", "--what", "error", table)
    assert {"chunks": STREAM, "chunk_times_us": [10, 20]}.items() <= found(table)[2].items()
    (part,) = Dataset(table).files()
    assert printed("cat", table) == printed("cat", part.path)
    assert printed("cat", table) * 2 == printed("cat", table, table.parent / "a.chatpb.zst")


def test_ls(table: Path) -> None:
    (part,) = Dataset(table).files()
    log = table.parent / "a.chatpb.zst"
    result = run("ls", table, log)
    rows = [line.split() for line in result.stdout.splitlines()]
    times = ["2026-01-31T12:00:00Z", "2026-01-31T16:00:00Z"]
    sizes = [path.stat().st_size for path in (part.path, log)]
    assert [
        ["records", "bytes", "first", "last", "file"],
        ["5", f"{sizes[0]:,}", *times, str(part.path)],
        ["5", f"{sizes[1]:,}", *times, str(log)],
        ["10", f"{sum(sizes):,}", "total"],
    ] == rows


def test_stat(table: Path) -> None:
    (part,) = Dataset(table).files()
    head, *rows = run("stat", table).stdout.splitlines()
    size = part.path.stat().st_size
    assert ["column", "bytes", "share", "uncompressed", "values"] == head.split()
    named = {row.split()[0]: row.split()[1:] for row in rows if "  " in row}
    assert size == sum(int(row[0].replace(",", "")) for row in named.values())
    assert {"model", "logprobs.token", "logprobs.top_logprobs.token", "labels.key"} <= named.keys()
    assert f"5 rows in 1 file and 1 row group, {size:,} bytes" == rows[-2]
    assert (
        f"{part.json_bytes:,} bytes of JSON, ratio {size / (part.json_bytes or 0):.1%}" == rows[-1]
    )


def test_stat_with_residue(tmp_path: Path) -> None:
    answer = chatpb.from_dict({**completion(), "x": 1}, ChatCompletion)
    request = chatpb.from_dict({**REQUEST, "stop": None}, ChatCompletionRequest)
    record = CompletionRecord(completion=answer, request=request, labels={"a": "b"})
    record.log_header.writer = "w"
    Dataset(tmp_path).append([record.SerializeToString()])

    size = answer.ByteSize() + request.ByteSize()
    answer.choices[0].message.ClearField("residue")
    for message in (answer, request):
        message.ClearField("residue")
    share = 1 - (answer.ByteSize() + request.ByteSize()) / size
    assert (
        f"2 messages: 0 without residue, 1 with extra members; residue {share:.1%} of their bytes"
    ) == run("stat", "--residue", tmp_path).stdout.splitlines()[-1]
