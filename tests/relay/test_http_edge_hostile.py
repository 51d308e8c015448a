"""Requests that are not HTTP, or can be understood in two ways: refused, as OpenAI's errors are."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from grpc import StatusCode

from chatpb.v1.chat_completion_request_pb2 import ChatCompletionRequest
from chatpb.v1.chat_completion_service_pb2 import CreateChatCompletionRequest
from chatpb_server.running.serving import Options
from relay.test_http_edge_sdk import UNARY
from support.build import PING
from support.http_edge import base_url, post, serve, through
from support.http_relay import failure
from support.http_relay import relay as grpc_relay
from support.http_upstream import HttpUpstream
from support.limits import within

POST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n"
BODY = json.dumps(PING).encode()
LENGTH = b"content-length: %d\r\n" % len(BODY)


async def raw_answer(port: int | None, request: bytes) -> tuple[bytes, bytes]:
    """The head and the body of the answer to bytes, after which the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        data = await within(reader.read())
    finally:
        writer.close()
    head, _, body = data.partition(b"\r\n\r\n")
    return head, body


NOT_HTTP: list[Any] = [
    pytest.param(b"GET / HTTP/1.1\r\nx y: <secret>\r\n\r\n", id="header"),
    pytest.param(b"<secret>\r\n\r\n", id="method"),
    pytest.param(b"GET /secret HTTP/9.9\r\n\r\n", id="version"),
    pytest.param(b"GET http://[secret/v1/models HTTP/1.1\r\n\r\n", id="URL"),
    pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="HTTP/2"),
    pytest.param(b"GET /secret" + b"y" * 10_000 + b" HTTP/1.1\r\n\r\n", id="long line"),
    pytest.param(POST + b"content-length: -1\r\n\r\n", id="negative length"),
    pytest.param(POST + b"content-length: 1\r\ncontent-length: 2\r\n\r\n", id="two lengths"),
    pytest.param(POST + b"transfer-encoding: chunked\r\n\r\nsecret\r\n", id="chunk"),
    pytest.param(POST + b"content-encoding: br\r\n" + LENGTH + b"\r\n" + BODY, id="br"),
    pytest.param(POST + b"content-encoding: zstd\r\n" + LENGTH + b"\r\n" + BODY, id="zstd"),
    pytest.param(POST + b"content-encoding: gzip\r\n" + LENGTH + b"\r\n" + BODY, id="gzip"),
]


@pytest.mark.parametrize("request_", NOT_HTTP)
async def test_what_is_not_http_gets_an_error_of_openai(request_: bytes) -> None:
    async with HttpUpstream() as upstream, serve(upstream.url, 1) as ports:
        reader, writer = await asyncio.open_connection("127.0.0.1", ports.http)
        writer.write(request_)
        head = await within(reader.readuntil(b"\r\n\r\n"))
        lines = head.decode().lower().split("\r\n")
        [length] = [line for line in lines if line.startswith("content-length: ")]
        body = await within(reader.readexactly(int(length.removeprefix("content-length: "))))
        writer.close()
    assert lines[0].endswith(" 400 bad request")
    assert "content-type: application/json" in lines
    assert "server: chatpb" in lines
    error = json.loads(body)["error"]
    assert ("invalid_request_error", None, None) == (error["type"], error["param"], error["code"])
    assert {"message", "type", "param", "code"} == error.keys()
    for word in (b"secret", b"aiohttp", b"python", b"brotli", b"install"):
        assert word not in (head + body).lower()
    assert [] == upstream.requests


@pytest.mark.parametrize("encoding", ["compress", "gzip, gzip", "secret", "gzip, br"])
async def test_an_encoding_that_is_not_known_is_refused(encoding: str) -> None:
    """Not ignored, as if the body had none."""
    async with HttpUpstream() as upstream, serve(upstream.url, 1) as ports:
        head = POST + b"connection: close\r\ncontent-encoding: %b\r\n" % encoding.encode()
        answer, body = await raw_answer(ports.http, head + LENGTH + b"\r\n" + BODY)
    assert answer.startswith(b"HTTP/1.1 400 ")
    text = (
        "The request has a content encoding that is not supported: expected gzip, deflate or none."
    )
    assert text == json.loads(body)["error"]["message"]
    assert [] == upstream.requests


async def test_headers_up_to_the_limit_are_taken_and_more_are_refused() -> None:
    async with HttpUpstream() as upstream, serve(upstream.url, 1) as ports:
        for size, status in ((8000, b"200"), (8300, b"431")):
            header = b"x: " + b"y" * (size - 1) + b"\r\nconnection: close\r\n\r\n"
            get = b"GET /v1/models HTTP/1.1\r\nhost: a\r\n" + header
            head, body = await raw_answer(ports.http, get)
            assert status == head.split()[1]
    error = json.loads(body)["error"]
    assert "invalid_request_error" == error["type"]
    assert "8 KiB" in error["message"]


async def test_no_answer_names_a_library() -> None:
    async with HttpUpstream() as upstream, base_url(upstream.url, 1) as url:
        await upstream.answer(UNARY["plain"])
        async with aiohttp.ClientSession() as session:
            for path in ("/models", "/models/x", "/x", "/../healthz"):
                async with session.get(url + path) as response:
                    assert "chatpb" == response.headers["server"]
        assert "chatpb" == (await post(url))[1]["server"]


async def test_the_edge_that_fails_itself_tells_its_id(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> Any:
        raise LookupError("secret")

    monkeypatch.setattr("chatpb_server.edges.http.edge.HttpEdge._listed", broken)
    async with HttpUpstream() as upstream, serve(upstream.url, 1) as ports:
        _, body = await raw_answer(ports.http, b"GET /v1/models HTTP/1.1\r\nhost: a\r\n\r\n")
    error = json.loads(body)["error"]
    assert "server_error" == error["type"]
    identity = error["message"].removeprefix("The relay failed; its log says more: ")
    assert any(identity in record.getMessage() for record in caplog.records)
    assert b"secret" not in body


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/models", 200),
        ("/v1/models/", 200),
        ("/models", 200),
        ("/v1/models/a%2Fb", 200),
        ("/v1/models/a/b", 200),
        ("/v1/models?x=%6d", 200),
        ("/v1/%6dodels", 404),
        ("/v1/models%2Fa", 404),
        ("/v1%2Fmodels", 404),
        ("/%76%31/models", 404),
        ("/v1/../v1/models", 404),
        ("/v1//models", 404),
        ("/healthz", 200),
        ("/%68ealthz", 404),
    ],
)
async def test_paths_are_routed_as_they_are_written(path: str, expected: int) -> None:
    options = Options(http="127.0.0.1:0", models={"a/b": "me"})
    async with HttpUpstream() as upstream, serve(upstream.url, 1, options=options) as ports:
        head = f"GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".encode()
        answer, _ = await raw_answer(ports.http, head)
    assert answer.startswith(f"HTTP/1.1 {expected} ".encode())


CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(BODY), BODY)
NEXT = POST + LENGTH + b"connection: close\r\n\r\n" + BODY
OLD = CHUNKED.replace(b"HTTP/1.1\r\n", b"HTTP/1.0\r\nconnection: keep-alive\r\n")
TRAILERS = b"0\r\nx-title: theirs\r\nopenai-organization: theirs\r\n\r\n"


@pytest.mark.parametrize(
    ("parts", "answered"),
    [
        pytest.param([CHUNKED + b"0\r\n\r\n", NEXT], 2, id="none"),
        pytest.param([CHUNKED + b"0\r", b"\n\r", b"\n", NEXT], 2, id="none, in pieces"),
        pytest.param([OLD + b"0\r\n\r\n", NEXT], 1, id="chunks in HTTP/1.0"),
        pytest.param([CHUNKED + TRAILERS, NEXT], 1, id="some"),
        pytest.param([CHUNKED + TRAILERS[:-2], TRAILERS[-2:], NEXT], 1, id="in pieces"),
        pytest.param([CHUNKED + TRAILERS + NEXT], 1, id="next at once"),
        pytest.param([CHUNKED + TRAILERS + CHUNKED + b"0\r\n\r\n"], 1, id="chunks at once"),
    ],
)
async def test_trailers_do_not_become_headers_of_the_next_request(
    parts: list[bytes], answered: int
) -> None:
    """A proxy in front of the relay sends requests of different callers over one connection."""
    async with HttpUpstream() as upstream, serve(upstream.url, 1) as ports:
        await upstream.answer(UNARY["plain"], always=True)
        reader, writer = await asyncio.open_connection("127.0.0.1", ports.http)
        data = b""
        for part in parts:
            if part == NEXT:
                data = await within(reader.readuntil(b"\r\n\r\n"))
            writer.write(part)
            await asyncio.sleep(0.01)  # so that it is read by itself
        data += await within(reader.read())
        writer.close()
    assert answered == data.count(b" 200 OK\r\n") == len(upstream.requests)
    for request in upstream.requests:
        assert not request.headers.keys() & {"x-title", "openai-organization"}


TWICE: list[Any] = [
    pytest.param(b'{"model":"a","model":"b","messages":[]}', "model", id="model"),
    pytest.param(b'{"model":"a","model":"a","messages":[]}', "model", id="the same"),
    pytest.param(b'{"model":"a","mod\\u0065l":"b","messages":[]}', "model", id="escaped"),
    pytest.param(b'{"\\u006Dodel":"a","model":"b","messages":[]}', "model", id="escaped first"),
    pytest.param(b'{"model":"a","stream":false,"stream":true}', "stream", id="stream"),
    pytest.param(b'{"model":"a","stream":null,"stream":false}', "stream", id="null"),
]


@through
@pytest.mark.parametrize(("body", "param"), TWICE)
async def test_a_member_that_decides_cannot_be_repeated(body: bytes, param: str, hops: int) -> None:
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        status, _, value = await post(url, body)
    assert 400 == status
    assert ("invalid_request_error", param) == (value["error"]["type"], value["error"]["param"])
    assert [] == upstream.requests


@through
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32-le"])
async def test_text_in_another_encoding_is_refused(encoding: str, hops: int) -> None:
    """A member could be repeated in it, or ask for another thing than the upstream reads."""
    body = '{"model":"a","model":"b","messages":[]}'.encode(encoding)
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        status, _, value = await post(url, body)
    assert (400, "invalid_request_error") == (status, value["error"]["type"])
    assert [] == upstream.requests


@through
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'\xef\xbb\xbf{"model":"m"}', id="byte order mark"),
        pytest.param(b'{"model":"m","user":"model","x":{"model":1,"stream":2}}', id="elsewhere"),
        pytest.param(b'{"model":"m","user":"\\u0061\\ud800"}', id="escapes"),
        pytest.param(b'{"model":"m","x_n":' + b"1" * 5000 + b"}", id="5,000 digits"),
        pytest.param(b'{"model":"m","x_n":-' + b"1" * 5000 + b',"user":"\\u0061"}', id="both"),
        pytest.param(b'{"model":"m","seed":' + b"1" * 5000 + b"}", id="of a field"),
        pytest.param(b'{"model":"m","stream":null}', id="null"),
    ],
)
async def test_what_is_only_unusual_passes(body: bytes, hops: int) -> None:
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        await upstream.answer(UNARY["plain"])
        status, _, _ = await post(url, body)
        assert 200 == status
        [request] = upstream.requests
    read = [json.loads(text, parse_int=str) for text in (body, request.body)]
    assert read[0] == {**read[1], **({"stream": None} if b'stream":null' in body else {})}


@through
@pytest.mark.parametrize(
    ("stream", "kind"),
    [
        ('"true"', "a string"),
        ("1", "an integer"),
        ("1.5", "a decimal number"),
        ("[]", "an array"),
        ("{}", "an object"),
    ],
)
async def test_a_stream_that_is_not_a_boolean(stream: str, kind: str, hops: int) -> None:
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        status, _, value = await post(url, b'{"model":"m","stream":%s}' % stream.encode())
    assert 400 == status
    assert {
        "message": f"Invalid type for 'stream': expected a boolean, but got {kind} instead.",
        "type": "invalid_request_error",
        "param": "stream",
        "code": "invalid_type",
    } == value["error"]
    assert [] == upstream.requests


@pytest.mark.parametrize(
    ("extra", "param"),
    [
        ('{"model":"b"}', "model"),
        ('{"mod\\u0065l":"b"}', "model"),
        ('{"stream":"true"}', "stream"),
        ('{"stream":true}', "stream"),
    ],
)
async def test_a_residue_cannot_replace_what_decides(extra: str, param: str) -> None:
    request = ChatCompletionRequest(model="a")
    request.residue.extra_json = extra
    async with HttpUpstream() as upstream, grpc_relay(upstream.url) as client:
        message = CreateChatCompletionRequest(request=request)
        error = await failure(client.stub.CreateChatCompletion(message, timeout=60))
    assert StatusCode.INVALID_ARGUMENT == error.code()
    assert f"'{param}'" in (error.details() or "")
    assert [] == upstream.requests
