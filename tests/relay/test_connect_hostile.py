"""What callers of rpcs over HTTP can hold of the relay: bytes, time and turns."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import signal
from pathlib import Path

import pytest

from chatpb.sse import event
from chatpb_server.access.tokens import new_token
from chatpb_server.core.limits import Limits
from chatpb_server.edges.http.connection import Connection
from chatpb_server.running.serving import Options
from relay.test_http_edge_process import running
from support.build import PING, chunk, completion, create_request, stream_request
from support.http_edge import base_url, serve, through
from support.http_upstream import HANG, HttpUpstream, Repeat, json_answer, raw, sse_answer
from support.limits import TIMEOUT, within
from support.reaching import LIMITS
from support.relay_process import finish
from support.rpc_http import (
    CONNECT,
    CREATE,
    GRPC_WEB,
    STREAM,
    TEXT,
    Answer,
    body_of,
    framed,
    post,
    posting,
)

MOST = 100_000
SMALL = Options(http="127.0.0.1:0", limits=Limits(max_message_bytes=MOST))
ZEROS = b"\0" * 10 * MOST
BOMB = gzip.compress(ZEROS)


def head(path: str, kind: str, length: int) -> bytes:
    """The head of a POST."""
    lines = (f"POST {path} HTTP/1.1", "host: a", f"content-type: {kind}")
    return "\r\n".join([*lines, f"content-length: {length}", "", ""]).encode()


async def test_messages_are_bounded() -> None:
    """Before and after they are inflated, and what a prefix promises is not waited for."""
    packed = {"connect_content_encoding": "gzip", "grpc_encoding": "gzip"}
    async with HttpUpstream() as upstream, serve(upstream.url, 1, options=SMALL) as ports:
        url = f"http://127.0.0.1:{ports.http}/v1"
        unary = await post(url, CREATE, BOMB, "application/proto", content_encoding="gzip")
        assert (400, "invalid_argument") == (unary.status, unary.error["code"])
        assert "more than 100000 bytes" in unary.error["message"]
        for path, kind in ((STREAM, CONNECT), (CREATE, GRPC_WEB), (CREATE, TEXT)):
            for body in (framed(BOMB, 1), framed(ZEROS), framed(b"x", length=2**32 - 1)):
                sent = base64.b64encode(body) if kind == TEXT else body
                answer = await post(url, path, sent, kind, **packed)
                if kind == CONNECT:
                    code, text = answer.error["code"], answer.error["message"]
                    assert "invalid_argument" == code
                else:
                    text = answer.trailers["grpc-message"]
                    assert "3" == answer.trailers["grpc-status"]
                assert "more than" in text
        exact = framed(b"\x0a" + b"\x9d\x8d\x06" + b"\0" * (MOST - 4))
        answer = await post(url, STREAM, exact, CONNECT)
        assert "more than" not in answer.error["message"]
    assert [] == upstream.requests


async def test_tokens_and_the_end(tmp_path: Path) -> None:
    """Who may not call is refused before the body is read; streams hear of the end."""
    token, line = new_token("alice")
    path = tmp_path / "tokens.txt"
    path.write_text(line)
    async with (
        HttpUpstream() as upstream,
        running("--tokens", path, "--upstream", upstream.url, "--grace", 0) as (process, _, url),
    ):
        port = int(url.removesuffix("/v1").rpartition(":")[2])
        for kind in ("application/proto", CONNECT):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            place = STREAM if kind == CONNECT else CREATE
            writer.write(head(place, kind, 1000))
            answer = await within(reader.read())
            writer.close()
            assert b'"code":"unauthenticated"' in answer
            assert answer.startswith(b"HTTP/1.1 200" if kind == CONNECT else b"HTTP/1.1 401")
        await upstream.answer(sse_answer(chunk("a"), HANG))
        body = body_of(stream_request(), CONNECT)
        known = {"authorization": f"Bearer {token}"}
        async with posting(url, STREAM, body, CONNECT, **known) as response:
            first = await response.content.readany()
            process.send_signal(signal.SIGTERM)
            rest = await within(response.content.read())
        await upstream.next("closed")
        code, _, errors = await finish(process)
    assert (0, True) == (code, b"Traceback" not in errors.encode())
    answer = Answer(200, response.headers, first + rest)
    assert "unavailable" == answer.error["code"]


@through
@pytest.mark.parametrize("kind", ["application/json", CONNECT])
async def test_a_caller_that_vanishes_takes_its_call_with_it(kind: str, hops: int) -> None:
    is_stream = kind != "application/json"
    body = body_of(stream_request() if is_stream else create_request(), kind)
    async with HttpUpstream() as upstream, serve(upstream.url, hops) as ports:
        await upstream.answer(sse_answer(chunk("a"), HANG) if is_stream else raw(HANG))
        reader, writer = await asyncio.open_connection("127.0.0.1", ports.http)
        path = STREAM if is_stream else CREATE
        writer.write(head(path, kind, len(body)) + body)
        await upstream.next_request()
        if is_stream:
            await within(reader.readuntil(b"\r\n\r\n"))
        writer.transport.abort()
        await upstream.next("closed")


@through
async def test_a_slow_reader_stops_the_reading(hops: int) -> None:
    kind = "application/connect+json"
    endless = Repeat(event(json.dumps(chunk("x" * 1000)).encode()))
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        await upstream.answer(sse_answer(endless))
        body = body_of(stream_request(), kind)
        async with posting(url, STREAM, body, kind) as response:
            await response.content.readany()
            blocked = await upstream.next("blocked")
            assert blocked.sent < 30_000_000
        await upstream.next("closed")


async def test_a_reader_that_stalls_loses_its_connection() -> None:
    limits = Limits(stall_timeout=1, min_rate=0)
    options = Options(http="127.0.0.1:0", limits=limits)
    endless = Repeat(event(json.dumps(chunk("x" * 1000)).encode()))
    async with HttpUpstream() as upstream, serve(upstream.url, 1, options=options) as ports:
        await upstream.answer(sse_answer(endless))
        body = body_of(stream_request(), CONNECT)
        _, writer = await asyncio.open_connection("127.0.0.1", ports.http, limit=1024)
        writer.write(head(STREAM, CONNECT, len(body)) + body)
        await upstream.next("closed")
        writer.close()


@pytest.mark.parametrize("path", [CREATE, STREAM, "/v1/chat/completions"])
async def test_nothing_follows_an_end_that_is_not_read_in_time(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never_read(*_: object) -> None:
        await asyncio.sleep(TIMEOUT)

    monkeypatch.setattr(Connection, "end_stream", never_read)
    kind, body = GRPC_WEB, body_of(stream_request(), GRPC_WEB)
    if path == CREATE:
        body = body_of(create_request(), GRPC_WEB)
    elif path != STREAM:
        kind, body = "application/json", json.dumps({**PING, "stream": True}).encode()
    async with HttpUpstream() as upstream, serve(upstream.url, 1) as ports:
        answer = json_answer(completion()) if path == CREATE else sse_answer(chunk("a", "stop"))
        await upstream.answer(answer, always=True)
        for seconds in LIMITS:
            reader, writer = await asyncio.open_connection("127.0.0.1", ports.http)
            late = b"\r\nx-request-timeout-ms: %d\r\n\r\n" % (seconds * 1000)
            writer.write(head(path, kind, len(body)).replace(b"\r\n\r\n", late) + body)
            sent = await within(reader.read())
            writer.close()
            if b"time is up" not in sent:
                break
    assert 1 == sent.count(b"grpc-status: 0") + sent.count(b"[DONE]")
    assert b"time is up" not in sent


async def test_a_body_that_does_not_come() -> None:
    options = Options(http="127.0.0.1:0", limits=Limits(body_timeout=0.3))
    async with HttpUpstream() as upstream, serve(upstream.url, 1, options=options) as ports:
        reader, writer = await asyncio.open_connection("127.0.0.1", ports.http)
        writer.write(head(STREAM, CONNECT, 1000) + b"\0\0")
        answer = await within(reader.read())
        writer.close()
    assert b'"code":"deadline_exceeded"' in answer
    assert b"did not come in time" in answer
