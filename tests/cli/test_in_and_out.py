"""The commands of docs/in-and-out.md run in their order."""

from __future__ import annotations

import gzip
import re
import shlex
from pathlib import Path

import pytest

from support.build import PING
from support.command_line import run
from support.table_files import ERROR, STREAM, completion, lines, sse

PAGE = Path(__file__).parents[2] / "docs" / "in-and-out.md"


def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("log", "recordings", "batch"):
        Path(folder).mkdir()
    Path("log/a.jsonl").write_text(lines({"request": PING, "response": completion(1), "team": "a"}))
    Path("recordings/a.sse").write_text(sse(*STREAM))
    Path("recordings/b.json").write_text(lines(ERROR))
    Path("answers.jsonl.gz").write_bytes(gzip.compress(lines(completion(2)).encode()))
    url = {"method": "POST", "url": "/v1/chat/completions"}
    Path("batch/in.jsonl").write_text(lines({"custom_id": "1", **url, "body": PING}))
    response = {"status_code": 200, "body": completion(3)}
    Path("batch/out.jsonl").write_text(lines({"custom_id": "1", "response": response}))
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    counts = []
    for command in "".join(blocks).splitlines():
        arguments, _, output = command.partition(" > ")
        result = run(*shlex.split(arguments)[1:])
        assert 0 == result.exit_code, (command, result.stderr)
        if output:
            Path(output).write_text(result.stdout)
        counts.append(result.stdout.partition(",")[0])
    assert ["4 records", "1 record"] == counts[:2]
    names = {path.name for path in Path().iterdir()}
    assert {"responses.jsonl", "records.jsonl", "pages.jsonl", "again-00001.jsonl"} <= names
    assert 2 == len(Path("again-00001.jsonl").read_text().splitlines())
    assert Path("train.parquet").stat().st_size
