"""How calls of both clients fail."""

from __future__ import annotations

import pickle
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RequestInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode

import chatpb
from chatpb.client import AsyncClient, ChatCompletionError
from chatpb.v1 import (
    Error,
    ErrorResponse,
)
from support.build import PING
from support.calls import status
from support.chat_server import CHUNKS, COMPLETION, TRAILERS, Server
from support.clients import both_calls, failure
from support.limits import within

OPENAI = Error(message="slow down", type="rate_limit", code="rate_limit_exceeded")


class Raw(grpc.Status):
    """A status with any bytes as its details."""

    def __init__(self, code: StatusCode, details: str, data: bytes) -> None:
        self.code, self.details = code, details
        self.trailing_metadata: Any = (("grpc-status-details-bin", data),)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        pytest.param(
            status(
                StatusCode.RESOURCE_EXHAUSTED,
                "the status",
                ErrorResponse(error=OPENAI),
                RetryInfo(retry_delay=Duration(seconds=2, nanos=500_000_000)),
                RequestInfo(request_id="call_1"),
            ),
            (StatusCode.RESOURCE_EXHAUSTED, "slow down", OPENAI, 2.5, "call_1"),
            id="all",
        ),
        pytest.param(
            status(StatusCode.INVALID_ARGUMENT, "the status", ErrorResponse(error=OPENAI)),
            (StatusCode.INVALID_ARGUMENT, "slow down", OPENAI, None, "req_7"),
            id="openai",
        ),
        pytest.param(
            status(
                StatusCode.INTERNAL,
                "the status",
                chatpb.from_dict({"error": "a string"}, ErrorResponse),
                RetryInfo(),
            ),
            (StatusCode.INTERNAL, "the status", None, None, "req_7"),
            id="no-object",
        ),
        pytest.param(
            status(StatusCode.INTERNAL, "the status"),
            (StatusCode.INTERNAL, "the status", None, None, "req_7"),
            id="no-details",
        ),
        pytest.param(
            status(StatusCode.INTERNAL, "the status", COMPLETION),
            (StatusCode.INTERNAL, "the status", None, None, "req_7"),
            id="other-details",
        ),
        pytest.param(
            Raw(StatusCode.INTERNAL, "", b""),
            (StatusCode.INTERNAL, "no details", None, None, "req_7"),
            id="empty",
        ),
        pytest.param(
            Raw(StatusCode.INTERNAL, "the status", b"\xff"),
            (StatusCode.INTERNAL, "the status", None, None, "req_7"),
            id="unreadable-details",
        ),
        pytest.param(
            Raw(StatusCode.INTERNAL, "the status", Status(code=5).SerializeToString()),
            (StatusCode.INTERNAL, "the status", None, None, "req_7"),
            id="contradiction",
        ),
    ],
)
@both_calls
async def test_errors(
    connect: Any, server: Server, stream: bool, made: grpc.Status, expected: tuple[Any, ...]
) -> None:
    server.failures = [made]
    async with connect(server.address) as client:
        error = await failure(client, stream)
    actual = (error.code, error.message, error.error, error.retry_after, error.request_id)
    assert expected == actual
    assert f"{error.code.name}: {error.message}" == str(error)
    assert {**error.metadata, **dict(TRAILERS)} == error.metadata
    assert 1 == len(server.requests)


async def test_errors_can_be_sent_to_other_processes(server: Server) -> None:
    server.failures = [status(StatusCode.INTERNAL, "", ErrorResponse(error=OPENAI))]
    async with AsyncClient(server.address) as client:
        error = await failure(client)
    same = pickle.loads(pickle.dumps(error))
    assert (vars(error), str(error)) == (vars(same), str(same))


async def test_a_stream_that_fails_gives_its_chunks_first(connect: Any, server: Server) -> None:
    server.after = 2
    server.failures = [status(StatusCode.UNAVAILABLE, "gone")]
    async with connect(server.address) as client, client.stream(PING) as stream:
        assert CHUNKS[:2] == [await within(anext(stream)) for _ in range(2)]
        with pytest.raises(ChatCompletionError, match=r"^UNAVAILABLE: gone$") as caught:
            await within(anext(stream))
        with pytest.raises(ChatCompletionError) as again:
            await within(stream.fold())
        assert caught.value is again.value
        assert caught.value.metadata == stream.metadata
    assert 1 == len(server.requests)  # a stream that has begun is not retried


async def test_no_server(connect: Any) -> None:
    async with connect("127.0.0.1:1") as client:
        error = await failure(client)
    assert (StatusCode.UNAVAILABLE, None, None) == (error.code, error.error, error.request_id)


class Rubbish(grpc.GenericRpcHandler):
    """Answers each call with bytes that are not a message."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """The handler of an rpc."""

        async def create(request: bytes, context: Any) -> bytes:  # noqa: ARG001 (gRPC gives them)
            return b"\xff"

        async def stream(request: bytes, context: Any) -> AsyncIterator[bytes]:  # noqa: ARG001
            yield b"\xff"

        if "Stream" in handler_call_details.method:
            return grpc.unary_stream_rpc_method_handler(stream)
        return grpc.unary_unary_rpc_method_handler(create)


@both_calls
async def test_an_answer_that_cannot_be_read(connect: Any, stream: bool) -> None:
    server = grpc.aio.server(handlers=[Rubbish()])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with connect(f"127.0.0.1:{port}") as client:
        assert StatusCode.INTERNAL == (await failure(client, stream)).code
    await server.stop(0)
