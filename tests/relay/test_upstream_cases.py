"""What upstreams really answer, and what callers get: over gRPC, over HTTP, and over two relays.

Each case of ``cases/upstream.json`` is an answer, its body in pieces, and what is expected:
``code``, what the status ``says``, the number of ``chunks``, the ``error`` object or what it has,
the ``http`` status, whether the HTTP edge gives the ``same`` body, and ``retry_after``.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from grpc import StatusCode, aio

from chatpb import to_dict, to_json
from chatpb.v1.error_pb2 import ErrorResponse
from support.build import PING, create_request, stream_request
from support.http_edge import ONCE, events, posting, serve
from support.http_relay import details, read_all, relay
from support.http_upstream import Answer, HttpUpstream, http_answer
from support.recording import records
from support.recording import relay as recording_relay

CASES: list[Any] = json.loads((Path(__file__).parent / "cases" / "upstream.json").read_text())
each_case = pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])


def body_of(case: Any) -> list[bytes]:
    return [part.replace("<70,000 characters>", "x" * 70_000).encode() for part in case["body"]]


def answer(case: Any) -> Answer:
    kind = case.get("type", "text/event-stream" if case["stream"] else "application/json")
    headers = {"content-type": kind, **case.get("headers", {})}
    return http_answer(*body_of(case), status=case.get("status", 200), headers=headers)


async def caught(call: Awaitable[Any]) -> aio.AioRpcError:
    """The error that a call fails with."""
    with pytest.raises(aio.AioRpcError) as raised:
        await call
    return raised.value


def check_error(error: aio.AioRpcError, expect: Any) -> None:
    """Checks the details of the status."""
    found = details(error)
    value = to_dict(found[ErrorResponse], allow_nan=True)
    if "error" in expect:
        assert expect["error"] == value
    for name, member in expect.get("error_has", {}).items():
        assert member == value["error"][name]
    if "retry_after" in expect:
        assert expect["retry_after"] == found[RetryInfo].retry_delay.ToNanoseconds() / 1e9


@each_case
async def test_over_grpc(case: Any) -> None:
    expect = case["expect"]
    chunks: list[Any] = []
    async with HttpUpstream() as upstream, relay(upstream.url, policy=ONCE) as client:
        await upstream.answer(answer(case), always=True)
        if expect["code"] != "OK":
            error = await caught(
                read_all(client.stream(), chunks) if case["stream"] else client.create()
            )
            assert expect["code"] == error.code().name
            assert expect["says"] in (error.details() or "")
            check_error(error, expect)
        elif case["stream"]:
            await read_all(client.stream(), chunks)
        else:
            text = to_json((await client.create()).completion, allow_nan=True)
            assert json.loads(b"".join(body_of(case))) == json.loads(text)
    assert expect.get("chunks", 0) == len(chunks)


@each_case
@pytest.mark.parametrize("hops", [1, 2], ids=["edge", "edge and core"])
async def test_over_http(case: Any, hops: int) -> None:
    expect = case["expect"]
    sent = b"".join(body_of(case))
    request = {**PING, **({"stream": True} if case["stream"] else {})}
    async with HttpUpstream() as upstream, serve(upstream.url, hops) as ports:
        await upstream.answer(answer(case), always=True)
        async with posting(f"http://127.0.0.1:{ports.http}/v1", request) as response:
            data = bytearray()
            try:
                async for piece in response.content.iter_any():
                    data += piece
            except aiohttp.ClientPayloadError:  # it breaks off
                assert "DATA_LOSS" == expect["code"]
    body = bytes(data)
    assert b"secret" not in body
    has_begun = case["stream"] and "http" not in expect and (hops == 1 or "chunks" in expect)
    if has_begun and (hops == 1 or expect["chunks"]):
        check_stream(body, case, hops)
        assert 200 == response.status
        assert "no" == response.headers["x-accel-buffering"]
        return
    if "http" in expect:
        assert expect["http"] == response.status
    if hops == 1 and expect.get("same"):
        assert sent == body
    if len(sent) < 1000:
        kind = case.get("type", "application/json") if expect.get("same") else "application/json"
        assert kind == response.content_type
    if expect["code"] == "DATA_LOSS":
        error = json.loads(body)["error"]
        assert expect["says"] in error["message"]
        assert "server_error" == error["type"]
    elif expect["code"] != "OK":
        assert expect["says"].rpartition(": ")[2].encode() in body


def check_stream(body: bytes, case: Any, hops: int) -> None:
    """Checks an event stream at the edge."""
    expect = case["expect"]
    if expect["code"] == "DATA_LOSS":
        assert b"[DONE]" not in body
    elif hops == 1:
        assert b"".join(body_of(case)) == body
    else:
        assert (expect["code"] == "OK") == (b"[DONE]" in body)
        assert expect.get("says", "").encode() in body
        if expect["code"] != "OK":  # by this member SDKs recognize an error
            assert events(body)[-1]["error"]
    assert expect["chunks"] == body.count(b"chat.completion.chunk")


@each_case
async def test_records(case: Any, tmp_path: Path) -> None:
    expect = case["expect"]
    async with (
        HttpUpstream() as upstream,
        recording_relay(upstream.url, tmp_path) as client,
    ):
        await upstream.answer(answer(case), always=True)
        stub = client.stub
        with suppress(aio.AioRpcError):
            if case["stream"]:
                await read_all(stub.StreamChatCompletion(stream_request()))
            else:
                await stub.CreateChatCompletion(create_request())
    [record] = records(tmp_path)
    assert StatusCode[expect["code"]].value[0] == record.status
    assert expect.get("chunks", 0) == len(record.chunks)
    if "error" in expect:
        assert expect["error"] == to_dict(record.error, allow_nan=True)
