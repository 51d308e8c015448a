"""Records, and the rows that they are in every table: what users have stored."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import chatpb
from chatpb.table._rows.batches import to_batch
from chatpb.v1 import (
    ChatCompletionChunk,
    ChatCompletionRequest,
    CompletionRecord,
    ErrorResponse,
    Role,
)
from support.table_rows import (
    COMPLETION,
    alternative,
    of_logprobs,
    rows_of,
    serialized,
    some,
    token,
)

_CALL = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
_REQUEST: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "developer", "content": "Be kind."},
        {
            "role": "user",
            "name": "ann",
            "content": [{"type": "text", "text": "a"}, {"type": "x"}],
        },
        {"role": "assistant", "content": None, "tool_calls": [_CALL], "refusal": "no"},
        {"role": "tool", "tool_call_id": "call_1", "content": "3"},
    ],
    "tools": [
        {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}},
        {"type": "custom", "custom": {"name": "run"}},
    ],
    "stop": ["a", "b"],
    "temperature": 0.5,
    "top_p": 1.0,
    "n": 2,
    "seed": -1,
    "stream": False,
    "response_format": {"type": "json_object"},
    "reasoning_effort": "low",
    "metadata": {"k": "v"},
    "prediction": {"type": "content", "content": "x"},
    "user": "u",
}
_CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 7, "model": "m"}
_DELTAS: list[dict[str, Any]] = [
    {"index": 1, "delta": {"role": "assistant", "content": "a"}, "finish_reason": None},
    {"index": 0, "delta": {"tool_calls": [{"index": 0, **_CALL}]}, "finish_reason": None},
    {"index": 1, "delta": {}, "finish_reason": "stop"},
]


def golden_records() -> Iterator[CompletionRecord]:
    """A record of each kind."""
    yield CompletionRecord()
    yield CompletionRecord(
        request=chatpb.from_dict(_REQUEST, ChatCompletionRequest),
        completion=chatpb.from_dict(COMPLETION),
        labels={"team": "a"},
        call_id="1",
        start_time_unix_us=1_700_000_000_123_456,
        status=0,
    )
    yield CompletionRecord(
        chunks=[
            chatpb.from_dict({**_CHUNK, "choices": [choice]}, ChatCompletionChunk)
            for choice in _DELTAS
        ],
        chunk_times_us=[1, 2, 3],
    )
    yield CompletionRecord(
        request=chatpb.from_dict({"messages": [], "stop": "x"}, ChatCompletionRequest),
        error=chatpb.from_dict({"error": {"message": "m", "type": "t"}}, ErrorResponse),
        http_status=429,
    )
    yield of_logprobs(
        "ab",
        token("a", -0.1, alternative("a", -0.1, id=1), alternative("b", -2.5, id=2), id=1),
        token("b", -0.12345678901234567, alternative("a", -3.0, id=1), id=2),
        token("b", 1e300, id=2),
    )
    roles = CompletionRecord(completion=chatpb.from_dict(COMPLETION))
    first, second = roles.completion.choices
    first.message.role = Role.Value("ROLE_ASSISTANT")
    second.message.role = Role.Value("ROLE_TOOL")
    roles.completion.choices.add()
    roles.completion.choices.add(index=2).message.content = ""
    yield roles


def as_json(value: Any) -> Any:
    """A value of a row as JSON: bytes in base64, without nulls."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {name: as_json(each) for name, each in value.items()}
    return [as_json(each) for each in value] if isinstance(value, list) else value


def row_lines() -> Iterator[str]:
    """For each record a line: the record in binary form, and its row."""
    records = list(golden_records())
    for record, row in zip(records, rows_of(to_batch(records)), strict=True):
        line = {"binary": as_json(serialized(record)), "row": as_json(some(row))}
        yield json.dumps(line, separators=(",", ":"), ensure_ascii=False)
