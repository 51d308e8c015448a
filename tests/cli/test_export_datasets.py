"""Hugging Face `datasets` loads what `export --form messages` writes.

`make test-readers` runs it, since `datasets` is large.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from support.command_line import run
from support.table_files import REQUEST, compacted, completion, lines

datasets = pytest.importorskip("datasets")

TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"x": 1}}}]
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLED = [
    {"role": "user", "content": "Call f"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "content": "1", "tool_call_id": "c"},
]


def exchange(number: int, **request: Any) -> dict[str, Any]:
    return {
        "request": {**REQUEST, **request},
        "completion": completion(number),
        "labels": {"team": "search"},
    }


def exported(folder: Path, ending: str, *exchanges: Any) -> Any:
    (folder / "a.jsonl").write_text(lines(*exchanges))
    compacted(folder / "a.jsonl", folder / "table")
    path = folder / f"train{ending}"
    options = ("--column", "model", "--column", "created", "--label", "team")
    result = run("export", "--form", "messages", *options, "-o", path, folder / "table")
    assert (0, "") == (result.exit_code, result.stderr)
    loader = "parquet" if ending == ".parquet" else "json"
    cache = str(folder / "cache")
    return datasets.load_dataset(loader, data_files=str(path), split="train", cache_dir=cache)


@pytest.mark.parametrize("ending", [".parquet", ".jsonl"])
def test_chats(ending: str, tmp_path: Path) -> None:
    """Chats without tools are rows with `role` and `content`, as TRL's examples are."""
    rows = exported(tmp_path, ending, *map(exchange, range(3)))
    text = datasets.Value("string")
    assert datasets.List({"role": text, "content": text}) == rows.features["messages"]
    answer = {"role": "assistant", "content": "Answer 2"}
    assert [*REQUEST["messages"], answer] == rows[2]["messages"]
    assert ("gpt-4.1", "search") == (rows[2]["model"], rows[2]["team"])


@pytest.mark.parametrize("ending", [".parquet", ".jsonl"])
def test_tools(ending: str, tmp_path: Path) -> None:
    """Messages of different forms have one type."""
    rows = exported(tmp_path, ending, exchange(1), exchange(2, messages=CALLED, tools=TOOLS))
    assert [None, TOOLS] == [tools and json.loads(tools) for tools in rows["tools"]]
    asked, called, result, answer = rows[1]["messages"]
    function = called["tool_calls"][0]["function"]
    assert ("Call f", {"name": "f", "arguments": "{}"}) == (asked["content"], function)
    assert ("c", None, "Answer 2") == (
        result["tool_call_id"],
        called["content"],
        answer["content"],
    )


def test_the_code_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    exported(tmp_path, ".parquet", exchange(1))
    page = Path(__file__).parents[2] / "docs" / "in-and-out.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    exec(code, {})
    assert "'content': 'Answer 1'" in capsys.readouterr().out
