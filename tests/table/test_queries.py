"""Every block of docs/queries.md runs, on a small table, and prints what it should."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

import chatpb
from chatpb.log import LogWriter
from chatpb.v1 import ChatCompletionChunk, ChatCompletionRequest, CompletionRecord, ErrorResponse
from support.table_files import completion

DOCUMENT = Path(__file__).parents[2] / "docs" / "queries.md"
BLOCKS: Final = re.findall(r"```(python|sh)\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
HOUR = 3_600_000_000
START = 1_769_860_800_000_000  # 2026-01-31T12:00Z


def _answer(content: str, *tokens: tuple[str, float]) -> dict[str, Any]:
    found = completion(7)
    choice = found["choices"][0]
    choice["message"]["content"] = content
    listed = [
        {"token": token, "logprob": logprob, "bytes": list(token.encode()), "top_logprobs": []}
        for token, logprob in tokens
    ]
    if listed:
        choice["logprobs"] = {"content": listed, "refusal": None}
    return found


def _records() -> list[CompletionRecord]:
    long = _answer("The capital of France is Paris, a city that")
    long["choices"][0]["finish_reason"] = "length"
    long["usage"] = {"prompt_tokens": 30, "completion_tokens": 2000, "total_tokens": 2030}
    call = {"name": "get_weather", "arguments": '{"city":"Oslo"}'}
    delta = {"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": call}]}
    head = {"id": "s", "object": "chat.completion.chunk", "created": 7, "model": "gpt-4.1-mini"}
    chunks: list[dict[str, Any]] = [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
        {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
    ]
    asked = {"model": "gpt-4.1", "messages": [{"role": "user", "content": "Capital of Norway?"}]}
    error = {"error": {"message": "Slow down", "type": "requests", "param": None, "code": None}}
    return [
        CompletionRecord(
            request=chatpb.from_dict(asked, ChatCompletionRequest),
            completion=chatpb.from_dict(_answer("Oslo")),
            labels={"team": "search", "grade": "good"},
            duration_us=900_000,
            http_status=200,
        ),
        CompletionRecord(
            completion=chatpb.from_dict(long),
            labels={"team": "search"},
            duration_us=4_000_000,
            http_status=200,
        ),
        CompletionRecord(
            chunks=[chatpb.from_dict(each, ChatCompletionChunk) for each in chunks],
            duration_us=700_000,
            http_status=200,
        ),
        CompletionRecord(
            completion=chatpb.from_dict(_answer("Hello!", ("Hello", -0.5), ("!", -1.5))),
            labels={"team": "ads"},
            duration_us=100_000,
            http_status=200,
        ),
        CompletionRecord(
            error=chatpb.from_dict(error, ErrorResponse),
            labels={"team": "ads"},
            duration_us=10_000,
            http_status=429,
        ),
    ]


EXAMPLE = {
    "messages": [
        {"role": "user", "content": "Capital of Norway?"},
        {"role": "assistant", "content": "Oslo"},
    ]
}
PRINTED: Final[list[object]] = [
    "[('gpt-4.1', 3, 2054), ('gpt-4.1-mini', 1, None)]",
    "[('call-1', 4.0, 'length'), ('call-0', 0.9, 'stop')]",
    """[('get_weather', '{"city":"Oslo"}')]""",
    "[('2026-01-31 12:00:00', 0.0), ('2026-01-31 13:00:00', 0.5)]",
    "[('call-0', 'Oslo'), ('call-1', 'The capital of France is Paris, a city that'),"
    " ('call-3', 'Hello!')]",
    "[('call-3', 2.72, '!')]",
    "{'gpt-4.1': 900000.0, 'gpt-4.1-mini': 700000.0}",
    "[('call-1', 2000)]",
    "[{'call_id': 'call-1', 'model': 'gpt-4.1'}]",
    "The capital of France is Paris, a city that",
    "5",
    "1",
    "call-1",
    json.dumps(EXAMPLE, separators=(",", ":")),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the table that the first block makes."""
    path = tmp_path_factory.mktemp("queries")
    (path / "logs").mkdir()
    with LogWriter(path / "logs" / "a.chatpb.zst") as writer:
        for number, record in enumerate(_records()):
            record.call_id = f"call-{number}"
            record.start_time_unix_us = START + (number // 3) * HOUR
            writer.append(record)
    language, code = BLOCKS[0]
    assert ("sh", 5) == (language, int(_run(path, language, code).split()[0]))
    return path


def _run(folder: Path, language: str, code: str) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = [sys.executable, "-c", code] if language == "python" else ["sh", "-ec", code]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PATH": path},
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("language", "code", "expected"),
    [
        pytest.param(language, code, expected, id=f"{number}-{language}")
        for number, ((language, code), expected) in enumerate(
            zip(BLOCKS[1:], PRINTED, strict=True), 1
        )
    ],
)
def test_block(language: str, code: str, expected: str, folder: Path) -> None:
    if "| jq" in code and shutil.which("jq") is None:
        code, _, _ = code.partition("| jq")
        assert expected == json.loads(_run(folder, language, code))["call_id"]
    else:
        assert expected == _run(folder, language, code)


def test_every_column_that_is_named_is_there() -> None:
    from chatpb.table import SCHEMA

    rows = re.findall(r"^\| (`.*?) \|", DOCUMENT.read_text("utf-8"), re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert len(named) > 30
    assert [] == [name for name in named if name not in SCHEMA.names]
