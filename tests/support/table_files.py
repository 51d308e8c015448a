"""Records for tests of tables, and commands that read tables."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from support import build
from support.command_line import run


def completion(number: int = 1, **members: Any) -> dict[str, Any]:
    """A completion that differs from others by its number."""
    own = {
        "id": f"chatcmpl-{number}",
        "created": 1_760_000_000,
        "model": "gpt-4.1",
        "usage": {"prompt_tokens": 5, "completion_tokens": number, "total_tokens": 5 + number},
    }
    return build.completion(build.choice(f"Answer {number}"), **(own | members))


def chunk(name: str, text: str, **members: Any) -> dict[str, Any]:
    """A chunk of the completion with an ID."""
    return build.chunk_of(build.delta(text), **({"id": name, "created": 7} | members))


REQUEST: dict[str, Any] = {
    "model": "gpt-4.1",
    "messages": [{"role": "user", "content": "Hi"}],
    "temperature": 0.5,
}
ERROR = {"error": {"message": "Rate limit", "type": "requests", "param": None, "code": "slow"}}
PAGE: dict[str, Any] = {
    "object": "list",
    "data": [completion(1, metadata={}), completion(2, metadata={"a": "b"})],
    "first_id": "chatcmpl-1",
    "last_id": "chatcmpl-2",
    "has_more": False,
}


LEFT_OUT = re.compile(r"(chatpb: note: [\d,]+ records? left out: [\d,]+ without an? \w+ .*\n)?")


def lines(*values: Any) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


def sse(*values: Any) -> str:
    return "".join(f"data: {json.dumps(value)}\n\n" for value in values) + "data: [DONE]\n\n"


def compacted(*arguments: object) -> str:
    result = run("compact", *arguments)
    assert (0, "") == (result.exit_code, result.stderr)
    return result.stdout


def printed(*arguments: object) -> list[Any]:
    """What a command prints; it may report records without the part that is printed."""
    result = run(*arguments)
    assert 0 == result.exit_code
    assert LEFT_OUT.fullmatch(result.stderr)
    return [json.loads(line) for line in result.stdout.splitlines()]


def found(table: Path) -> list[dict[str, Any]]:
    return printed("cat", "--what", "record", table)


STREAM = [chunk("a", "Hel"), chunk("a", "lo")]
