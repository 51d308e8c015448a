"""Clients and transports that are closed, in another event loop, or given wrong arguments."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import httpx2
import pytest

import chatpb
from chatpb.client import AsyncClient, Client
from chatpb.transport import AsyncGrpcTransport, GrpcTransport
from chatpb.v1 import CreateChatCompletionResponse, StreamChatCompletionResponse
from chatpb.v1.chat_completion_service_pb2_grpc import (
    ChatCompletionServiceServicer,
    add_ChatCompletionServiceServicer_to_server,
)
from support.build import PING
from support.chat_server import CHUNKS, COMPLETION
from support.limits import within

Ask = Callable[[Any], Coroutine[Any, Any, object]]


class _Servicer(ChatCompletionServiceServicer):
    def CreateChatCompletion(self, _request: object, _context: object) -> Any:  # noqa: N802
        return CreateChatCompletionResponse(completion=COMPLETION)

    def StreamChatCompletion(self, _request: object, _context: object) -> Any:  # noqa: N802
        yield StreamChatCompletionResponse(chunks=CHUNKS)


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a server without an event loop."""
    with ThreadPoolExecutor(2) as threads:
        server = grpc.server(threads)
        add_ChatCompletionServiceServicer_to_server(_Servicer(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(None).wait()


def _request(**timeout: Any) -> httpx2.Request:
    return httpx2.Request(
        "POST", "http://x/v1/chat/completions", json=PING, extensions={"timeout": timeout}
    )


async def _create(client: AsyncClient) -> object:
    return await within(client.create(PING))


async def _stream(client: AsyncClient) -> object:
    return await within(client.stream(PING).fold())


async def _send(transport: AsyncGrpcTransport) -> object:
    return await within(transport.handle_async_request(_request()))


in_a_loop = pytest.mark.parametrize(
    ("make", "ask", "what"),
    [
        pytest.param(AsyncClient, _create, "client", id="create"),
        pytest.param(AsyncClient, _stream, "client", id="stream"),
        pytest.param(AsyncGrpcTransport, _send, "transport", id="transport"),
    ],
)


def _refused(what: str, reason: str, run: Callable[[], object]) -> None:
    with pytest.raises(RuntimeError, match=f"^the {what} {reason}") as caught:
        run()
    assert isinstance(caught.value, chatpb.ChatpbError)


@in_a_loop
def test_a_second_event_loop(server: str, make: Any, ask: Ask, what: str) -> None:
    """After that of the first call has ended, and while it runs."""
    made = make(server)
    asyncio.run(ask(made))
    _refused(what, "belongs to the event loop of its first use", lambda: asyncio.run(ask(made)))

    async def both() -> None:
        other = make(server)
        await ask(other)
        with pytest.raises(chatpb.ChatpbError, match="belongs to the event loop"):
            await asyncio.to_thread(asyncio.run, ask(other))
        await ask(other)
        await (other.close() if what == "client" else other.aclose())

    asyncio.run(both())
    asyncio.run(made.close() if what == "client" else made.aclose())


def test_a_stream_in_a_second_event_loop(server: str) -> None:
    async def begin() -> Any:
        stream = AsyncClient(server).stream(PING)
        await within(anext(stream))
        return stream

    stream = asyncio.run(begin())
    _refused("stream", "belongs to the event loop", lambda: asyncio.run(stream.fold()))


def test_a_client_for_asyncio_without_an_event_loop() -> None:
    client = AsyncClient("127.0.0.1:1")
    _refused("client", "needs a running event loop", lambda: client.stream(PING))


@pytest.mark.parametrize("is_used", [False, True], ids=["unused", "used"])
@in_a_loop
def test_one_for_asyncio_that_is_closed(
    server: str, make: Any, ask: Ask, what: str, is_used: bool
) -> None:
    async def run() -> None:
        made = make(server)
        if is_used:
            await ask(made)
        for _ in range(2):
            await (made.close() if what == "client" else made.aclose())
        await ask(made)

    _refused(what, "is closed", lambda: asyncio.run(run()))


@pytest.mark.parametrize("is_used", [False, True], ids=["unused", "used"])
@pytest.mark.parametrize(
    ("make", "ask", "what"),
    [
        pytest.param(Client, lambda client: client.create(PING), "client", id="create"),
        pytest.param(Client, lambda client: client.stream(PING).fold(), "client", id="stream"),
        pytest.param(
            GrpcTransport,
            lambda transport: transport.handle_request(_request()),
            "transport",
            id="transport",
        ),
    ],
)
def test_one_without_asyncio_that_is_closed(
    server: str, make: Any, ask: Any, what: str, is_used: bool
) -> None:
    made = make(server)
    if is_used:
        ask(made)
    made.close()
    made.close()
    _refused(what, "is closed", lambda: ask(made))


@pytest.mark.parametrize("make", [Client, AsyncClient, GrpcTransport, AsyncGrpcTransport])
@pytest.mark.parametrize(
    ("arguments", "kind", "expected"),
    [
        pytest.param({"target": 5}, TypeError, "a str as the target, got an int", id="target"),
        pytest.param({"token": b"s"}, TypeError, "a str as the token, got a bytes", id="token"),
        pytest.param(
            {"credentials": "s"},
            TypeError,
            "grpc.ChannelCredentials as the credentials, got a str",
            id="credentials",
        ),
        pytest.param(
            {"metadata": {"a": "s"}},
            TypeError,
            "metadata as pairs of a key and a value, got a dict",
            id="metadata is a dict",
        ),
        pytest.param(
            {"metadata": ["a=s"]},
            TypeError,
            "metadata as pairs of a key and a value, got a str",
            id="metadata is text",
        ),
        pytest.param(
            {"metadata": [(5, "s")]},
            TypeError,
            "a str as a key of metadata, got an int",
            id="a key is a number",
        ),
        pytest.param(
            {"metadata": [("a", 5)]},
            TypeError,
            "a str or bytes as the value of 'a', got an int",
            id="a value is a number",
        ),
    ],
)
def test_what_none_can_be_made_with(
    make: Any, arguments: Any, kind: type[Exception], expected: str
) -> None:
    with pytest.raises(chatpb.ChatpbError) as caught:
        make(**{"target": "127.0.0.1:1", **arguments})
    assert isinstance(caught.value, kind)
    assert f"expected {expected}" == str(caught.value)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (GrpcTransport, "httpx2.BaseTransport"),
        (AsyncGrpcTransport, "httpx2.AsyncBaseTransport"),
    ],
)
def test_a_fallback_of_the_wrong_type(make: Any, expected: str) -> None:
    other = httpx2.HTTPTransport() if make is AsyncGrpcTransport else httpx2.AsyncHTTPTransport()
    for fallback, got in ((5, "an int"), (b"http://x", "a bytes"), (other, type(other).__name__)):
        with pytest.raises(TypeError) as caught:
            make("127.0.0.1:1", fallback=fallback)
        assert isinstance(caught.value, chatpb.ChatpbError)
        assert f"expected a URL or an {expected} as the fallback, got" in str(caught.value)
        assert str(caught.value).endswith(got)


@pytest.mark.parametrize("make", [GrpcTransport, AsyncGrpcTransport])
@pytest.mark.parametrize("fallback", ["", "nonsense", "api.openai.com/v1", "ftp://x", "http://a:x"])
def test_a_fallback_that_is_no_url(make: Any, fallback: str) -> None:
    with pytest.raises(ValueError, match=r"^expected a URL such as https://") as caught:
        make("127.0.0.1:1", fallback=fallback)
    assert isinstance(caught.value, chatpb.ChatpbError)


@pytest.mark.parametrize(
    ("timeout", "kind", "got"),
    [
        pytest.param("3", TypeError, "a str", id="text"),
        pytest.param([3], TypeError, "a list", id="list"),
        pytest.param(math.nan, ValueError, "NaN", id="nan"),
        pytest.param(10**400, ValueError, "too large a number", id="large"),
    ],
)
@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda timeout: Client("127.0.0.1:1", timeout=timeout), id="client"),
        pytest.param(lambda timeout: AsyncClient("127.0.0.1:1", timeout=timeout), id="async"),
        pytest.param(
            lambda timeout: Client("127.0.0.1:1").create(PING, timeout=timeout), id="create"
        ),
        pytest.param(
            lambda timeout: Client("127.0.0.1:1").stream(PING, timeout=timeout), id="stream"
        ),
        pytest.param(
            lambda timeout: asyncio.run(AsyncClient("127.0.0.1:1").create(PING, timeout=timeout)),
            id="async create",
        ),
        pytest.param(
            lambda timeout: GrpcTransport("127.0.0.1:1").handle_request(_request(read=timeout)),
            id="read",
        ),
        pytest.param(
            lambda timeout: GrpcTransport("127.0.0.1:1").handle_request(_request(connect=timeout)),
            id="connect",
        ),
    ],
)
def test_a_timeout_that_is_no_number(
    use: Any, timeout: Any, kind: type[Exception], got: str
) -> None:
    with pytest.raises(chatpb.ChatpbError) as caught:
        use(timeout)
    assert isinstance(caught.value, kind)
    assert f"expected a timeout in seconds, got {got}" == str(caught.value)
