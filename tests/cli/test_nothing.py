"""Commands that find nothing to do fail, and those that leave records out report how many."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chatpb.log import LogWriter
from chatpb.v1 import ChatCompletion, CompletionRecord
from support.command_line import run


@pytest.mark.parametrize("command", ["roundtrip", "compact"])
def test_a_folder_without_files(command: str, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.txt").write_text("{}")
    result = run(command, folder, *[tmp_path / "table"] * (command == "compact"))
    said = f"chatpb: error: {folder}: no file in it that can be read\n"
    assert (2, "", said) == (result.exit_code, result.stdout, result.stderr)
    assert not (tmp_path / "table").exists()


@pytest.mark.parametrize("command", ["to-json", "to-binary", "inspect", "roundtrip", "fold"])
@pytest.mark.parametrize(
    ("name", "text"),
    [("a.jsonl", ""), ("a.jsonl", "\n\n"), ("a.sse", "data: [DONE]\n\n")],
    ids=["empty", "blank", "done"],
)
def test_a_file_without_messages(command: str, name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    result = run(command, tmp_path / name)
    assert 1 == result.exit_code
    assert result.stderr.startswith(f"chatpb: error: {tmp_path / name}: ")


@pytest.mark.parametrize("command", ["cat", "export", "grep"])
def test_a_log_without_records(command: str, tmp_path: Path) -> None:
    LogWriter(tmp_path / "a.chatpb.zst").close()
    condition = ["model = 'm'"] * (command == "grep")
    result = run(command, *condition, tmp_path / "a.chatpb.zst")
    assert (1, "") == (result.exit_code, result.stdout)


def test_records_that_are_left_out_are_counted(tmp_path: Path) -> None:
    with LogWriter(tmp_path / "a.chatpb.zst") as writer:
        for number in range(145):
            writer.append(CompletionRecord(status=2, http_status=500 + number))
        writer.append(CompletionRecord(status=2, completion=ChatCompletion(id="a")))
    matching = ["status != 0", tmp_path]
    for command in (["cat", tmp_path], ["grep", *matching]):
        result = run(*command)
        assert (0, "a") == (result.exit_code, json.loads(result.stdout)["id"])
        note = "145 records left out: 145 without a response (see --what)"
        assert f"chatpb: note: {note}\n" == result.stderr
    result = run("grep", "--what", "error", *matching)
    note = "146 records left out: 146 without an error (see --what)"
    assert ("", f"chatpb: note: {note}\n") == (result.stdout, result.stderr)
    result = run("grep", "--what", "record", *matching)
    assert (146, "") == (len(result.stdout.splitlines()), result.stderr)
    assert ("146\n", "") == (run("grep", "-c", *matching).stdout, "")


def test_an_export_of_nothing_fails(tmp_path: Path) -> None:
    with LogWriter(tmp_path / "a.chatpb.zst") as writer:
        writer.append(CompletionRecord(status=2))
    result = run("export", tmp_path)
    note = "chatpb: note: 1 record left out: 1 without a response\n"
    assert (1, "", note) == (result.exit_code, result.stdout, result.stderr)
    result = run("export", "--where", "model = 'm'", tmp_path)
    assert (1, "chatpb: error: no records in the input\n") == (result.exit_code, result.stderr)
