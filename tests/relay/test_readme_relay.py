"""The README's commands of the relay, each in front of a server that stands for the real one."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.test_http_edge_process import running
from relay.test_http_edge_sdk import UNARY
from support.build import PING
from support.http_edge import post
from support.http_upstream import HttpUpstream

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
SERVERS = {
    "vLLM": "/v1/chat/completions",
    "OpenAI": "/v1/chat/completions",
    "Azure": "/openai/deployments/DEPLOYMENT/chat/completions?api-version=2024-10-21",
}
KEYS = {"vLLM": {}, "OpenAI": {"authorization": "Bearer k"}, "Azure": {"api-key": "k"}}


def commands(server: str) -> Iterator[list[str]]:
    """The words of each command below the line that names a server."""
    found = re.search(rf"In front of {server}.*:\n\n((?:    .*\n)+)", README)
    assert found is not None
    for line in found[1].replace("\\\n", "").splitlines():
        yield shlex.split(line)


@pytest.mark.parametrize("server", SERVERS)
async def test_in_front_of(server: str) -> None:
    environ = {}
    *exports, [script, *arguments] = commands(server)
    assert len([*exports, arguments]) <= 3
    for _, assignment in exports:
        environ[assignment.partition("=")[0]] = "k"
    assert "chatpb-server" == script
    arguments[arguments.index("--http") + 1] = "127.0.0.1:0"
    i = arguments.index("--upstream") + 1
    async with HttpUpstream() as upstream:
        here = upstream.url.removesuffix("/v1")
        arguments[i] = re.sub(r"https?://[^/]+", here, arguments[i])
        await upstream.answer(UNARY["plain"])
        async with running(*arguments, environ=environ) as (_, _, url):
            status, _, value = await post(url, PING)
        assert (200, "chat.completion") == (status, value["object"])
        request = await upstream.next_request()
    assert SERVERS[server] == request.path
    names = request.headers.keys() & {"authorization", "api-key"}
    assert KEYS[server] == {name: request.headers[name] for name in names}
