"""The commands of docs/connect.md, as they are there, with curl and buf."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest

from relay.test_http_edge_process import running
from support.limits import within

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "connect.md").read_text("utf-8")
TOOLS = Path(sys.executable).parent


def values(output: str) -> list[Any]:
    """The JSON values of an output, one after the other."""
    decoder = json.JSONDecoder()
    found = []
    while output := output.strip():
        value, end = decoder.raw_decode(output)
        found.append(value)
        output = output[end:]
    return found


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
async def test_commands() -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    script = "set -e\n" + "".join(blocks)
    async with running() as (_, address, url):
        http = url.removeprefix("http://").removesuffix("/v1")
        script = script.replace("127.0.0.1:8080", http).replace("127.0.0.1:50051", address)
        environ = {**os.environ, "PATH": f"{TOOLS}:{os.environ['PATH']}"}
        process = await create_subprocess_exec(
            *("sh", "-c", script), cwd=ROOT, env=environ, stdout=PIPE, stderr=PIPE
        )
        output, errors = await within(process.communicate())
    assert 0 == process.returncode, errors.decode()
    first, *pieces, last, models = values(output.decode())
    assert models["models"]["data"]
    half = len(pieces) // 2
    assert pieces
    streams = (pieces[:half], pieces[half:])
    contents = [
        first["completion"]["choices"][0]["message"]["content"],
        *("".join(map(content, stream)) for stream in streams),
        last["completion"]["choices"][0]["message"]["content"],
    ]
    assert 1 == len(set(contents)), contents


def content(response: Any) -> str:
    """The text of a message of a stream."""
    return "".join(
        choice.get("delta", {}).get("content", "")
        for chunk in response["chunks"]
        for choice in chunk.get("choices", ())
    )
