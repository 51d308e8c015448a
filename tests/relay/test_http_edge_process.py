"""The HTTP edge of a relay that runs as a process: draining, workers, TLS, settings."""

from __future__ import annotations

import asyncio
import signal
import ssl
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from chatpb.sse import DONE
from chatpb_server.access.tokens import new_token
from support.build import PING, chunk
from support.certificates import Certificates
from support.http_edge import client, events, post, posting, read_to_the_break, through
from support.http_upstream import HANG, WAIT, HttpUpstream, raw, sse_answer
from support.limits import TIMEOUT, within
from support.relay_process import end, finish, listening, start


@asynccontextmanager
async def running(
    *arguments: object, environ: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[Process, str, str]]:
    """The relay, its address, and the base URL of its HTTP API."""
    free = ("--listen", "127.0.0.1:0", "--http", "127.0.0.1:0")
    process = await start(*free, *arguments, environ=environ)
    try:
        address = await listening(process)
        assert process.stdout is not None
        line = (await within(process.stdout.readline())).decode()
        assert line.startswith("http on http"), line
        yield process, address, line.removeprefix("http on ").rstrip()
    finally:
        await end(process)


@asynccontextmanager
async def running_at(address: str) -> AsyncIterator[None]:
    """A relay with the builtin model at an address."""
    process = await start("--listen", address)
    try:
        await listening(process)
        yield
    finally:
        await end(process)


async def found(url: str) -> Any:
    """The completion of a relay that looks for its core again."""
    async with asyncio.timeout(TIMEOUT):
        while True:
            status, _, value = await post(url)
            if status == 200:
                return value


async def refusing_connections(url: str) -> None:
    """Waits until nobody listens at a URL."""
    host, _, port = url.removeprefix("http://").removesuffix("/v1").rpartition(":")
    async with asyncio.timeout(TIMEOUT):
        while True:
            try:
                _, writer = await asyncio.open_connection(host, int(port))
            except ConnectionRefusedError:
                return
            writer.transport.abort()


@through
async def test_calls_finish_after_sigterm(hops: int) -> None:
    async with (
        HttpUpstream() as upstream,
        running("--upstream", upstream.url) as (core, address, core_url),
        running("--upstream", f"grpc://{address}") as (edge, _, edge_url),
    ):
        process, url = (core, core_url) if hops == 1 else (edge, edge_url)
        await upstream.answer(sse_answer(chunk("a"), WAIT, chunk("b")))
        host, _, port = url.removeprefix("http://").removesuffix("/v1").rpartition(":")
        idle, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
        assert (await idle.readuntil(b"}\n")).startswith(b"HTTP/1.1 200 ")
        async with posting(url, {**PING, "stream": True}) as response:
            assert [chunk("a")] == events(await response.content.readany())
            process.send_signal(signal.SIGTERM)
            assert b"" == await within(idle.read())
            await refusing_connections(url)
            await upstream.go()
            assert [chunk("b"), DONE] == events(await response.content.read())
        assert 0 == (await finish(process))[0]
        writer.close()


async def test_calls_that_outlast_the_grace_period_are_told() -> None:
    async with (
        HttpUpstream() as upstream,
        running("--upstream", upstream.url, "--grace", "0.2") as (process, _, url),
    ):
        await upstream.answer(sse_answer(chunk("a"), HANG))
        await upstream.answer(raw(HANG))
        stream = asyncio.ensure_future(read_to_the_break(url))
        await upstream.next_request()
        unary = asyncio.ensure_future(post(url))
        await upstream.next_request()
        process.send_signal(signal.SIGTERM)
        first, error = events(await within(stream))
        assert chunk("a") == first
        assert "The relay is stopping; call again." == error["error"]["message"]
        status, _, value = await within(unary)
        assert (503, error) == (status, value)
        assert 0 == (await finish(process))[0]


async def test_workers_share_the_port() -> None:
    async with running("--workers", "2") as (process, _, url):
        for _ in range(10):
            async with client(url) as sdk:
                answer = await sdk.chat.completions.create(**PING)
                assert "m" == answer.model
        process.send_signal(signal.SIGTERM)
        code, _, errors = await finish(process)
    assert (0, 10) == (code, errors.count("method=chat.completions"))


async def test_tls_and_tokens(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    secret, line = new_token("alice")
    (tmp_path / "tokens.txt").write_text(line)
    (tmp_path / "secret").write_text(secret)
    files = (
        *certificates.flags,
        *("--tokens", tmp_path / "tokens.txt"),
    )
    async with running(*files) as (process, address, url):
        assert url.startswith("https://")
        context = ssl.create_default_context(cafile=certificates.ca)
        for headers, expected in (
            ({}, 401),
            ({"authorization": "Bearer x"}, 401),
            ({"authorization": f"Bearer {secret}"}, 200),
        ):
            status, _, _ = await post(url, headers=headers, ssl=context)
            assert expected == status
        config = tmp_path / "edge.toml"
        config.write_text(f"""
            [upstreams.core]
            url = "grpcs://{address}"
            ca_file = "ca.pem"
            api_key_file = "secret"
            models = ["m", "gpt-*"]
            """)
        async with running("--config", config) as (_, _, edge), client(edge) as sdk:
            assert "m" == (await sdk.chat.completions.create(**PING)).model
            assert ["m"] == [model.id async for model in sdk.models.list()]
        process.send_signal(signal.SIGTERM)
        code, _, errors = await finish(process)
    # A call of the HTTP API, and what the edge asks: for a completion, and for the models.
    assert (0, 3) == (code, errors.count("caller=alice"))


async def test_mutual_tls_names_the_caller(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    files = (
        *certificates.flags,
        *("--tls-client-ca", certificates.ca),
    )
    async with running(*files) as (process, _, url):
        context = ssl.create_default_context(cafile=certificates.ca)
        with pytest.raises(aiohttp.ClientError):
            await post(url, ssl=context)
        certificates.authority.issue_cert("batch.test").configure_cert(context)
        assert 200 == (await post(url, ssl=context))[0]
        # The files are read again.
        certificates.renew("renewed.test")
        host, _, port = url.removeprefix("https://").removesuffix("/v1").rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port), ssl=context)
        shown = writer.get_extra_info("peercert")["subjectAltName"]
        assert ("DNS", "renewed.test") in shown
        writer.close()
        process.send_signal(signal.SIGTERM)
        assert "caller=batch.test" in (await finish(process))[2]


MISTAKES: list[Any] = [
    pytest.param(
        ("--http", "0.0.0.0:0"),
        "--http: will not listen on 0.0.0.0, beyond loopback, without TLS (tls.cert and"
        " tls.key; --tls-cert and --tls-key) and authentication (tokens or tls.client_ca; --tokens"
        " or --tls-client-ca)",
        id="exposed",
    ),
    pytest.param(
        ("--upstream", "grpc://127.0.0.1"),
        "--upstream: expected grpc://HOST:PORT alone",
        id="no port",
    ),
    pytest.param(
        ("--upstream", "grpcs://127.0.0.1:1/v1"),
        "--upstream: expected grpcs://HOST:PORT alone",
        id="a path",
    ),
]


@pytest.mark.parametrize(("arguments", "expected"), MISTAKES)
async def test_mistakes_in_the_settings(arguments: tuple[str, ...], expected: str) -> None:
    process = await start(*arguments)
    code, output, errors = await finish(process)
    assert (2, "") == (code, output)
    assert expected in errors
