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
        {
            "token": token,
            "logprob": -0.5,
            "bytes": list(token.encode()),
            "top_logprobs": [{"token": "x", "logprob": -1.5, "bytes": [120]}],
        }
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
    ("condition", "calls"),
    [
        pytest.param("model = 'gpt-4.1'", "01", id="equal"),
        pytest.param("model == 'gpt-4.1' and total_tokens > 1000", "0", id="and"),
        pytest.param("total_tokens >= 1005", "0", id="at-least"),
        pytest.param("total_tokens < 1005", "1", id="less"),
        pytest.param("total_tokens <= 7 or http_status = 429", "13", id="or"),
        pytest.param("model != 'gpt-4.1'", "2", id="not-equal-nulls-left-out"),
        pytest.param("not (model = 'm' or http_status = 429)", "0", id="not-of-unknown"),
        pytest.param("model is null", "34", id="null"),
        pytest.param("model is not null -- a comment", "012", id="comment"),
        pytest.param("model in ('m', 'x')", "2", id="in"),
        pytest.param("regexp_matches(model, '^gpt')", "01", id="search"),
        pytest.param("finish_reason = 'length'", "1", id="choice-0"),
        pytest.param("calls(messages, 'f')", "", id="no-call"),
        pytest.param("labels['team'] = 'ad sales'", "1", id="map"),
        pytest.param("labels['team'] in ('search', 'ad sales')", "12", id="map-in"),
        pytest.param("labels is null", "034", id="map-null"),
        pytest.param("labels['x'] is null and request_model = 'gpt-4.1'", "04", id="no-key"),
        pytest.param("request_temperature = 0.5", "04", id="double"),
        pytest.param("start_time >= '2026-01-31T14:00:00Z'", "234", id="time"),
        pytest.param("start_time < '2026-01-31T14:00+02:00'", "", id="time-zone"),
        pytest.param("start_time < '2026-01-31 13:30'", "01", id="time-utc"),
        pytest.param("start_time > '2026-02-01'", "", id="date"),
        pytest.param("answer = 'Refunds'", "1", id="text-with-tokens"),
        pytest.param("says(messages, 'Hel|fund')", "12", id="says"),
        pytest.param("asks(messages, '^Hi$')", "04", id="asks"),
        pytest.param("answers(messages, '^Hi$')", "", id="answers"),
        pytest.param("prompt = 'Hi' and not answers(messages, 'x')", "04", id="not"),
        pytest.param(
            "exists (select 1 from messages m where m.exchange = exchanges.exchange"
            " and m.content like '%fund%')",
            "1",
            id="exists",
        ),
    ],
)
def test_grep(condition: str, calls: str, table: Path) -> None:
    log = table.parent / "a.chatpb.zst"
    for path in (table, log):
        result = run("grep", "--what", "record", condition, path)
        assert ("", 0 if calls else 1) == (result.stderr, result.exit_code)
        names = [json.loads(line)["call_id"] for line in result.stdout.splitlines()]
        assert calls == "".join(names)
        assert f"{len(calls)}\n" == run("grep", "--count", condition, path).stdout


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
    ("condition", "said"),
    [
        pytest.param("total_token > 1", "line 1, column 1: Referenced column", id="column"),
        pytest.param("model = 'a'\nand total_token > 1", "line 2, column 5: Ref", id="line"),
        pytest.param("total_token > 1", '"total_tokens"', id="near"),
        pytest.param("total_tokens > 'many'", "'many' to INT64", id="integer"),
        pytest.param("start_time > 'noon'", "noon", id="time"),
        pytest.param("model = = 3", 'line 1, column 9: syntax error at or near "="', id="signs"),
        pytest.param("(model = 'a'", "the end comes too early", id="open"),
        pytest.param("model = 'a", "line 1, column 9: unterminated", id="quote"),
        pytest.param("regexp_matches(model, '(')", "missing )", id="pattern"),
        pytest.param("true; select 1", 'syntax error at or near ";"', id="two"),
        pytest.param("", "expected one condition", id="empty"),
        pytest.param("unknown(model)", "unknown does not exist", id="function"),
    ],
)
def test_a_condition_that_is_wrong(condition: str, said: str, table: Path) -> None:
    result = run("grep", condition, table)
    assert (2, "") == (result.exit_code, result.stdout)
    assert result.stderr.startswith("chatpb: error: condition: ")
    assert said in result.stderr
    assert 1 == result.stderr.count("\n")


def test_only_row_groups_that_match_are_read(tmp_path: Path) -> None:
    records = [CompletionRecord(call_id=str(number), http_status=number) for number in range(50)]
    Dataset(tmp_path / "t").append(records, row_group_rows=10)
    condition = "http_status in (12, 19, 40)"
    (part,) = Dataset(tmp_path / "t").files()
    assert 5 == part.metadata.num_row_groups
    result = run("grep", "--what", "record", condition, tmp_path / "t")
    calls = [json.loads(line)["call_id"] for line in result.stdout.splitlines()]
    assert ["12", "19", "40"] == calls
    with Dataset(tmp_path / "t").sql() as connection:
        query = "EXPLAIN ANALYZE SELECT call_id FROM exchanges WHERE http_status >= 35"
        ((_, plan),) = connection.execute(query).fetchall()
    assert "Row Groups Scanned: 2 / 5" in plan


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
