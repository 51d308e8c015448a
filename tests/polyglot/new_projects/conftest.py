"""A relay as `chatpb-server` starts it, and the files that lie in each new project."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.relay_process import end, listening, start

#: The text of the completion, and of the one that the chunks make.
DECODED = "Grüße aus der Datei"
FOLDED = "Chunk für Chunk"


@pytest.fixture
async def relay() -> AsyncIterator[str]:
    """The address of a relay with its builtin model."""
    process = await start("--listen", "127.0.0.1:0", "--log-level", "error")
    try:
        yield await listening(process)
    finally:
        await end(process)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A fresh folder with completion.json and stream.sse."""
    folder = tmp_path / "project"
    folder.mkdir()
    shared = {"id": "chatcmpl-1", "created": 1700000000, "model": "m"}
    message = {"role": "assistant", "content": DECODED, "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    completion = {**shared, "object": "chat.completion", "choices": [choice]}
    (folder / "completion.json").write_text(json.dumps(completion), "utf-8")
    with (folder / "stream.sse").open("w", encoding="utf-8") as file:
        for content in FOLDED:
            delta = {"index": 0, "delta": {"content": content}, "finish_reason": None}
            chunk = {**shared, "object": "chat.completion.chunk", "choices": [delta]}
            file.write(f"data: {json.dumps(chunk)}\n\n")
        file.write("data: [DONE]\n\n")
    return folder
