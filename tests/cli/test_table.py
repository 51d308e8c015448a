"""The command `compact`, and mistakes of all commands that read tables and logs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import chatpb
from chatpb.log import LogWriter
from chatpb.table import Dataset
from chatpb.v1 import CompletionRecord
from support.command_line import run, started
from support.limits import TIMEOUT
from support.table_files import (
    ERROR,
    PAGE,
    REQUEST,
    STREAM,
    chunk,
    compacted,
    completion,
    found,
    lines,
    printed,
    sse,
)

ONE = {"completion": completion()}
OTHER = [chunk("b", "x"), chunk("b", "y")]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({"a.json": json.dumps(completion())}, [ONE], id="json"),
        pytest.param(
            {"a.json": json.dumps(completion(), indent=2), "a.request.json": json.dumps(REQUEST)},
            [{"request": REQUEST, **ONE}],
            id="with-its-request",
        ),
        pytest.param(
            {"a.jsonl": lines(completion(), ERROR, completion(2), REQUEST)},
            [ONE, {"error": ERROR}, {"completion": completion(2)}, {"request": REQUEST}],
            id="jsonl",
        ),
        pytest.param({"a.sse": sse(*STREAM)}, [{"chunks": STREAM}], id="sse"),
        pytest.param(
            {"a.sse": sse(*STREAM, [ERROR])},
            [{"chunks": STREAM, "error": ERROR}],
            id="sse-error-in-list",
        ),
        pytest.param(
            {"a.sse": sse(*STREAM, ERROR), "a.request.json": json.dumps(REQUEST)},
            [{"request": REQUEST, "chunks": STREAM, "error": ERROR}],
            id="sse-error-request",
        ),
        pytest.param({"a.jsonl": lines(*STREAM)}, [{"chunks": STREAM}], id="chunks"),
        pytest.param(
            {"a.jsonl": lines(STREAM[0], OTHER[0], STREAM[1], OTHER[1])},
            [{"chunks": STREAM}, {"chunks": OTHER}],
            id="streams-mixed",
        ),
        pytest.param(
            {"a.jsonl": lines(chunk("", ""), *STREAM, chunk("", "end"), ERROR, *OTHER)},
            [
                {"chunks": [chunk("", ""), *STREAM, chunk("", "end")], "error": ERROR},
                {"chunks": OTHER},
            ],
            id="chunks-without-id",
        ),
        pytest.param(
            {"a.jsonl": lines(*STREAM), "a.request.json": json.dumps(REQUEST)},
            [{"request": REQUEST, "chunks": STREAM}],
            id="chunks-with-request",
        ),
        pytest.param(
            {"a.jsonl": lines(*STREAM, *OTHER), "a.request.json": json.dumps(REQUEST)},
            [{"chunks": STREAM}, {"chunks": OTHER}, {"request": REQUEST}],
            id="request-of-several",
        ),
        pytest.param(
            {"a.error.json": json.dumps(ERROR), "a.request.json": json.dumps(REQUEST)},
            [{"request": REQUEST, "error": ERROR}],
            id="error-with-request",
        ),
        pytest.param({"a.request.json": json.dumps(REQUEST)}, [{"request": REQUEST}], id="request"),
        pytest.param(
            {"a.json": json.dumps(PAGE)},
            [{"completion": item} for item in PAGE["data"]],
            id="list",
        ),
        pytest.param(
            {"a.json": json.dumps(ERROR), "b.json": json.dumps(ERROR)},
            [{"error": ERROR}, {"error": ERROR}],
            id="equal-files",
        ),
        pytest.param({"a.txt": "no", "b/c.ndjson": lines(completion())}, [ONE], id="in-folders"),
    ],
)
def test_compacts_and_prints(
    files: dict[str, str], expected: list[dict[str, Any]], tmp_path: Path
) -> None:
    source, table = tmp_path / "in", tmp_path / "table"
    for name, text in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    assert compacted(source, table).startswith(f"{len(expected)} record")
    assert expected == found(table)
    assert "nothing new\n" == compacted(source, table)
    source.rename(tmp_path / "moved")
    assert "nothing new\n" == compacted(tmp_path / "moved", tmp_path / "moved", table)
    assert expected == found(table)


def test_says_how_much(tmp_path: Path) -> None:
    text = json.dumps(completion())
    (tmp_path / "a.json").write_text(text)
    said = compacted(tmp_path / "a.json", tmp_path / "table")
    size = Dataset(tmp_path / "table").files()[0].path.stat().st_size
    ratio = f"{size / len(text):.1%}"
    assert f"1 record, {len(text):,} bytes of JSON, {size:,} of table: {ratio}\n" == said


def test_adds_what_a_file_has_grown_by(tmp_path: Path) -> None:
    source, table = tmp_path / "a.jsonl", tmp_path / "table"
    source.write_text(lines(completion(1), completion(2)))
    compacted(source, table)
    with source.open("a") as stream:
        stream.write(lines(completion(3)) + json.dumps(completion(4))[:20])
    result = run("compact", source, table)
    assert 0 == result.exit_code
    assert result.stdout.startswith("1 record, ")
    assert result.stderr.startswith(f"chatpb: note: {source}:4: ")
    assert result.stderr.endswith("; left for when the line is whole\n")
    with source.open("a") as stream:
        stream.write(json.dumps(completion(4))[20:] + "\n")
    assert compacted(source.rename(tmp_path / "b.jsonl"), table).startswith("1 record, ")
    assert [completion(number) for number in range(1, 5)] == printed("cat", table)
    other = tmp_path / "c.jsonl"  # begins alike, but is another
    other.write_text(lines(completion(1), completion(7)))
    assert compacted(other, table).startswith("2 records, ")


def test_files_that_begin_alike_are_told_apart(tmp_path: Path) -> None:
    long = {**REQUEST, "messages": [{"role": "system", "content": "x" * 10_000}]}
    for number in range(3):
        text = json.dumps({**long, "seed": number, "stop": "y" * 10_000})
        (tmp_path / f"{number}.request.json").write_text(text)
    assert compacted(tmp_path, tmp_path / "table").startswith("3 records, ")
    assert [0, 1, 2] == [
        each["seed"] for each in printed("cat", "--what=request", tmp_path / "table")
    ]


def test_reads_logs_as_they_grow(tmp_path: Path) -> None:
    log, table = tmp_path / "a.chatpb.zst", tmp_path / "table"
    records = [
        CompletionRecord(completion=chatpb.from_dict(completion(number)), call_id=str(number))
        for number in range(20)
    ]
    with LogWriter(log) as writer:
        for record in records[:10]:
            writer.append(record)
    assert compacted(log, table).startswith("10 records, ")
    assert "nothing new\n" == compacted(tmp_path, table)
    with LogWriter(log) as writer:
        for record in records[10:15]:
            writer.append(record)
    moved = log.rename(tmp_path / "b.chatpb.zst")
    assert compacted(moved, table).startswith("5 records, ")
    with LogWriter(moved) as writer:
        for record in records[15:]:
            writer.append(record).result()
        assert compacted(moved, moved, table).startswith("5 records, ")  # of a live log
    assert records == [CompletionRecord.FromString(data) for data in Dataset(table).records()]
    assert [completion(number) for number in range(20)] == printed("cat", moved)
    assert printed("cat", table) == printed("cat", moved)
    assert printed("grep", "call_id in (3, 17)", table) == printed(
        "grep", "call_id in (3,17)", moved
    )


def test_damage_in_a_log(tmp_path: Path) -> None:
    log, table = tmp_path / "a.chatpb.zst", tmp_path / "table"
    offsets = []
    with LogWriter(log) as writer:
        for number in range(3):
            record = CompletionRecord(call_id=str(number))
            offsets.append(writer.append(record).result().frame_offset)
            writer.flush()
    assert 3 == len(set(offsets))
    data = bytearray(log.read_bytes())
    data[offsets[1] + 12] ^= 1
    log.write_bytes(data)
    result = run("compact", log, table)
    assert 1 == result.exit_code
    assert result.stderr.startswith(f"chatpb: error: {log}: damaged at byte {offsets[1]}, ")
    assert result.stderr.endswith("with --skip-damage\n")
    assert (2, False) == (run("cat", table).exit_code, (table / "_delta_log").exists())
    result = run("compact", "--skip-damage", log, table)
    assert (0, "1 could not be read and were left out") == (
        result.exit_code,
        result.stdout.splitlines()[-1],
    )
    assert [{"call_id": "0"}, {"call_id": "2"}] == found(table)


@pytest.mark.parametrize(
    ("name", "text", "said", "rest"),
    [
        pytest.param("a.json", "{", "a.json: ", [], id="json"),
        pytest.param(
            "a.jsonl", lines(ERROR) + "{]\n" + lines(ERROR), "a.jsonl:2: ", [1, 1], id="line"
        ),
        pytest.param("a.sse", sse(*STREAM) + "data: {]\n\n", "a.sse:event 4: ", [1], id="event"),
        pytest.param(
            "a.json",
            '{"object": "chat.completion.deleted", "id": "x", "deleted": true}',
            "a.json: a ChatCompletionDeleted, which a record cannot contain",
            [],
            id="no-record",
        ),
    ],
)
def test_what_cannot_be_read(
    name: str, text: str, said: str, rest: list[int], tmp_path: Path
) -> None:
    (tmp_path / "good.json").write_text(json.dumps(completion()))
    (tmp_path / name).write_text(text)
    result = run("compact", tmp_path, tmp_path / "table")
    assert 1 == result.exit_code
    assert result.stderr.startswith(f"chatpb: error: {tmp_path}/{said}")
    result = run("compact", "--skip-damage", tmp_path, tmp_path / "table")
    assert 0 == result.exit_code
    assert result.stderr.startswith(f"chatpb: note: left out: {tmp_path}/{said}")
    assert 1 + len(rest) == len(found(tmp_path / "table"))
    assert "nothing new\n" == run("compact", "--skip-damage", tmp_path, tmp_path / "table").stdout


def test_an_empty_file_may_grow(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("")
    (tmp_path / "b.chatpb.zst").write_bytes(b"")
    assert "nothing new\n" == compacted(tmp_path, tmp_path / "table")
    (tmp_path / "c.jsonl").write_text(lines(completion(1)))
    (tmp_path / "c.request.json").write_text(json.dumps(REQUEST))
    assert compacted(tmp_path, tmp_path / "table").startswith("1 record, ")
    (tmp_path / "a.jsonl").write_text(lines(completion(2)))
    assert compacted(tmp_path, tmp_path / "table").startswith("1 record, ")
    expected = [{"request": REQUEST, "completion": completion(1)}, {"completion": completion(2)}]
    assert expected == found(tmp_path / "table")


def test_labels(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(completion()))
    compacted("--label", "run=7", "--label", "team=a=b", tmp_path / "a.json", tmp_path / "table")
    assert [{**ONE, "labels": {"run": "7", "team": "a=b"}}] == found(tmp_path / "table")
    result = run("compact", "--label", "run", tmp_path / "a.json", tmp_path / "table")
    assert (2, True) == (result.exit_code, "'run' is not KEY=VALUE" in result.stderr)


def test_standard_input(tmp_path: Path) -> None:
    result = run("compact", "-", tmp_path / "table", stdin=lines(completion(1), completion(2)))
    assert result.stdout.startswith("2 records, ")
    assert [completion(1), completion(2)] == printed("cat", tmp_path / "table")


def test_two_at_once(tmp_path: Path) -> None:
    table = tmp_path / "table"
    compacted(_written(tmp_path / "a.json", completion(1)), table)
    with started("compact", "-", table) as first, started("compact", "-", table) as second:
        first.communicate(lines(completion(2)).encode(), TIMEOUT)
        second.communicate(lines(completion(3)).encode(), TIMEOUT)
        assert 0 == first.returncode == second.returncode
    assert [completion(1), completion(2), completion(3)] == printed("cat", table)


def _written(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value))
    return path


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["cat", "nowhere"], "nowhere: no such file or directory"),
        (["cat", "."], ".: there is no table in it and no log"),
        (["cat", "a.json"], "a.json: neither a table nor a log"),
        (["stat", "a.chatpb.zst"], "a.chatpb.zst: a log, which has no columns"),
        (["compact", "nowhere", "table"], "nowhere: no such file or directory"),
        (["grep", "model = 'a'"], "grep: no table or log is named after the condition"),
    ],
)
def test_mistakes(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in" if arguments[1] == "." else tmp_path)
    (tmp_path / "a.json").write_text("{}")
    LogWriter(tmp_path / "a.chatpb.zst").close()
    result = run(*arguments)
    assert (2, f"chatpb: error: {said}\n") == (result.exit_code, result.stderr)


def test_other_commands_say_what_reads_a_log(tmp_path: Path) -> None:
    LogWriter(tmp_path / "a.chatpb.zst").close()
    result = run("to-json", tmp_path / "a.chatpb.zst")
    assert (1, True) == (result.exit_code, "a log is read by `chatpb cat`" in result.stderr)


@pytest.mark.parametrize(
    ("command", "missing", "extra"),
    [("compact - t", "pyarrow", "cli,table"), ("cat a.chatpb.zst", "zstandard", "cli,log")],
)
def test_says_what_to_install(command: str, missing: str, extra: str, tmp_path: Path) -> None:
    LogWriter(tmp_path / "a.chatpb.zst").close()
    script = (
        f"import sys; sys.modules[{missing!r}] = None; from chatpb._cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *command.split()],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    hint = f"chatpb: error: this command needs {missing}: pip install 'chatpb[{extra}]'\n"
    assert (2, hint) == (done.returncode, done.stderr)
