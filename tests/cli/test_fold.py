"""The command `fold`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import chatpb
from chatpb._wire import delimited
from chatpb.v1 import ChatCompletion, ChatCompletionChunk
from support.command_line import run


def _chunk(**delta: str) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
    head = {"id": "a", "object": "chat.completion.chunk", "created": 7, "model": "m"}
    return json.dumps(head | {"choices": [choice]}).encode()


CHUNKS = [_chunk(role="assistant"), _chunk(content="Hel"), _chunk(content="lo")]
FOLDED = {
    "id": "a",
    "object": "chat.completion",
    "created": 7,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello"},
            "logprobs": None,
            "finish_reason": None,
        }
    ],
}
BINARY = b"".join(delimited(chatpb.json_to_binary(chunk, ChatCompletionChunk)) for chunk in CHUNKS)
ERROR = b'{"error":{"message":"The server had\\nan error","type":"server_error"}}'


def _events(*data: bytes, end: bytes = b"\r\n") -> bytes:
    return b": hello" + end * 2 + b"".join(b"data:" + item + end * 2 for item in data)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(_events(*CHUNKS, b"[DONE]"), id="sse-crlf"),
        pytest.param(_events(*CHUNKS, b"[DONE]", end=b"\r"), id="sse-cr"),
        pytest.param(_events(*CHUNKS, end=b"\n")[:-2], id="sse-no-done-no-blank-line"),
        pytest.param(b"\n".join(CHUNKS), id="jsonl"),
        pytest.param(BINARY, id="delimited"),
    ],
)
def test_folds(data: bytes, tmp_path: Path) -> None:
    result = run("fold", stdin=data)
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout) == FOLDED
    assert run("fold", "--binary", "-o", tmp_path / "a", stdin=data).exit_code == 0
    assert chatpb.to_dict(ChatCompletion.FromString((tmp_path / "a").read_bytes())) == FOLDED


@pytest.mark.parametrize(
    ("data", "error"),
    [
        pytest.param(
            _events(*CHUNKS, ERROR, CHUNKS[1]),
            "<stdin>:event 4: the stream contains an error: The server had an error",
            id="error-event",
        ),
        pytest.param(
            _events(*CHUNKS) + b"event: error\ndata: down\n\n",
            "<stdin>:event 4: $ (byte 0): expected a value, got 'down'",
            id="no-json",
        ),
        pytest.param(
            BINARY + b"\x05a",
            f"<stdin>: $ (byte {len(BINARY)}): the stream ends within a message: 1 of 5 bytes",
            id="cut",
        ),
        pytest.param(
            b"\n".join([*CHUNKS, b"[]"]),
            "<stdin>:4: $ (byte 0): expected an object, got an array",
            id="line",
        ),
    ],
)
def test_broken_stream(data: bytes, error: str) -> None:
    """The chunks before the fault are folded, and the fault is reported."""
    result = run("fold", stdin=data)
    assert (1, f"chatpb: error: {error}\n") == (result.exit_code, result.stderr)
    assert json.loads(result.stdout) == FOLDED


@pytest.mark.parametrize(
    ("data", "error"),
    [
        pytest.param(
            _events(ERROR),
            "<stdin>:event 1: the stream contains an error: The server had an error",
            id="error",
        ),
        pytest.param(
            _events(b"[" + ERROR + b"]"),
            "<stdin>:event 1: the stream contains an error: The server had an error",
            id="error in a list",
        ),
        pytest.param(
            _events(b"[DONE]"), "<stdin>: $: expected at least one chunk, got none", id="none"
        ),
        pytest.param(
            b'{"a" 1}',
            "<stdin>: $ (byte 5): expected ':' after a member name, got '1}'",
            id="not JSON",
        ),
        pytest.param(
            b'{"object":"chat.completion"}', "<stdin>: a completion, not a chunk", id="completion"
        ),
    ],
)
def test_nothing_to_fold(data: bytes, error: str) -> None:
    result = run("fold", stdin=data)
    assert (1, "", f"chatpb: error: {error}\n") == (result.exit_code, result.stdout, result.stderr)
