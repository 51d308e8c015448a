"""What the fallback never gets, what callers never get, and how calls to it are bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from chatpb_server.core.explain import AuthenticationError
from chatpb_server.core.limits import Limits
from chatpb_server.core.passing import path_class
from chatpb_server.running.serving import Options, serving_all
from chatpb_server.upstreams.builtin.upstream import BuiltinUpstream
from chatpb_server.upstreams.passing import HttpFallback
from chatpb_server.watching.spans import SpanObserver
from support.fallback import Watching, falling_back, session
from support.http_upstream import (
    HANG,
    WAIT,
    HttpUpstream,
    http_answer,
    json_answer,
    never_accepting,
    raw,
    refusing,
    sse_answer,
)
from support.limits import TIMEOUT, within

TARGETS = [
    "/../x",
    "/v1/..",
    "/v1/%2e%2e/x",
    "/v1/.%2E/x",
    "/v1/..%2fx",
    "/v1/%252e%252e/x",
    "/v1/%25252525252e/x",
    "/v1/./x",
    "/v1/..;a=b/x",
    "/v1/%c0%ae%c0%ae/x",
    "/v1/%ef%bc%8e%ef%bc%8e/x",
    "/v1\\..\\x",
    "/v1/%5c..",
    "/v1/%00",
    "/v1/%0d%0ahost:b",
    "/v1/%zz",
    "/v1//x",
    "/v1/%2f%2fx",
    "//elsewhere.example/v1/files",
    "http://elsewhere.example/v1/files",
    "http://127.0.0.1/v1/files",
    "*",
]


async def ask(port: int, head: str, body: bytes = b"") -> tuple[int, bytes]:
    """The status and the rest of an answer to a request that no client would send."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{head}\r\nhost: a\r\nconnection: close\r\n\r\n".encode() + body)
    data = await within(reader.read())
    writer.close()
    return int(data[9:12]), data


async def test_paths_that_lead_elsewhere() -> None:
    async with HttpUpstream() as upstream, falling_back(upstream.url) as (_, port):
        for target in TARGETS:
            status, answer = await ask(port, f"GET {target} HTTP/1.1")
            assert 400 == status, target
            assert b'"type":"invalid_request_error"' in answer.replace(b" ", b""), target
    assert [] == upstream.requests


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat%2fcompletions",
        "/v1/chat/completion%2573",
        "/v1/chat/completions;a",
        "/v1/chat;a=b/completions/",
        "/v1/Chat/Completions",
        "/v1/v1/chat/completions",
        "/openai/deployments/a/b/chat/completions",
    ],
)
async def test_chat_completions_in_disguise_are_not_passed_on(path: str) -> None:
    """They would be neither routed nor recorded as what they are."""
    async with HttpUpstream() as upstream, falling_back(upstream.url) as (_, port):
        status, answer = await ask(port, f"POST {path} HTTP/1.1\r\ncontent-length: 2", b"{}")
        assert 400 == status
        assert b"Chat completions are at /v1/chat/completions" in answer
    assert [] == upstream.requests


@pytest.mark.parametrize(
    ("base", "path", "target"),
    [
        ("", "/v1/files?a=b", "/v1/files?a=b"),
        ("", "/tokenize", "/tokenize"),
        ("", "/openai/deployments/d/embeddings?a", "/openai/deployments/d/embeddings?a"),
        ("/v1", "/v1/files", "/v1/files"),
        ("/v1/", "/files", "/v1/files"),
        ("/v1", "/v10/files", "/v1/v10/files"),
        ("/api/v1", "/v1/a%2Fb//"[:-1], "/api/v1/a%2Fb/"),
        ("/openai", "/openai/deployments/d/images", "/openai/deployments/d/images"),
        ("/openai/v1", "/v1/files", "/openai/v1/files"),
        ("/v1", "/openai/v1/files", "/v1/files"),
        ("/v1?key=a", "/v1/files?b=c", "/v1/files?key=a&b=c"),
        ("/v1?key=a", "/v1/files?key=c", "/v1/files?key=a"),
    ],
)
async def test_where_a_path_goes(base: str, path: str, target: str) -> None:
    async with HttpUpstream() as upstream:
        origin = upstream.url.removesuffix("/v1")
        async with falling_back(origin + base) as (_, port):
            await upstream.answer(json_answer({}))
            assert 200 == (await ask(port, f"GET {path} HTTP/1.1"))[0]
    assert [target] == [asked.path for asked in upstream.requests]


async def test_headers_that_stay_here() -> None:
    on = {
        **{"authorization": "Bearer callers", "api-key": "callers", "x-api-key": "callers"},
        **{"cookie": "a=b", "proxy-authorization": "x", "te": "trailers", "upgrade": "h2c"},
        **{
            "x-forwarded-for": "10.0.0.1",
            "chatpb-record": "none",
            "forwarded": "for=10.0.0.1",
            "via": "1.1 p",
        },
        **{"x-hidden": "x", "connection": "upgrade, x-hidden", "keep-alive": "a"},
        **{"x-host": "elsewhere.example", "x-rewrite-url": "/admin", "x-original-url": "/admin"},
        **{"content_length": "0", "transfer_encoding": "chunked", "x_forwarded_for": "10.0.0.1"},
        **{"origin": "https://a.example", "sec-fetch-mode": "cors"},
    }
    back = {
        **{"set-cookie": "a=b", "alt-svc": "x", "access-control-allow-origin": "*"},
        **{"strict-transport-security": "x", "x-accel-redirect": "/etc", "x-hidden": "x"},
        **{"connection": "x-hidden", "keep-alive": "x", "server": "theirs"},
    }
    key = {"authorization": "Bearer relays", "x-mine": "m"}
    async with (
        HttpUpstream() as upstream,
        falling_back(upstream.url, headers=lambda: key) as (url, _),
        session() as client,
    ):
        await upstream.answer(json_answer({}, headers={**back, "x-request-id": "r", "x-odd": "y"}))
        async with client.get(f"{url}/v1/files", headers=on) as answer:
            await answer.read()
    [asked] = upstream.requests
    assert key == {name: asked.headers[name] for name in key}
    assert {"authorization", "host", "x-mine"} == asked.headers.keys() - {"x-request-timeout-ms"}
    assert ("r", "y", "chatpb") == tuple(
        answer.headers[name] for name in ("x-request-id", "x-odd", "server")
    )
    assert not answer.headers.keys() & (back.keys() - {"server"})


async def test_a_coding_for_the_way_that_would_be_lost() -> None:
    """The relay takes the chunks off, and would not say that what is in them is compressed."""
    head = "POST /v1/files HTTP/1.1\r\ntransfer-encoding: gzip, chunked"
    async with HttpUpstream() as upstream, falling_back(upstream.url) as (_, port):
        assert 501 == (await ask(port, head, b"0\r\n\r\n"))[0]
    assert [] == upstream.requests


async def test_the_callers_own_key() -> None:
    own = {"authorization": "Bearer callers", "api-key": "callers"}
    async with (
        HttpUpstream() as upstream,
        falling_back(upstream.url, takes_authorization=True) as (url, _),
        session() as client,
    ):
        await upstream.answer(json_answer({}))
        async with client.get(f"{url}/v1/files", headers=own) as answer:
            assert 200 == answer.status
    assert own == {name: upstream.requests[0].headers[name] for name in own}


async def refused(client: Any, url: str, status: int, **how: Any) -> str:
    """The text of the error of a refused request."""
    method = how.pop("method", "GET")
    async with client.request(method, url, **how) as answer:
        assert status == answer.status
        text: str = (await answer.json())["error"]["message"]
        return text


async def test_what_is_refused() -> None:
    sockets = {"upgrade": "websocket", "connection": "upgrade", "sec-websocket-version": "13"}
    async with (
        HttpUpstream() as upstream,
        falling_back(upstream.url) as (url, port),
        session() as client,
    ):
        text = await refused(client, f"{url}/v1/realtime?model=m", 400, headers=sockets)
        assert "WebSocket" in text
        assert "TRACE" in await refused(client, f"{url}/v1/files", 405, method="TRACE")
        status, _ = await ask(port, "CONNECT elsewhere.example:443 HTTP/1.1")
        assert status >= 400
        assert [] == upstream.requests
        await upstream.answer(json_answer({"data": []}))  # stored completions are not the relay's
        async with client.get(f"{url}/v1/chat/completions") as answer:
            assert 200 == answer.status


async def test_tokens_are_asked_for() -> None:
    def nobody(*_: Any) -> str:
        raise AuthenticationError("who?")

    options = Options(authenticate=nobody)
    async with (
        HttpUpstream() as upstream,
        falling_back(upstream.url, options=options) as (url, _),
        session() as client,
    ):
        assert "who?" == await refused(client, f"{url}/v1/files", 401)
    assert [] == upstream.requests


async def test_errors_of_our_own() -> None:
    watching = Watching()
    with refusing() as nowhere:
        async with falling_back(nowhere, watching) as (url, _), session() as client:
            text = await refused(client, f"{url}/v1/files", 503, method="POST", data=b"x")
            assert text.startswith("The upstream cannot be reached.")
    assert [("fallback", "connect")] == watching.attempts
    assert [("files", "UNAVAILABLE")] == watching.ends


async def test_time_limits() -> None:
    late = {"x-request-timeout-ms": "700"}
    watching = Watching()
    async with (
        HttpUpstream() as upstream,
        falling_back(upstream.url, watching, silence_timeout=1.5) as (url, _),
        session() as client,
    ):
        await upstream.answer(raw(HANG))
        assert "The time is up." == await refused(client, f"{url}/v1/files", 504, headers=late)
        await upstream.next("closed")
        await upstream.answer(sse_answer(b"data: 1\n\n", HANG))
        async with client.post(f"{url}/v1/responses") as answer:
            with pytest.raises(Exception, match="not completed"):
                await answer.read()
        await upstream.next("closed")
    assert [("files", "DEADLINE_EXCEEDED"), ("responses", "UNAVAILABLE")] == watching.ends


async def test_a_caller_that_sends_too_slowly() -> None:
    options = Options(limits=Limits(stall_timeout=0.3, min_rate=1000))
    async with HttpUpstream() as upstream, falling_back(upstream.url, options=options) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /v1/files HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc")
        assert (await within(reader.readline())).startswith(b"HTTP/1.1 408 ")
        writer.close()
        await upstream.next("disconnected")
    assert [] == upstream.requests


async def test_one_call_at_a_time() -> None:
    options = Options(limits=Limits(max_running=1, max_waiting=0))
    async with (
        HttpUpstream() as upstream,
        falling_back(upstream.url, options=options) as (url, _),
        session() as client,
    ):
        await upstream.answer(http_answer(b"a", WAIT, b"b"))
        async with client.get(f"{url}/v1/files") as answer:
            assert "no room" in await refused(client, f"{url}/v1/files", 429)
            await upstream.go()
            assert b"ab" == await answer.read()


async def test_what_logs_and_metrics_call_them() -> None:
    watching = Watching()
    async with (
        HttpUpstream() as upstream,
        falling_back(upstream.url, watching) as (url, _),
        session() as client,
    ):
        for status, path in ((200, "/v1/embeddings"), (429, "/responses/r"), (404, "/admin")):
            await upstream.answer(json_answer({}, status=status))
            async with client.get(url + path) as answer:
                assert (status, b"{}") == (answer.status, await answer.read())
    assert [
        ("embeddings", "OK"),
        ("responses", "RESOURCE_EXHAUSTED"),
        ("other", "NOT_FOUND"),
    ] == watching.ends
    assert "audio" == path_class("/v1/audio/speech")
    assert "images" == path_class("/openai/deployments/audio/images/generations")
    assert "other" == path_class("/x/y/files")


async def test_an_upstream_that_takes_no_connection() -> None:
    with never_accepting() as nowhere:
        async with (
            falling_back(nowhere, connect_timeout=0.1) as (url, _),
            session() as client,
        ):
            await refused(client, f"{url}/v1/files", 503)


async def test_spans() -> None:
    """What is passed on is not a chat; the fallback gets the span of the call as its parent."""
    exporter = InMemorySpanExporter()
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    async with (
        HttpUpstream() as upstream,
        falling_back(upstream.url, SpanObserver(tracers)) as (url, _),
        session() as client,
    ):
        await upstream.answer(json_answer({}))
        async with client.get(f"{url}/v1/files", headers={"baggage": "a=b"}) as answer:
            assert 200 == answer.status
    attempt, call = exporter.get_finished_spans()
    assert ("GET", "openai.v1/files") == (attempt.name, call.name)
    assert call.context is not None
    headers = upstream.requests[0].headers
    assert f"{call.context.span_id:016x}" == headers["traceparent"].split("-")[2]
    assert "a=b" == headers["baggage"]


async def test_nothing_is_left_over() -> None:
    """Calls that end in all ways give back what they held."""
    async with HttpUpstream() as upstream:
        options = Options(http="127.0.0.1:0", fallback=HttpFallback("f", upstream.url))
        async with serving_all(BuiltinUpstream(), options=options) as ports, session() as client:
            url = f"http://127.0.0.1:{ports.http}/v1/files"
            for status in (200, 413):
                await upstream.answer(json_answer({}, status=status, is_early=status == 413))
                async with client.post(url, data=bytes(500_000)) as answer:
                    assert status == answer.status
            await upstream.answer(raw(HANG))
            left = asyncio.ensure_future(client.get(url))
            while (await upstream.next_request()).method != "GET":
                pass
            left.cancel()
            await upstream.next("closed")
            async with asyncio.timeout(TIMEOUT):
                while ports.load()["held_bytes"]:
                    await asyncio.sleep(0.01)


async def test_a_fallback_that_reads_slowly_is_not_the_callers_fault() -> None:
    """Only the time in which the caller is waited for counts for its pace."""
    size = 8 * 2**20

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2.5)  # with a small buffer, so that the relay cannot send on
        await reader.readuntil(b"\r\n\r\n")
        left = size
        while left and (piece := await reader.read(2**20)):
            left -= len(piece)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    async def body() -> AsyncIterator[bytes]:
        yield bytes(size - 1)
        await asyncio.sleep(0.5)
        yield b"a"

    options = Options(limits=Limits(stall_timeout=2, min_rate=10**7))
    listening = await asyncio.start_server(serve, "127.0.0.1", 0, limit=2**16)
    async with listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
        async with falling_back(url, options=options) as (here, _), session() as client:
            length = {"content-length": str(size)}
            async with client.put(f"{here}/v1/files", data=body(), headers=length) as answer:
                assert 200 == answer.status
