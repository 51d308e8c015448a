"""The options of `call` for operators: TLS, tokens, headers, HTTP, waiting, reports, exit codes."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest
from click.testing import Result
from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from chatpb_server.access.tokens import new_token
from support.build import COMPLETION, PING, USAGE, chunk, chunk_of, completion, error_object
from support.certificates import Certificates, chain
from support.command_line import run
from support.http_upstream import (
    HANG,
    RESET,
    HttpUpstream,
    json_answer,
    raw,
    refusing,
    sse_answer,
)
from support.limits import within
from support.relay_process import Upstream, end, listening, start

SECRET = "chatpb_a-secret"
REQUEST = json.dumps(PING)
FREE = ("--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--log-level", "error")


async def called(*arguments: object) -> Result:
    """Runs the command in a thread, next to the servers of this process."""
    result: Result = await within(asyncio.to_thread(run, "call", *arguments, stdin=REQUEST))
    return result


@asynccontextmanager
async def relaying(*arguments: object) -> AsyncIterator[tuple[str, str]]:
    """The address and the base URL of a relay."""
    process = await start(*FREE, *arguments)
    try:
        address = await listening(process)
        assert process.stdout is not None
        line = (await within(process.stdout.readline())).decode()
        yield address, line.removeprefix("http on ").strip()
    finally:
        await end(process)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


async def test_tls_and_a_token(
    certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates.renew("relay.test")
    token, line = new_token("alice")
    (tmp_path / "tokens").write_text(line + "\n")
    (tmp_path / "token").write_text(token + "\n")
    monkeypatch.setenv("RELAY_TOKEN", token)
    (tmp_path / "headers").write_text(f"\nAuthorization: Bearer {token}\n")
    trust = ("--ca", certificates.ca)
    ways: list[tuple[object, ...]] = [
        ("--token-file", tmp_path / "token"),
        ("--tls", "--token-env", "RELAY_TOKEN"),
        ("-H", f"@{tmp_path / 'headers'}"),
    ]
    async with relaying(*certificates.flags, "--tokens", tmp_path / "tokens") as (address, url):
        for place in (address, url):
            answers = [await called(place, *trust, *way) for way in ways]
            assert [(0, "")] * 3 == [(each.exit_code, each.stderr) for each in answers]
            assert [PING["model"]] * 3 == [json.loads(each.stdout)["model"] for each in answers]
            unknown = await called(place, *trust)
            expected = "UNAUTHENTICATED: The relay requires"
            assert (80, expected) == (unknown.exit_code, unknown.stderr[: len(expected)])
            untrusted = await called(place, "--tls", *ways[0])
            assert (78, "UNAVAILABLE: ") == (untrusted.exit_code, untrusted.stderr[:13])
            assert "certificate" in untrusted.stderr.lower()
            for name, code in (("relay.test", 0), ("other.test", 78)):
                named = await called(place, *trust, *ways[0], "--server-name", name)
                assert code == named.exit_code
        host = url.removeprefix("https://").removesuffix("/v1")
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")  # reaches its own machine, not ours
        assert 0 == (await called(host, "--http", *trust, *ways[0])).exit_code


async def test_models() -> None:
    async with relaying() as places:
        answers = [await called(place, "--models") for place in places]
        assert [(0, ""), (0, "")] == [(each.exit_code, each.stderr) for each in answers]
        over_grpc, over_http = ([json.loads(x) for x in a.stdout.splitlines()] for a in answers)
        assert over_grpc == over_http
        assert {"model"} == {model["object"] for model in over_grpc}
        assert "total" in (await called(places[0], "--models", "-v")).stderr
    assert 78 == (await called("127.0.0.1:1", "--models", "--http")).exit_code


async def test_a_certificate(certificates: Certificates, tmp_path: Path) -> None:
    leaf = certificates.authority.issue_cert("batch.test")
    (tmp_path / "mine.pem").write_bytes(chain(leaf))
    (tmp_path / "mine.key").write_bytes(leaf.private_key_pem.bytes())
    (tmp_path / "both.pem").write_bytes(leaf.private_key_and_cert_chain_pem.bytes())
    trust = ("--ca", certificates.ca)
    two = ("--cert", tmp_path / "mine.pem", "--key", tmp_path / "mine.key")
    async with relaying(*certificates.flags, "--tls-client-ca", certificates.ca) as places:
        for place in places:
            assert 0 == (await called(place, *trust, *two)).exit_code
            assert 0 == (await called(place, *trust, "--cert", tmp_path / "both.pem")).exit_code
            assert 78 == (await called(place, *trust)).exit_code


async def test_headers_over_http() -> None:
    async with Upstream().serving() as upstream:
        headers = ("-H", "X-Team: search", "-H", "x-request-id:a:b")
        result = await called(upstream.url, *headers, "--timeout", 30)
        assert (0, COMPLETION) == (result.exit_code, json.loads(result.stdout))
        head = await within(upstream.asked.get())
    assert "POST /v1/chat/completions HTTP/1.1" == head["request"]
    assert ("search", "a:b") == (head["x-team"], head["x-request-id"])
    assert "30000" == head["x-request-timeout-ms"]


async def test_the_query_of_a_base_url() -> None:
    """Azure's versions are there."""
    async with HttpUpstream() as upstream:
        for end in ("", "/", "/chat/completions"):
            await upstream.answer(json_answer(COMPLETION))
            assert 0 == (await called(f"{upstream.url}{end}?api-version=1&b=")).exit_code
    paths = [request.path for request in upstream.requests]
    assert ["/v1/chat/completions?api-version=1&b="] * 3 == paths


async def test_headers_over_grpc() -> None:
    seen: dict[str, Any] = {}

    async def answer(_: bytes, context: Any) -> bytes:
        seen.update(context.invocation_metadata())
        context.set_trailing_metadata((("x-request-id", "req_1"), ("x-left", "9")))
        return b""

    handler: Any = grpc.unary_unary_rpc_method_handler(answer)
    rpcs = {"CreateChatCompletion": handler}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("chatpb.v1.ChatCompletionService", rpcs),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    headers = ("-H", "X-Team:search", "-H", "x-bin:AQI")
    result = await called(f"grpc://127.0.0.1:{port}", *headers, "-v")
    await server.stop(None)
    assert 0 == result.exit_code
    assert ("search", b"\1\2") == (seen["x-team"], seen["x-bin"])
    report = result.stderr.splitlines()
    assert ["connect", "total"] == [line.split()[0] for line in report[:2]]
    assert "request id  req_1" in report
    assert "metadata    x-left: 9" in report


async def test_a_stream_over_http_and_its_report() -> None:
    chunks = [chunk("a"), chunk("b", reason="stop"), chunk_of(usage=USAGE)]
    async with HttpUpstream() as upstream:
        await upstream.answer(sse_answer(*chunks, headers={"x-request-id": "req_1"}))
        result = await called(upstream.url, "--stream", "-v")
        assert {**PING, "stream": True} == (await upstream.next_request()).json
    assert (0, chunks) == (result.exit_code, [json.loads(x) for x in result.stdout.splitlines()])
    lines = dict(re.split("  +", line, maxsplit=1) for line in result.stderr.splitlines())
    assert {"connect", "first chunk", "total"} <= lines.keys()
    assert "3" == lines["chunks"]
    assert lines["tokens"].startswith(f"{USAGE['completion_tokens']}, ")
    assert "req_1" == lines["request id"]


@pytest.mark.parametrize(
    ("status", "code", "name"),
    [
        pytest.param(400, 67, "INVALID_ARGUMENT", id="400"),
        pytest.param(401, 80, "UNAUTHENTICATED", id="401"),
        pytest.param(404, 69, "NOT_FOUND", id="404"),
        pytest.param(429, 72, "RESOURCE_EXHAUSTED", id="429"),
        pytest.param(503, 78, "UNAVAILABLE", id="503"),
    ],
)
async def test_the_exit_code_is_that_of_the_status(status: int, code: int, name: str) -> None:
    """Over HTTP as over gRPC, from a relay in front of the same server."""
    async with HttpUpstream() as upstream:
        error = error_object("no\nway")
        await upstream.answer(json_answer(error, status=status), always=True)
        async with relaying("--upstream", upstream.url) as places:
            for place in (upstream.url, *places):
                result = await called(place)
                assert (code, "") == (result.exit_code, result.stdout)
                assert result.stderr.startswith(f"{name}: ")
                assert "no way" in result.stderr


async def test_failures_over_http() -> None:
    async with HttpUpstream() as upstream:
        for answer, options, code, text in (
            (json_answer(error_object("no")), (), 66, "UNKNOWN: no\n"),
            (json_answer(error_object("a\x1b[2J\n\0b")), (), 66, "UNKNOWN: a?[2J ?b\n"),
            (raw(HANG), ("--timeout", "0.2"), 68, "DEADLINE_EXCEEDED: Deadline Exceeded\n"),
            (sse_answer(chunk("a"), RESET), ("--stream",), 78, "UNAVAILABLE: the answer broke off"),
            (sse_answer(chunk("a"), error_object("no")), ("--stream",), 66, "UNKNOWN: no\n"),
        ):
            await upstream.answer(answer)
            result = await called(upstream.url, *options)
            assert (code, text) == (result.exit_code, result.stderr[: len(text)])
            assert len(result.stdout.splitlines()) == ("--stream" in options)
        await upstream.answer(
            json_answer(error_object("later"), status=429, headers={"retry-after": "7"})
        )
        result = await called(upstream.url, "-v")
        assert re.search(r"^retry after +7 s$", result.stderr, re.MULTILINE)
        await upstream.answer(
            json_answer(completion(), status=307, headers={"location": upstream.url})
        )
        assert "redirects" in (await called(upstream.url)).stderr
    with refusing() as url:
        result = await called(url)
    assert (78, "UNAVAILABLE: http://") == (result.exit_code, result.stderr[:20])


async def test_a_stream_over_http_that_is_not_complete() -> None:
    part, end = chunk("a"), chunk("", "stop")
    cases: list[tuple[Any, int]] = [
        (sse_answer(part, done=False), 79),
        (sse_answer(part), 0),
        (sse_answer(part, end, done=False), 0),
        (sse_answer(part, chunk("", "a new word"), done=False), 0),
        (sse_answer(end, chunk("b", index=1), done=False), 79),
        (json_answer(COMPLETION), 79),
        (sse_answer(done=False), 79),
    ]
    async with HttpUpstream() as upstream:
        for answer, code in cases:
            await upstream.answer(answer)
            result = await called(upstream.url, "--stream")
            text = "DATA_LOSS: the answer is not a stream, or ended before the completion did\n"
            assert (code, text if code else "") == (result.exit_code, result.stderr)
        await upstream.answer(json_answer(COMPLETION))
        result = await called(upstream.url, "--models")
        assert (1, "") == (result.exit_code, result.stdout)
        assert "expected a list of models" in result.stderr


async def test_waiting_for_a_server() -> None:
    """It is there later, is not serving for a while, and then serves."""
    with refusing() as url:
        port = urlsplit(url).port
    waiting = asyncio.ensure_future(called(f"127.0.0.1:{port}", "--wait-ready", 30))
    server = grpc.aio.server()
    servicer = health.aio.HealthServicer()
    add_HealthServicer_to_server(servicer, server)
    await servicer.set("", HealthCheckResponse.NOT_SERVING)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    late = await called(f"127.0.0.1:{port}", "--wait-ready", 0.3)
    expected = "UNAVAILABLE: the server is not ready: its health is not SERVING\n"
    assert (78, expected) == (late.exit_code, late.stderr)
    await servicer.set("", HealthCheckResponse.SERVING)
    assert 76 == (await waiting).exit_code  # UNIMPLEMENTED: it has no other service
    await server.stop(None)


async def test_waiting_for_a_relay_over_http() -> None:
    with refusing() as url:
        port = urlsplit(url).port
    late = await called(url, "--wait-ready", 0.1)
    assert (78, "UNAVAILABLE: the server is not ready: it cannot be reached\n") == (
        late.exit_code,
        late.stderr,
    )
    waiting = asyncio.ensure_future(called(url, "--wait-ready", 30))
    async with relaying("--http", f"127.0.0.1:{port}"):
        assert 0 == (await waiting).exit_code


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        pytest.param(["a:1", "--key", "k"], "--key needs --cert", id="key"),
        pytest.param(["a:1", "--models", "--stream"], "takes no request", id="models"),
        pytest.param(["http://a:1", "--tls"], "is not encrypted", id="scheme"),
        pytest.param(["http://u:p@a:1"], "expected ADDR", id="url"),
        pytest.param(["a:1", "--token", SECRET], "--token-file", id="token"),
        pytest.param(["a:1", "--token-env", "NOWHERE"], "NOWHERE is not set", id="variable"),
        pytest.param(["a:1", "--token-file", "nowhere"], "nowhere: no such file", id="file"),
        pytest.param(["a:1", "-H", f"Authorization: {SECRET}"], "-H @FILE", id="header"),
        pytest.param(["a:1", "-H", "grpc-timeout: 1m"], "the protocol sets it", id="own"),
        pytest.param(["a:1", "--http", "-H", "content-length:3"], "sets it", id="own, http"),
        pytest.param(["a:1", "--http", "-H", "x:é"], "cannot be sent", id="text, http"),
        pytest.param(["a:1", "--http", "--timeout", "inf"], "--timeout: expected", id="inf"),
        pytest.param(["a:1", "--wait-ready", "nan"], "--wait-ready: expected", id="nan"),
        pytest.param([""], "expected ADDR", id="empty"),
        pytest.param(["127.0.0.1:70000"], "expected ADDR", id="port"),
        pytest.param(["a:1", "-H", "noise"], "expected NAME:VALUE", id="no colon"),
        pytest.param(["a:1", "-H", "a b:c"], "in a key", id="name"),
        pytest.param(["a:1", "-H", "a-bin:?"], "base64", id="binary"),
        pytest.param(["a:1", "--ca", "nowhere"], "nowhere: no such file", id="ca"),
        pytest.param(["a:1", "--http", "--ca", "nowhere"], "nowhere: no such file", id="ca, http"),
        pytest.param(["a:1", "--token-env", "TOKEN"], "in the clear", id="clear"),
        pytest.param(["a:1", "--http", "--token-env", "TOKEN"], "in the clear", id="clear, http"),
        pytest.param(["a:1", "--token-env", "BAD"], "must contain a token", id="two lines"),
    ],
)
def test_mistakes(arguments: list[str], part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", SECRET)
    monkeypatch.setenv("BAD", f"{SECRET}\n{SECRET}")
    result = run("call", *arguments, stdin=REQUEST)
    assert (2, "") == (result.exit_code, result.stdout)
    assert part in result.stderr
    assert SECRET not in result.stderr
    assert 1 == result.stderr.count("\n")
