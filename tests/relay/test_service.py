"""The relay: a real server and a real channel."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from grpc import StatusCode, aio

from chatpb import fold, to_dict
from chatpb.sse import DONE, Decoder
from chatpb.v1.chat_completion_service_pb2 import CreateChatCompletionRequest
from chatpb.v1.chat_completion_service_pb2_grpc import ChatCompletionServiceStub
from chatpb_server.core.upstream import RequestBody, UpstreamRequest
from chatpb_server.upstreams.builtin.upstream import BuiltinUpstream
from support.build import PING, chunk, create_request, stream_request
from support.limits import TIMEOUT, within
from support.reaching import LIMITS
from support.scripted import Live, Script, connected, created, streamed


async def test_unary_is_what_the_upstream_said() -> None:
    request = json.dumps({**PING, "n": 2, "logprobs": True, "top_logprobs": 2}).encode()
    expected = await BuiltinUpstream(clock=lambda: 5).create(
        UpstreamRequest(RequestBody(text=request))
    )
    upstream = BuiltinUpstream(clock=lambda: 5)
    actual = await created(upstream, create_request(n=2, logprobs=True, top_logprobs=2))
    assert expected.text is not None
    assert json.loads(expected.text) == actual


async def test_stream_is_what_the_upstream_said() -> None:
    """Chunk by chunk; folded, the stream is the unary answer."""
    upstream = BuiltinUpstream(clock=lambda: 5)
    members = {"n": 2, "logprobs": True, "seed": 3}
    options = {"stream_options": {"include_usage": True}}
    body = json.dumps({**PING, **members, **options, "stream": True}).encode()
    async with upstream.stream(UpstreamRequest(RequestBody(text=body))) as stream:
        data = b"".join([arrived.text or b"" async for arrived in stream.chunks])
    *events, end = Decoder().feed(data)
    assert DONE == end.data
    expected = [[json.loads(part.data)] for part in events]
    actual = await streamed(upstream, stream_request(**members, **options))
    assert expected == actual
    async with connected(upstream) as channel:
        call = ChatCompletionServiceStub(channel).StreamChatCompletion(
            stream_request(**members, **options), timeout=TIMEOUT
        )
        folded = fold([part async for response in call for part in response.chunks])
    completion = await created(upstream, create_request(**members))
    for choice in completion["choices"]:
        assert [] == choice["message"].pop("annotations")  # chunks have none, and fold adds none
    assert completion == to_dict(folded)


async def test_vendor_fields_survive_both_ways() -> None:
    request = {
        "temperature": 1,
        "top_k": 40,
        "chat_template_kwargs": {"thinking": None, "budget": 1.50},
        "messages": [{"role": "critic", "content": [{"type": "video", "url": "x"}], "n": []}],
    }
    answer = {"id": 7, "choices": [{"index": 0, "finish_reason": "abort"}], "kv": {"a": None}}
    upstream = Script([answer])
    assert answer == await created(upstream, create_request(**request))
    assert [[answer]] == await streamed(upstream, stream_request(**request))
    assert [{**PING, **request}, {**PING, **request, "stream": True}] == upstream.requests


@pytest.mark.parametrize(
    ("given", "unary", "stream"),
    [
        pytest.param({}, {}, {"stream": True}, id="absent"),
        pytest.param({"stream": True}, {}, {"stream": True}, id="true"),
        pytest.param({"stream": False}, {"stream": False}, {"stream": True}, id="false"),
        pytest.param({"stream": None}, {"stream": None}, {"stream": True}, id="null"),
    ],
)
async def test_the_rpc_says_whether_to_stream(
    given: dict[str, Any], unary: dict[str, Any], stream: dict[str, Any]
) -> None:
    upstream = Script([{}])
    await created(upstream, create_request(**given))
    await streamed(upstream, stream_request(**given))
    assert [{**PING, **unary}, {**PING, **stream}] == upstream.requests


async def test_a_burst_is_one_message_and_a_lone_chunk_does_not_wait() -> None:
    upstream = Live()
    async with connected(upstream) as channel:
        call = ChatCompletionServiceStub(channel).StreamChatCompletion(
            stream_request(), timeout=TIMEOUT
        )
        for burst in ([chunk("a")], [chunk("b"), chunk("c"), chunk("d")], [chunk("e")]):
            upstream.batches.put_nowait(burst)
            response: Any = await call.read()
            assert burst == [to_dict(part) for part in response.chunks]
        upstream.batches.put_nowait([])  # says nothing, and sends nothing
        upstream.batches.put_nowait(None)
        assert aio.EOF == await call.read()
        assert StatusCode.OK == await call.code()


@pytest.mark.parametrize("is_late", [False, True], ids=["cancel", "deadline"])
async def test_the_upstream_ends_with_a_unary_call(is_late: bool) -> None:
    upstream = Live()
    async with connected(upstream) as channel:
        stub = ChatCompletionServiceStub(channel)
        for seconds in LIMITS if is_late else (None,):
            call = stub.CreateChatCompletion(create_request(), timeout=seconds)
            if not is_late:
                await within(upstream.started.wait())
                call.cancel()
            code = StatusCode.DEADLINE_EXCEEDED if is_late else StatusCode.CANCELLED
            assert code == await call.code()
            if upstream.started.is_set():
                break
        await within(upstream.ended.wait())


UNTIL: list[Any] = [
    pytest.param(lambda call: call.cancel(), StatusCode.CANCELLED, None, id="cancel"),
    pytest.param(lambda _: None, StatusCode.DEADLINE_EXCEEDED, 1.5, id="deadline"),
]


@pytest.mark.parametrize(("leave", "code", "timeout"), UNTIL)
async def test_the_upstream_ends_with_a_streaming_call(
    leave: Callable[[Any], Any], code: StatusCode, timeout: float | None
) -> None:
    upstream = Live()
    async with connected(upstream) as channel:
        stub = ChatCompletionServiceStub(channel)
        call = stub.StreamChatCompletion(stream_request(), timeout=timeout)
        upstream.batches.put_nowait([chunk("a")])
        assert aio.EOF != await call.read()
        leave(call)
        assert code == await call.code()
        await within(upstream.ended.wait())


async def test_the_upstream_ends_while_the_caller_does_not_read() -> None:
    """The call waits to write; the upstream's generator is closed all the same."""
    upstream = Live()
    big = chunk("x" * 1_000_000)
    for _ in range(20):
        upstream.batches.put_nowait([big])
    async with connected(upstream) as channel:
        call = ChatCompletionServiceStub(channel).StreamChatCompletion(stream_request())
        await call.read()
        assert not upstream.batches.empty()
        call.cancel()
        await within(upstream.ended.wait())
        assert not upstream.batches.empty()


async def test_an_empty_request_is_refused() -> None:
    with pytest.raises(aio.AioRpcError) as caught:
        await created(BuiltinUpstream(), CreateChatCompletionRequest())
    assert "you must provide a model parameter" == caught.value.details()


async def test_messages_may_be_large() -> None:
    """More than gRPC's own limit of 4 MiB, to the relay; the caller sets its own limit."""
    content = "x" * 5_000_000
    upstream = Script([{}])
    request = create_request(messages=[{"role": "user", "content": content}])
    await created(upstream, request)
    assert content == upstream.requests[0]["messages"][0]["content"]
