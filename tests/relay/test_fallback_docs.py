"""The examples of docs/fallback.md, in front of a server that stands for OpenAI's."""

from __future__ import annotations

import os
import re
import shlex
import sys
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE
from pathlib import Path

from relay.test_http_edge_process import running
from support.build import completion
from support.http_upstream import HttpUpstream, json_answer
from support.limits import within

TEXT = (Path(__file__).parents[2] / "docs" / "fallback.md").read_text("utf-8")
SHELL, PYTHON = (
    re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    for language in ("sh", "python")
)


async def done(*command: str) -> None:
    """Runs a command."""
    process = await create_subprocess_exec(*command, env={**os.environ}, stdout=PIPE, stderr=PIPE)
    _, errors = await within(process.communicate())
    assert 0 == process.returncode, errors.decode()


async def test_examples() -> None:
    serving, fetching = SHELL
    export, command = serving.splitlines()
    environ = dict([export.removeprefix("export ").split("=")])
    script, _, here, *arguments = shlex.split(command)
    assert ("chatpb-server", "127.0.0.1:8080") == (script, here)
    async with HttpUpstream() as upstream:
        await upstream.answer(json_answer({**completion(), "object": "file"}), always=True)
        arguments = [word.replace("https://api.openai.com/v1", upstream.url) for word in arguments]
        async with running(*arguments, environ=environ) as (_, _, url):
            http = url.removeprefix("http://").removesuffix("/v1")
            await done("sh", "-c", fetching.replace("127.0.0.1:8080", http))
            code = "\n".join(PYTHON).replace("127.0.0.1:8080", http)
            await done(sys.executable, "-c", code)
    paths = ["/v1/embeddings", "/v1/files", "/v1/chat/completions"]
    assert paths == [asked.path for asked in upstream.requests]
    keys = {asked.headers["authorization"] for asked in upstream.requests}
    assert {f"Bearer {environ['OPENAI_API_KEY']}"} == keys
    assert "gpt-5" == upstream.requests[2].json["model"]
