"""The rpcs over HTTP, in Connect and gRPC-Web: what comes, how it fails, and what is refused."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from google.rpc import error_details_pb2, status_pb2
from yarl import URL

from chatpb import from_dict
from chatpb.v1.chat_completion_chunk_pb2 import ChatCompletionChunk
from chatpb.v1.chat_completion_pb2 import ChatCompletion
from chatpb.v1.error_pb2 import ErrorResponse
from chatpb.v1.model_service_pb2 import GetModelRequest, GetModelResponse
from chatpb_server.running.serving import Options, serving_all
from chatpb_server.upstreams.builtin.upstream import BuiltinUpstream
from chatpb_server.upstreams.router import Route, Router
from support.build import PING, chunk, create_request, stream_request
from support.http_edge import HEADERS, base_url, completion, through
from support.http_upstream import HANG, RESET, WAIT, HttpUpstream, json_answer, raw, sse_answer
from support.limits import TIMEOUT
from support.rpc_http import (
    CONNECT,
    CREATE,
    GRPC_WEB,
    STREAM,
    TEXT,
    Answer,
    body_of,
    call,
    framed,
    post,
    posting,
)

LIST = "/chatpb.v1.ModelService/ListModels"
GET = "/chatpb.v1.ModelService/GetModel"
UNARY = ["application/json", "application/proto"]
STREAMS = ["application/connect+json", CONNECT]
WEB = ["application/grpc-web", GRPC_WEB, "application/grpc-web+json", TEXT, f"{TEXT}+proto"]

GZIPPED = {"connect_content_encoding": "gzip"}
COMPLETION = completion()
CHUNKS = [chunk("a"), chunk("b"), chunk("", finish_reason="stop")]
ERROR = {"error": {"message": "Slow down, 東京", "type": "requests", "param": None, "code": "x"}}
TOO_MANY = json_answer(ERROR, status=429, headers={"retry-after": "7", "x-request-id": "req_1"})


def asking(kind: str) -> Any:
    """A request for a completion if the content type is one of unary rpcs, else for a stream."""
    return create_request() if kind in UNARY else stream_request()


@through
async def test_completions(hops: int) -> None:
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        await upstream.answer(json_answer(COMPLETION, headers=HEADERS), always=True)
        for kind in UNARY + WEB:
            answer, [message] = await call(url, create_request(), kind)
            assert (200, kind) == (answer.status, answer.headers["content-type"])
            assert from_dict(COMPLETION, ChatCompletion) == message.completion
            trailers = answer.trailers if kind in WEB else answer.headers
            name = "x-request-id" if kind in WEB else "trailer-x-request-id"
            assert "req_1" == trailers[name]
            assert "req_1" == answer.headers["x-request-id"]
    assert [PING] * len(UNARY + WEB) == [request.json for request in upstream.requests]


@through
async def test_streams(hops: int) -> None:
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        await upstream.answer(sse_answer(*CHUNKS, headers=HEADERS), always=True)
        for kind in STREAMS + WEB:
            answer, responses = await call(url, stream_request(), kind)
            assert (200, kind) == (answer.status, answer.headers["content-type"])
            chunks = [chunk for response in responses for chunk in response.chunks]
            assert [from_dict(value, ChatCompletionChunk) for value in CHUNKS] == chunks
            assert "req_1" == answer.headers["x-request-id"]
            if kind in WEB:
                ends = (answer.trailers["grpc-status"], answer.trailers["x-request-id"])
                assert ("0", "req_1") == ends
            else:
                assert ["req_1"] == answer.end["metadata"]["x-request-id"]
                assert "error" not in answer.end
    asked = {**PING, "stream": True}
    assert [asked] * len(STREAMS + WEB) == [request.json for request in upstream.requests]


async def test_pieces_come_at_once() -> None:
    async with HttpUpstream() as upstream, base_url(upstream.url, 1) as url:
        await upstream.answer(sse_answer(chunk("a"), WAIT, chunk("b", finish_reason="stop")))
        body = body_of(stream_request(), CONNECT)
        async with posting(url, STREAM, body, CONNECT) as response:
            assert b"a" in await response.content.readany()
            await upstream.go()
            assert await response.content.read()


async def test_compact_chunks() -> None:
    request = stream_request()
    request.compact = True
    async with HttpUpstream() as upstream, base_url(upstream.url, 1) as url:
        await upstream.answer(sse_answer(*CHUNKS))
        _, responses = await call(url, request, CONNECT)
    assert any(response.compact_chunks for response in responses)


# What fails.


@through
async def test_errors_of_connect(hops: int) -> None:
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        await upstream.answer(TOO_MANY, always=True)
        answers = {kind: await call(url, asking(kind), kind) for kind in UNARY + STREAMS}
    for kind, (answer, messages) in answers.items():
        is_unary = kind in UNARY
        assert [] == messages
        assert (429 if is_unary else 200) == answer.status
        assert {"code", "message", "details"} == answer.error.keys()
        assert ("resource_exhausted", "Slow down, 東京") == (
            answer.error["code"],
            answer.error["message"],
        )
        details = {detail["type"]: detail for detail in answer.error["details"]}
        value = base64.b64decode(details["chatpb.v1.ErrorResponse"]["value"] + "==")
        assert from_dict(ERROR, ErrorResponse) == ErrorResponse.FromString(value)
        assert "7s" == details["google.rpc.RetryInfo"]["debug"]["retryDelay"]
        assert "google.rpc.RequestInfo" in details
        if is_unary:
            assert ("7", "429", "req_1") == (
                answer.headers["retry-after"],
                answer.headers["trailer-chatpb-http-status"],
                answer.headers["trailer-x-request-id"],
            )
        else:
            assert ["429"] == answer.end["metadata"]["chatpb-http-status"]


@through
async def test_errors_of_grpc_web(hops: int) -> None:
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        await upstream.answer(TOO_MANY, always=True)
        requests = (create_request(), stream_request())
        answers = [
            await call(url, request, kind) for kind in (GRPC_WEB, TEXT) for request in requests
        ]
    for answer, messages in answers:
        assert (200, []) == (answer.status, messages)
        trailers = answer.trailers
        assert ("8", "Slow down, %E6%9D%B1%E4%BA%AC", "429", "req_1") == (
            trailers["grpc-status"],
            trailers["grpc-message"],
            trailers["chatpb-http-status"],
            trailers["x-request-id"],
        )
        details = base64.b64decode(trailers["grpc-status-details-bin"] + "==")
        status = status_pb2.Status.FromString(details)
        assert (8, "Slow down, 東京") == (status.code, status.message)
        info = error_details_pb2.RetryInfo()
        assert any(detail.Unpack(info) for detail in status.details)
        assert 7 == info.retry_delay.seconds


@through
async def test_an_error_in_the_stream_comes_after_the_chunks(hops: int) -> None:
    kinds = [*STREAMS, GRPC_WEB, TEXT]
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        await upstream.answer(sse_answer(chunk("a"), RESET), always=True)
        answers = {kind: await call(url, stream_request(), kind) for kind in kinds}
    for kind, (answer, responses) in answers.items():
        assert ["a"] == [
            chunk.choices[0].delta.content for one in responses for chunk in one.chunks
        ]
        if kind in STREAMS:
            assert "data_loss" == answer.error["code"]
        else:
            assert "15" == answer.trailers["grpc-status"]


DEADLINES: list[tuple[str, dict[str, str]]] = [
    ("application/json", {"connect_timeout_ms": "200"}),
    ("application/proto", {"x_request_timeout_ms": "200"}),
    (CONNECT, {"connect_timeout_ms": "200"}),
    (GRPC_WEB, {"grpc_timeout": "200m"}),
]


@pytest.mark.parametrize("begins", [False, True])
async def test_deadlines(begins: bool) -> None:
    async with HttpUpstream() as upstream, base_url(upstream.url, 1) as url:
        for kind, header in DEADLINES:
            is_unary = kind in UNARY
            silent = is_unary or not begins
            await upstream.answer(raw(HANG) if silent else sse_answer(chunk("a"), HANG))
            answer, messages = await call(url, asking(kind), kind, **header)
            await upstream.next("closed")
            assert (0 if silent else 1) == len(messages)
            if kind == GRPC_WEB:
                assert "4" == answer.trailers["grpc-status"]
            else:
                assert "deadline_exceeded" == answer.error["code"]
                assert (504 if is_unary else 200) == answer.status


# What Connect has in addition.


async def test_compression_both_ways() -> None:
    text = "lorem ipsum " * 1000
    long = completion({"index": 0, "message": {"role": "assistant", "content": text}})
    request = create_request(messages=[{"role": "user", "content": text}])
    async with HttpUpstream() as upstream, base_url(upstream.url, 1) as url:
        await upstream.answer(json_answer(long), always=True)
        body = gzip.compress(request.SerializeToString())
        unary = await post(
            url,
            CREATE,
            body,
            "application/proto",
            content_encoding="gzip",
            accept_encoding="gzip, br",
        )
        assert ("gzip", "accept-encoding") == (
            unary.headers["content-encoding"],
            unary.headers["vary"],
        )
        assert text.encode() in gzip.decompress(unary.body)
        web = await post(
            url,
            CREATE,
            framed(body, 1),
            GRPC_WEB,
            grpc_encoding="gzip",
            grpc_accept_encoding="identity,gzip",
        )
        (flags, data), _ = web.messages
        assert (1, "gzip") == (flags, web.headers["grpc-encoding"])
        assert text.encode() in gzip.decompress(data)
        await upstream.answer(sse_answer(chunk(text, finish_reason="stop")), always=True)
        stream = await post(
            url,
            STREAM,
            framed(body, 1),
            CONNECT,
            connect_content_encoding="gzip",
            connect_accept_encoding="gzip",
        )
        (flags, data), (end, _) = stream.messages
        assert (1, 2, "gzip") == (flags, end, stream.headers["connect-content-encoding"])
        assert text.encode() in gzip.decompress(data)
    assert [text] * 3 == [asked.json["messages"][0]["content"] for asked in upstream.requests]


UNREADABLE: list[tuple[str, str, bytes, dict[str, str], str]] = [
    (CREATE, "application/json", b"{", {}, "invalid_argument"),
    (CREATE, "application/json", b"", {}, "invalid_argument"),
    (CREATE, "application/json", b"[]", {}, "invalid_argument"),
    (CREATE, "application/json", b"\xff", {}, "invalid_argument"),
    (CREATE, "application/json", b'{"request":{"n":"x"}}', {}, "invalid_argument"),
    (CREATE, "application/json", b'{"request":{"modl":"m"}}', {}, "invalid_argument"),
    (CREATE, "application/json", b'{"request":{"model":"\\ud800"}}', {}, "invalid_argument"),
    (CREATE, "application/json", b'{"request":' * 9000, {}, "invalid_argument"),
    (CREATE, "application/proto", b"\xff", {}, "invalid_argument"),
    (CREATE, "application/proto", b"", {"connect_timeout_ms": "1s"}, "invalid_argument"),
    (CREATE, "application/proto", b"", {"connect_protocol_version": "2"}, "invalid_argument"),
    (CREATE, "application/proto", b"", {"content_encoding": "br"}, "unimplemented"),
    (CREATE, "application/proto", b"x", {"content_encoding": "gzip"}, "invalid_argument"),
    (STREAM, CONNECT, b"", {}, "invalid_argument"),
    (STREAM, CONNECT, b"\0\0", {}, "invalid_argument"),
    (STREAM, CONNECT, framed(b"", length=5), {}, "invalid_argument"),
    (STREAM, CONNECT, framed(b"", length=2**32 - 1), {}, "invalid_argument"),
    (STREAM, CONNECT, framed(b"") * 2, {}, "unimplemented"),
    (STREAM, CONNECT, framed(b"", 2), {}, "invalid_argument"),
    (STREAM, CONNECT, framed(b"x", 1), {}, "invalid_argument"),
    (
        STREAM,
        CONNECT,
        framed(b"x", 1),
        {"connect_content_encoding": "gzip"},
        "invalid_argument",
    ),
    (STREAM, CONNECT, framed(b""), {"connect_content_encoding": "br"}, "unimplemented"),
]


async def test_what_connect_cannot_read() -> None:
    async with HttpUpstream() as upstream, base_url(upstream.url, 1) as url:
        for path, kind, body, headers, code in UNREADABLE:
            answer = await post(url, path, body, kind, **headers)
            assert code == answer.error["code"], (kind, body[:99], headers)
            expected = "application/json" if path == CREATE else kind
            assert expected == answer.headers["content-type"]
            assert b"Traceback" not in answer.body
    assert [] == upstream.requests


UNREADABLE_WEB: list[tuple[str, bytes, dict[str, str], str]] = [
    (GRPC_WEB, framed(b"", length=5), {}, "3"),
    (GRPC_WEB, framed(b"", 0x80), {}, "3"),
    (GRPC_WEB, framed(b""), {"grpc_timeout": "5"}, "3"),
    (GRPC_WEB, framed(b""), {"grpc_encoding": "br"}, "12"),
    (TEXT, b"AAAA*", {}, "3"),
    (TEXT, b"AAA", {}, "3"),
    (TEXT, b"AA==" * 20_000, {}, "3"),
    ("application/grpc-web+json", framed(b"{"), {}, "3"),
]


async def test_what_grpc_web_cannot_read() -> None:
    async with HttpUpstream() as upstream, base_url(upstream.url, 1) as url:
        for kind, body, headers, status in UNREADABLE_WEB:
            answer = await post(url, CREATE, body, kind, **headers)
            assert (200, status) == (answer.status, answer.trailers["grpc-status"]), body[:99]
    assert [] == upstream.requests


async def test_base64_in_parts() -> None:
    data = framed(create_request().SerializeToString())
    body = b"".join(base64.b64encode(data[at : at + 4]) for at in range(0, len(data), 4))
    async with HttpUpstream() as upstream, base_url(upstream.url, 1) as url:
        await upstream.answer(json_answer(COMPLETION))
        answer = await post(url, CREATE, body, TEXT)
    assert "0" == answer.trailers["grpc-status"]


async def test_what_is_no_call_of_an_rpc_gets_an_error_of_openai() -> None:
    async with HttpUpstream() as upstream, base_url(upstream.url, 1) as url:
        for path, kind, status in (
            (CREATE, "text/plain", 415),
            (CREATE, CONNECT, 415),
            (CREATE, "application/grpc", 415),
            (STREAM, "application/json", 415),
            (CREATE + "s", "application/json", 404),
            ("/chatpb.v1.Unknown/Rpc", "application/json", 404),
        ):
            answer = await post(url, path, b"{}", kind)
            error = json.loads(answer.body)["error"]
            assert (status, "invalid_request_error") == (answer.status, error["type"])
    assert [] == upstream.requests


async def test_json_is_protobufs_own() -> None:
    """Both spellings of names are read; the lower camel case is written."""
    body = b'{"request":{"model":"m","max_completion_tokens":5,"messages":[{"role":"ROLE_USER"}]}}'
    async with HttpUpstream() as upstream, base_url(upstream.url, 1) as url:
        await upstream.answer(json_answer(completion({"index": 0, "finish_reason": "stop"})))
        answer = await post(url, CREATE, body, "application/json; charset=utf-8")
    [request] = upstream.requests
    assert 5 == request.json["max_completion_tokens"]
    [value] = json.loads(answer.body)["completion"]["choices"]
    assert "FINISH_REASON_STOP" == value["finishReason"]


async def test_pages_of_other_origins() -> None:
    """What the libraries of web pages send is allowed, and what they read is exposed."""
    page = {"origin": "https://app.example.com"}
    wanted = "connect-protocol-version,connect-timeout-ms,content-type,grpc-timeout,x-grpc-web"
    ask = {"access-control-request-method": "POST", "access-control-request-headers": wanted}
    async with (
        base_url_of_builtin(cors_origins=tuple(page.values())) as url,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(TIMEOUT)) as session,
    ):
        async with session.options(url + STREAM, headers=page | ask) as preflight:
            assert 204 == preflight.status
            assert wanted == preflight.headers["access-control-allow-headers"]
        for kind in (CONNECT, GRPC_WEB, "application/json"):
            path = CREATE if kind == "application/json" else STREAM
            answer = await post(url, path, body_of(asking(kind), kind), kind, **page)
            assert (200, page["origin"], "*") == (
                answer.status,
                answer.headers["access-control-allow-origin"],
                answer.headers["access-control-expose-headers"],
            )


# Rpcs without side effects can be called with GET.


async def test_models() -> None:
    async with base_url_of_builtin() as url:
        listed = await get(url, LIST, encoding="json", message="{}")
        [model] = json.loads(listed.body)["models"]["data"]
        assert (200, "application/json") == (listed.status, listed.headers["content-type"])
        name = model["id"]
        asked = GetModelRequest(model=name).SerializeToString()
        text = base64.urlsafe_b64encode(asked).decode().rstrip("=")
        packed = base64.urlsafe_b64encode(gzip.compress(asked)).decode()
        query = {"connect": "v1", "encoding": "proto", "base64": "1"}
        plain = {"base64": "0", "message": asked.decode()}
        for more in ({"message": text}, {"message": packed, "compression": "gzip"}, plain):
            one = await get(url, GET, **query | more)
            assert "application/proto" == one.headers["content-type"]
            assert name == GetModelResponse.FromString(one.body).model.id
        posted = await post(url, GET, framed(asked), GRPC_WEB)
        assert (b"%s" % name.encode() in posted.body, "0") == (True, posted.trailers["grpc-status"])
        none = await get(url, GET, encoding="json", message='{"model": "none"}')
        assert (404, "not_found") == (none.status, none.error["code"])


@pytest.mark.parametrize(
    ("path", "query", "status", "word"),
    [
        (LIST, {"encoding": "json"}, 400, "message"),
        (LIST, {"encoding": "json", "message": "{}", "connect": "v2"}, 400, "connect=v1"),
        (LIST, {"encoding": "json", "message": "{"}, 400, "JSON"),
        (LIST, {"encoding": "proto", "message": "=", "base64": "1"}, 200, ""),
        (LIST, {"encoding": "proto", "message": "A", "base64": "1"}, 400, "base64"),
        (LIST, {"encoding": "json", "message": "{}", "compression": "br"}, 501, "gzip"),
        (GET, {"encoding": "proto", "message": "Cv8", "base64": "1"}, 400, "binary form"),
        (LIST, {"encoding": "xml", "message": "{}"}, 415, "content type"),
        (CREATE, {"encoding": "json", "message": "{}"}, 405, "POST"),
        (STREAM, {"encoding": "json", "message": "{}"}, 405, "POST"),
    ],
)
async def test_queries(path: str, query: dict[str, str], status: int, word: str) -> None:
    async with base_url_of_builtin() as url:
        answer = await get(url, path, **query)
    assert status == answer.status
    assert word.encode() in answer.body


async def test_a_message_in_a_query_need_not_be_text() -> None:
    """Its bytes are in percent-encoding: those of a length, for example, are not UTF-8."""
    name = "x" * 200
    message = quote(GetModelRequest(model=name).SerializeToString())
    async with base_url_of_builtin() as url:
        place = URL(f"{url}{GET}?encoding=proto&message={message}", encoded=True)
        async with aiohttp.ClientSession() as session, session.get(place) as response:
            body = await response.read()
    assert (404, True) == (response.status, name.encode() in body)


@asynccontextmanager
async def base_url_of_builtin(**how: Any) -> AsyncIterator[str]:
    router = Router([Route("default", BuiltinUpstream())])
    options = Options(http="127.0.0.1:0", models=None, **how)
    async with serving_all(router, options=options) as ports:
        yield f"http://127.0.0.1:{ports.http}"


async def get(url: str, path: str, **query: str) -> Answer:
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(TIMEOUT)) as session,
        session.get(url + path, params=query) as response,
    ):
        return Answer(response.status, response.headers, await response.read())
