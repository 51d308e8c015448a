"""OpenAI's SDK over gRPC: what it makes of the statuses and metadata of servers."""

from __future__ import annotations

from typing import Any

import grpc
import httpx2
import openai
import pytest
from google.rpc.error_details_pb2 import RequestInfo, RetryInfo
from grpc import StatusCode

from chatpb import from_dict
from chatpb._rpc.status import HTTP_STATUSES
from chatpb.v1 import (
    Error,
    ErrorResponse,
)
from support.build import PING, chunk
from support.calls import status
from support.grpc_stub import served
from support.sdk import (
    Sdk,
    grpc_transport,
)

OPENAI = ErrorResponse(error=Error(message="no", type="t"))


DELAY = RetryInfo()


DELAY.retry_delay.FromMilliseconds(1500)


@pytest.mark.parametrize("code", list(HTTP_STATUSES))
async def test_statuses_stand_for_http_statuses(is_async: bool, code: StatusCode) -> None:
    """The same as in the relay's HTTP API."""
    async with served() as stub, Sdk(is_async, grpc_transport(is_async, stub.target)) as sdk:
        stub.failure = status(code, "no", OPENAI, DELAY, RequestInfo(request_id="r"))
        for stream in (False, True):
            failure: Any = await sdk.failure(stream=stream)
            assert HTTP_STATUSES[code] == failure.status_code
            assert ("no", "r") == (failure.body["message"], failure.request_id)
            headers = failure.response.headers
            assert ("2", "1500") == (headers["retry-after"], headers["retry-after-ms"])


@pytest.mark.parametrize(
    ("failure", "expected", "cause"),
    [
        pytest.param(StatusCode.UNAVAILABLE, openai.APIConnectionError, httpx2.ConnectError),
        pytest.param(StatusCode.CANCELLED, openai.APIConnectionError, httpx2.RemoteProtocolError),
        pytest.param(StatusCode.DEADLINE_EXCEEDED, openai.APITimeoutError, httpx2.ReadTimeout),
        pytest.param(StatusCode.UNIMPLEMENTED, openai.InternalServerError, None),
        pytest.param(StatusCode.UNAUTHENTICATED, openai.AuthenticationError, None),
        pytest.param(StatusCode.PERMISSION_DENIED, openai.PermissionDeniedError, None),
        pytest.param(StatusCode.RESOURCE_EXHAUSTED, openai.RateLimitError, None),
        pytest.param(StatusCode.INTERNAL, openai.InternalServerError, None),
    ],
)
async def test_statuses_without_details(
    is_async: bool, failure: StatusCode, expected: Any, cause: Any
) -> None:
    """Proxies and gRPC itself send them."""
    async with served() as stub, Sdk(is_async, grpc_transport(is_async, stub.target)) as sdk:
        stub.failure = status(failure, "why")
        for stream in (False, True):
            raised = await sdk.failure(stream=stream)
            assert expected is type(raised)
            assert cause is (None if raised.__cause__ is None else type(raised.__cause__))
            if cause is None:
                body: Any = raised.body
                assert "why" == body["message"]
            else:
                assert "why" == str(raised.__cause__)


@pytest.mark.parametrize(
    ("failure", "expected", "cause"),
    [
        pytest.param(
            status(StatusCode.UNAVAILABLE, "why"),
            openai.APIConnectionError,
            httpx2.RemoteProtocolError,
            id="unavailable",
        ),
        pytest.param(
            status(StatusCode.DEADLINE_EXCEEDED, "why"),
            openai.APITimeoutError,
            httpx2.ReadTimeout,
            id="deadline",
        ),
        pytest.param(
            status(StatusCode.DATA_LOSS, "why", OPENAI),
            openai.APIConnectionError,
            httpx2.RemoteProtocolError,
            id="broken",
        ),
        pytest.param(
            status(StatusCode.UNAVAILABLE, "why", OPENAI), openai.APIError, None, id="error"
        ),
    ],
)
async def test_statuses_in_the_middle_of_a_stream(
    is_async: bool, failure: grpc.Status, expected: Any, cause: Any
) -> None:
    async with served() as stub, Sdk(is_async, grpc_transport(is_async, stub.target)) as sdk:
        stub.failure, stub.after = failure, True
        chunks, raised = await sdk.stream()
    assert ([chunk("a")], expected) == (chunks, type(raised))
    assert raised is not None
    assert cause is (None if raised.__cause__ is None else type(raised.__cause__))


async def test_an_error_in_a_shape_that_the_sdk_would_not_see(is_async: bool) -> None:
    flat = {"message": "no", "code": 7}
    async with served() as stub, Sdk(is_async, grpc_transport(is_async, stub.target)) as sdk:
        stub.failure = status(StatusCode.INTERNAL, "no", from_dict(flat, ErrorResponse))
        stub.after = True
        chunks, raised = await sdk.stream()
    assert ([chunk("a")], flat) == (chunks, getattr(raised, "body", None))


async def test_metadata_become_headers(is_async: bool) -> None:
    def call(client: Any) -> Any:
        return client.chat.completions.with_raw_response.create(**PING)

    async with served() as stub, Sdk(is_async, grpc_transport(is_async, stub.target)) as sdk:
        stub.initial = (("x-request-id", "first"), ("content-encoding", "br"), ("x-a", "1"))
        stub.trailing = (("x-request-id", "last"), ("x-b", "2"), ("chatpb-http-status", "200"))
        headers = dict((await sdk.run(call)).headers)
    assert headers.pop("content-length")
    expected = {"x-request-id": "first", "x-a": "1", "x-b": "2", "content-type": "application/json"}
    assert expected == headers


async def test_the_upstreams_status_is_told_as_it_was(is_async: bool) -> None:
    async with served() as stub, Sdk(is_async, grpc_transport(is_async, stub.target)) as sdk:
        stub.failure = status(StatusCode.INVALID_ARGUMENT, "no", OPENAI)
        for told, expected in (
            ("422", 422),
            ("x", 400),
            ("200", 400),
            ("302", 400),
            ("999", 400),
        ):
            stub.trailing = (("chatpb-http-status", told),)
            failure: Any = await sdk.failure()
            assert expected == failure.status_code


async def test_messages_that_are_too_large_are_not_tried_again(is_async: bool) -> None:
    async with served(options=[("grpc.max_receive_message_length", 1000)]) as stub:
        async with Sdk(is_async, grpc_transport(is_async, stub.target), max_retries=2) as sdk:
            failure: Any = await sdk.failure(user="x" * 2000)
        assert 413 == failure.status_code
        options = [("grpc.max_send_message_length", 100)]
        transport = grpc_transport(is_async, stub.target, options=options)
        async with Sdk(is_async, transport, max_retries=2) as sdk:
            failure = await sdk.failure(user="x" * 200)
        assert 413 == failure.status_code
    assert [] == stub.requests


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\x05abc", b"\x0a\x02\x12\xff"])
@pytest.mark.parametrize("stream", [False, True], ids=["create", "stream"])
async def test_answers_that_cannot_be_read(is_async: bool, stream: bool, data: bytes) -> None:
    async with served() as stub, Sdk(is_async, grpc_transport(is_async, stub.target)) as sdk:
        stub.data = data
        raised = (await sdk.stream())[1] if stream else await sdk.failure()
        assert raised is not None
        assert openai.APIConnectionError is type(raised)
        assert httpx2.DecodingError is type(raised.__cause__)
