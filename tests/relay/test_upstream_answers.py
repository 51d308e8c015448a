"""How upstreams answer beyond their bodies: headers, silence, comments, and deadlines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

from chatpb import to_dict
from chatpb.v1.error_pb2 import ErrorResponse
from chatpb_server.core.limits import Limits
from chatpb_server.running.serving import Options
from relay.test_upstream_cases import caught
from support.build import COMPLETION, PING, chunk, create_request, stream_request
from support.http_edge import ONCE, post, posting, serve, through
from support.http_relay import details, read_all, relay
from support.http_upstream import (
    CLOSE,
    HANG,
    RESET,
    WAIT,
    Answer,
    HttpUpstream,
    json_answer,
    raw,
    sse_answer,
)
from support.limits import within
from support.recording import records
from support.recording import relay as recording_relay

BODY = json.dumps(COMPLETION).encode()
LENGTH = b"content-length: %d\r\n" % len(BODY)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(json_answer(COMPLETION, headers={"x-policy": "p" * 16_384}), id="16 KiB"),
        pytest.param(raw(HEAD + LENGTH + CHUNKED), id="a length next to chunked"),
        pytest.param(raw(HEAD + LENGTH + LENGTH + b"\r\n" + BODY), id="a length twice"),
        pytest.param(raw(HEAD + LENGTH, LENGTH + b"\r\n", BODY[:9], BODY[9:]), id="in pieces"),
    ],
)
async def test_heads_that_ordinary_clients_read(answer: Answer) -> None:
    async with HttpUpstream() as upstream, relay(upstream.url, policy=ONCE) as client:
        for _ in range(2):
            await upstream.answer(answer)
            assert COMPLETION == to_dict((await client.create()).completion)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        pytest.param(raw(CLOSE), "broke off", id="no answer"),
        pytest.param(
            raw(HEAD + b"content-encoding: gzip\r\n" + LENGTH + b"\r\n" + BODY),
            "could not be read: it is not in the content encoding that its header names",
            id="not gzip",
        ),
        pytest.param(
            raw(b"SSH-2.0\r\n\r\n", CLOSE), "could not be read: not valid HTTP", id="no HTTP"
        ),
        pytest.param(json_answer(b"{", RESET, framing="chunked"), "broke off", id="reset"),
        pytest.param(
            json_answer(COMPLETION, headers={"x": "p" * 65_536}),
            "could not be read: it has a header of more than 32768 bytes",
            id="long header",
        ),
        pytest.param(
            raw(HEAD + LENGTH + b"content-length: 3\r\n\r\n" + BODY),
            "could not be read: not valid HTTP",
            id="two lengths",
        ),
    ],
)
async def test_what_cannot_be_read_says_what_it_was(answer: Answer, says: str) -> None:
    async with HttpUpstream() as upstream, serve(upstream.url, 2) as ports:
        await upstream.answer(answer, always=True)
        status, _, value = await post(f"http://127.0.0.1:{ports.http}/v1")
    assert 502 == status
    assert value["error"]["message"].startswith(f"The upstream's answer {says}")


@through
async def test_comments_pass(hops: int) -> None:
    async with HttpUpstream() as upstream, serve(upstream.url, hops) as ports:
        await upstream.answer(sse_answer(b": PROCESSING\n\n", WAIT, chunk("a"), chunk("", "stop")))
        request = {**PING, "stream": True}
        async with posting(f"http://127.0.0.1:{ports.http}/v1", request) as response:
            first = await within(response.content.readany())
            assert first.startswith(b":")
            assert first.endswith(b"\n\n")
            await upstream.go()
            rest = await within(response.content.read())
    assert 2 == rest.count(b"chat.completion.chunk")
    assert rest.endswith(b"data: [DONE]\n\n")


async def test_comments_are_no_responses_for_other_callers() -> None:
    async with HttpUpstream() as upstream, relay(upstream.url) as client:
        await upstream.answer(sse_answer(b": PROCESSING\n\n", chunk("a")))
        assert [[chunk("a")]] == [
            [to_dict(part) for part in response.chunks] async for response in client.stream()
        ]


@pytest.mark.parametrize("whose", ["caller's", "relay's"])
@pytest.mark.parametrize("is_stream", [False, True], ids=["unary", "stream"])
async def test_a_late_call_carries_the_error_object(
    is_stream: bool, whose: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    limit = 1
    timeout = limit if whose == "caller's" else None
    options = Options(limits=Limits(timeout=60 if timeout else limit))
    async with (
        HttpUpstream() as upstream,
        recording_relay(upstream.url, tmp_path, options=options) as client,
    ):
        await upstream.answer(raw(HANG))
        if is_stream:
            call = read_all(client.stub.StreamChatCompletion(stream_request(), timeout=timeout))
        else:
            call = client.stub.CreateChatCompletion(create_request(), timeout=timeout)
        error = await caught(call)
    expected = {
        "error": {"message": "The time is up.", "type": "server_error", "param": None, "code": None}
    }
    assert StatusCode.DEADLINE_EXCEEDED == error.code()
    assert expected == to_dict(details(error)[ErrorResponse])
    [record] = records(tmp_path)
    assert (4, 504) == (record.status, record.http_status)
    assert expected == to_dict(record.error)
    fields: Any = vars(caplog.records[-1])["fields"]
    assert ("DEADLINE_EXCEEDED", "DeadlineError") == (fields["code"], fields["error"])


async def test_too_many_calls_have_openais_type() -> None:
    options = Options(limits=Limits(max_running=1, max_waiting=0))
    async with HttpUpstream() as upstream, relay(upstream.url, options=options) as client:
        await upstream.answer(raw(HANG))
        first = client.create()
        await upstream.next_request()
        error = details(await caught(client.create()))[ErrorResponse].error
        first.cancel()
    assert ("requests", "rate_limit_exceeded") == (error.type, error.code)
