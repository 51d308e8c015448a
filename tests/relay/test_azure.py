"""The clients for Azure in front of the relay: its paths, and its header for the key."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncAzureOpenAI, AsyncOpenAI, AzureOpenAI

from chatpb_server.access.tokens import token_in
from chatpb_server.edges.http.azure import place_of, without_version
from chatpb_server.running.build import relaying
from chatpb_server.running.config import Given, load
from chatpb_server.running.settings import Settings
from support.build import PING, chunk, completion
from support.http_upstream import HttpUpstream, json_answer, sse_answer
from support.limits import TIMEOUT

EMBEDDINGS = {"object": "list", "data": [], "model": "e", "usage": {}}


def settings(
    upstream: str, tokens: Path | None = None, fallback: str | None = "default"
) -> Settings:
    """A relay in front of an upstream, which is its fallback too."""
    flags = {"upstream": upstream, "http.listen": "127.0.0.1:0", "listen": "127.0.0.1:0"}
    if fallback is not None:
        flags["http.fallback"] = fallback
    if tokens is not None:
        tokens.write_text(f"ann sha256:{hashlib.sha256(b'right').hexdigest()}\n")
        flags["tokens"] = str(tokens)
    return load({name: Given(f"--{name}", value) for name, value in flags.items()})


def how(url: str, key: str = "right") -> dict[str, Any]:
    """What Azure's clients are made with."""
    return {
        "azure_endpoint": url,
        "api_key": key,
        "api_version": "2024-10-21",
        "max_retries": 0,
        "timeout": TIMEOUT,
    }


async def test_async_client(tmp_path: Path) -> None:
    async with HttpUpstream() as upstream, relaying(settings(upstream.url, tmp_path / "t")) as at:
        url = f"http://{at.http}"
        async with AsyncAzureOpenAI(**how(url)) as client:
            await upstream.answer(json_answer(completion()))
            got = await client.chat.completions.create(**{**PING, "model": "dep/loy"})
            assert completion()["id"] == got.id
            await upstream.answer(sse_answer(chunk("a"), chunk(None, "stop")))
            stream = await client.chat.completions.create(**PING, stream=True)
            assert "a" == (await anext(stream)).choices[0].delta.content
            assert 1 == len([one async for one in stream])
            await upstream.answer(json_answer(EMBEDDINGS))
            await client.embeddings.create(model="e", input="x", encoding_format="float")
    paths = [asked.path for asked in upstream.requests]
    assert ["/v1/chat/completions", "/v1/chat/completions"] == paths[:2]
    assert "/v1/openai/deployments/e/embeddings?api-version=2024-10-21" == paths[2]
    assert ["dep/loy", PING["model"]] == [asked.json["model"] for asked in upstream.requests[:2]]
    assert all("api-key" not in asked.headers for asked in upstream.requests)


async def test_client_for_threads(tmp_path: Path) -> None:
    def ask(url: str) -> None:
        with AzureOpenAI(**how(url), azure_deployment="named") as client:
            client.chat.completions.create(**{**PING, "model": "other"})

    async with HttpUpstream() as upstream, relaying(settings(upstream.url, tmp_path / "t")) as at:
        await upstream.answer(json_answer(completion()))
        await asyncio.to_thread(ask, f"http://{at.http}")
    assert {**PING, "model": "named"} == upstream.requests[0].json


async def test_wrong_keys_and_unknown_models(tmp_path: Path) -> None:
    async with HttpUpstream() as upstream, relaying(settings(upstream.url, tmp_path / "t")) as at:
        url = f"http://{at.http}"
        for key in ("wrong", "Bearer right"):
            async with AsyncAzureOpenAI(**how(url, key)) as client:
                with pytest.raises(openai.AuthenticationError):
                    await client.chat.completions.create(**PING)
                with pytest.raises(openai.AuthenticationError):
                    await client.files.list()
    assert [] == upstream.requests


async def test_the_newer_path(tmp_path: Path) -> None:
    async with HttpUpstream() as upstream, relaying(settings(upstream.url, tmp_path / "t")) as at:
        url = f"http://{at.http}/openai/v1"
        async with AsyncOpenAI(base_url=url, api_key="right", max_retries=0) as client:
            await upstream.answer(json_answer(completion()))
            await client.chat.completions.create(**PING)
            await upstream.answer(json_answer(EMBEDDINGS))
            await client.embeddings.create(model="e", input="x", encoding_format="float")
    assert ["/v1/chat/completions", "/v1/embeddings"] == [a.path for a in upstream.requests]


@pytest.mark.parametrize(
    ("path", "place", "deployment"),
    [
        ("/v1/chat/completions/", "/chat/completions", ""),
        ("/openai/v1/chat/completions", "/chat/completions", ""),
        ("/openai/deployments/a/chat/completions", "/chat/completions", "a"),
        ("/openai/deployments/a%2Fb%20c/chat/completions", "/chat/completions", "a/b c"),
        ("/openai/deployments//chat/completions", None, ""),
        ("/openai/deployments/a/b/chat/completions", None, ""),
        ("/openai/deployments/a/embeddings", None, ""),
        ("/openai/models", "/models", ""),
        ("/openai/models/m", "/models/m", ""),
        ("/openai/v1/models", "/models", ""),
        ("/openai/chat/completions", "/chat/completions", ""),
        ("/openai/chat/completions/c/messages", "/chat/completions/c/messages", ""),
        ("/openai/chat/completionsx", None, ""),
        ("/openai/modelsx", None, ""),
        ("/openai/files", None, ""),
        ("/", "", ""),
    ],
)
def test_places(path: str, place: str | None, deployment: str) -> None:
    """None: the path stays as it is."""
    assert (path if place is None else place, deployment) == place_of(path)


async def test_the_list_of_models() -> None:
    async with (
        relaying(settings("builtin", fallback=None)) as at,
        AsyncAzureOpenAI(**how(f"http://{at.http}")) as client,
    ):
        assert "list" == (await client.models.list()).object


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([("api-key", "x")], "x"),
        ([("Api-Key", "x"), ("a", "b")], "x"),
        ([("api-key", "x"), ("api-key", "x")], None),
        ([("api-key", b"x")], None),
        ([("authorization", "Bearer y"), ("api-key", "x")], "y"),
        ([("authorization", "Basic y"), ("api-key", "x")], None),
        ([], None),
    ],
)
def test_where_a_token_is(headers: Any, expected: str | None) -> None:
    assert expected == token_in(headers)


def test_the_version_is_left_out_however_it_is_written() -> None:
    assert "a=1&b" == without_version("api-version=1&a=1&api%2Dversion=2&b")
