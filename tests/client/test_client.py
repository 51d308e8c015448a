"""The client and its twin, over real channels, against a server that does as it is told.

Each test is written once, for the asyncio client: `Twin` gives the other one the same face.
"""

from __future__ import annotations

import asyncio
import copy
import math
import pickle
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
import trustme
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import RequestInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode
from grpc_status import rpc_status

import chatpb
from chatpb import ConversionError
from chatpb.client import AsyncClient, ChatCompletionError, ChatCompletionStream, Client
from chatpb.v1 import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionRequest,
    CreateChatCompletionRequest,
    CreateChatCompletionResponse,
    Error,
    ErrorResponse,
    StreamChatCompletionRequest,
    StreamChatCompletionResponse,
)
from chatpb.v1.chat_completion_service_pb2_grpc import (
    ChatCompletionServiceServicer,
    add_ChatCompletionServiceServicer_to_server,
)
from support.build import PING
from support.limits import TIMEOUT, within

TRAILERS = (("x-ratelimit-remaining", "7"), ("x-request-id", "req_7"), ("x-raw-bin", b"\0\xff"))
COMPLETION = ChatCompletion(id="a", model="m")
CHUNKS = [
    chatpb.from_dict({"id": "a", "choices": [{"index": 0, "delta": delta}]}, ChatCompletionChunk)
    for delta in ({"role": "assistant"}, {"content": "po"}, {"content": "ng"})
]
OPENAI = Error(message="slow down", type="rate_limit", code="rate_limit_exceeded")


class Server(ChatCompletionServiceServicer):
    """Answers with COMPLETION and CHUNKS, and keeps what it was asked.

    Attributes:
        failures: How the next calls end, one each.
        after: How many chunks come before a stream fails or holds.
        holds: Whether calls never end by themselves.
        size: How many characters the model's name has in completions.
        requests: What was asked.
        metadata: The metadata of each call.
        remaining: The seconds that each call had.
        began: Set when a call is held.
        ended: Set when a call that was held is over.
    """

    def __init__(self) -> None:
        self.address = ""
        self.failures: list[grpc.Status] = []
        self.after = 0
        self.holds = False
        self.size = 1
        self.requests: list[ChatCompletionRequest] = []
        self.metadata: list[list[tuple[str, Any]]] = []
        self.remaining: list[float | None] = []
        self.began = asyncio.Event()
        self.ended = asyncio.Event()

    async def CreateChatCompletion(  # noqa: N802 (gRPC's name)
        self, request: CreateChatCompletionRequest, context: Any
    ) -> CreateChatCompletionResponse:
        """Answers with the completion."""
        self._note(request.request, context)
        await self._trouble(context)
        completion = copy.deepcopy(COMPLETION)
        completion.model *= self.size
        return CreateChatCompletionResponse(completion=completion)

    async def StreamChatCompletion(  # noqa: N802
        self, request: StreamChatCompletionRequest, context: Any
    ) -> AsyncIterator[StreamChatCompletionResponse]:
        """Answers with the chunks, the last two together."""
        self._note(request.request, context)
        if self.after:
            yield StreamChatCompletionResponse(chunks=CHUNKS[: self.after])
        await self._trouble(context)
        if not self.after:
            yield StreamChatCompletionResponse(chunks=CHUNKS[:1])
            yield StreamChatCompletionResponse(chunks=CHUNKS[1:])

    def _note(self, request: ChatCompletionRequest, context: Any) -> None:
        self.requests.append(request)
        self.metadata.append(list(context.invocation_metadata()))
        self.remaining.append(context.time_remaining())
        context.set_trailing_metadata(TRAILERS)

    async def _trouble(self, context: Any) -> None:
        if self.holds:
            self.began.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.ended.set()
        if self.failures:
            failure = self.failures.pop(0)
            trailers = (*failure.trailing_metadata, *TRAILERS)
            await context.abort(failure.code, failure.details, trailers)


@asynccontextmanager
async def served(credentials: grpc.ServerCredentials | None = None) -> AsyncIterator[Server]:
    """A server on a port of its own."""
    server, servicer = grpc.aio.server(), Server()
    options: Any = server  # the stub's type wants a server of either kind
    add_ChatCompletionServiceServicer_to_server(servicer, options)
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    servicer.address = f"127.0.0.1:{port}"
    try:
        yield servicer
    finally:
        await server.stop(0)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with served() as servicer:
        yield servicer


class Twin:
    """The client without asyncio, each of its calls in a thread."""

    def __init__(self, target: str, **options: Any) -> None:
        self.client = Client(target, **options)

    async def create(self, *args: Any, **call: Any) -> Any:
        """As of the client."""
        return await asyncio.to_thread(self.client.create, *args, **call)

    async def create_with_metadata(self, *args: Any, **call: Any) -> Any:
        """As of the client."""
        return await asyncio.to_thread(self.client.create_with_metadata, *args, **call)

    def stream(self, *args: Any, **call: Any) -> TwinStream:
        """As of the client."""
        return TwinStream(self.client.stream(*args, **call))

    async def close(self) -> None:
        """As of the client, as its context manager does it."""
        with self.client as client:
            assert client is self.client

    async def __aenter__(self) -> Twin:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class TwinStream:
    """The stream without asyncio, each step of it in a thread."""

    def __init__(self, stream: ChatCompletionStream) -> None:
        self.stream = stream

    @property
    def metadata(self) -> Any:
        """As of the stream."""
        return self.stream.metadata

    async def fold(self) -> Any:
        """As of the stream."""
        return await asyncio.to_thread(self.stream.fold)

    def __aiter__(self) -> TwinStream:
        return self

    async def __anext__(self) -> Any:
        chunk = await asyncio.to_thread(next, iter(self.stream), None)
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    async def __aenter__(self) -> TwinStream:
        assert self.stream.__enter__() is self.stream
        return self

    async def __aexit__(self, *reason: object) -> None:
        self.stream.__exit__(*reason)


@pytest.fixture(params=[AsyncClient, Twin], ids=["async", "sync"])
def connect(request: pytest.FixtureRequest) -> Any:
    """Makes a client of one kind or the other; for the type checker it may be any."""
    return request.param


async def asked(client: Any, stream: bool, **call: Any) -> ChatCompletion:
    """What a call of one kind or the other answers, soon."""
    made = client.stream(PING, **call).fold() if stream else client.create(PING, **call)
    completion: ChatCompletion = await within(made)
    return completion


async def failure(client: Any, stream: bool = False, **call: Any) -> ChatCompletionError:
    """How a call fails."""
    with pytest.raises(ChatCompletionError) as caught:
        await asked(client, stream, **call)
    return caught.value


both_calls = pytest.mark.parametrize("stream", [False, True], ids=["create", "stream"])


def status(code: StatusCode, message: str, *details: Message) -> grpc.Status:
    made = Status(code=code.value[0], message=message)
    for detail in details:
        made.details.add().Pack(detail)
    return rpc_status.to_status(made)


class Raw(grpc.Status):
    """A status whose details are any bytes."""

    def __init__(self, code: StatusCode, details: str, data: bytes) -> None:
        self.code, self.details = code, details
        self.trailing_metadata: Any = (("grpc-status-details-bin", data),)


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(PING, id="members"),
        pytest.param(chatpb.from_dict(PING, ChatCompletionRequest), id="message"),
    ],
)
async def test_create(connect: Any, server: Server, request_: Any) -> None:
    async with connect(server.address) as client:
        completion, metadata = await within(client.create_with_metadata(request_))
        assert COMPLETION == completion == await within(client.create(request_))
    assert dict(TRAILERS) == metadata
    assert [chatpb.from_dict(PING, ChatCompletionRequest)] * 2 == server.requests


async def test_large_messages(connect: Any, server: Server) -> None:
    server.size = 24 << 20
    async with connect(server.address) as client:
        assert server.size == len((await asked(client, stream=False)).model)


async def test_a_request_that_is_no_json_is_not_sent(connect: Any, server: Server) -> None:
    async with connect(server.address) as client:
        with pytest.raises(ConversionError, match="model"):
            await client.create({"model": object()})
        with pytest.raises(ConversionError, match="model"):
            client.stream({"model": object()})
    assert [] == server.requests


async def test_stream(connect: Any, server: Server) -> None:
    async with connect(server.address) as client, client.stream(PING) as stream:
        assert {} == stream.metadata
        assert CHUNKS == [chunk async for chunk in stream]
        assert dict(TRAILERS) == stream.metadata
        assert [] == [chunk async for chunk in stream]
    assert [chatpb.from_dict(PING, ChatCompletionRequest)] == server.requests


@pytest.mark.parametrize("take", [0, 1, 2, 3])
async def test_fold(connect: Any, server: Server, take: int) -> None:
    """Chunks that were read before are a part of the completion."""
    async with connect(server.address) as client:
        async with client.stream(PING) as stream:
            assert CHUNKS[:take] == [await anext(stream) for _ in range(take)]
            completion = await within(stream.fold())
        assert completion == await stream.fold()  # also when it was left
    assert chatpb.fold(CHUNKS) == completion
    assert "pong" == completion.choices[0].message.content


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
    assert 1 == len(server.requests)  # a stream that has begun is not tried again


@both_calls
@pytest.mark.parametrize("code", [StatusCode.UNAVAILABLE, StatusCode.CANCELLED])
async def test_what_a_stopping_server_says_is_tried_again(
    connect: Any, server: Server, stream: bool, code: StatusCode
) -> None:
    async with connect(server.address) as client:
        server.failures = [status(code, "busy")] * 2
        await asked(client, stream)
        assert 3 == len(server.requests)
        server.failures = [status(code, "busy")] * 4
        assert f"{code.name}: busy" == str(await failure(client, stream))
    assert 6 == len(server.requests)


async def test_no_server(connect: Any) -> None:
    async with connect("127.0.0.1:1") as client:
        error = await failure(client)
    assert (StatusCode.UNAVAILABLE, None, None) == (error.code, error.error, error.request_id)


async def test_calls_go_to_all_servers(connect: Any, server: Server) -> None:
    async with (
        served() as other,
        connect(f"ipv4:{server.address},{other.address}") as client,
        asyncio.timeout(TIMEOUT),
    ):
        while not (server.requests and other.requests):
            await client.create(PING)


@pytest.mark.parametrize(
    ("options", "call", "expected"),
    [
        pytest.param({}, {}, 600, id="default"),
        pytest.param({"timeout": 90}, {}, 90, id="client"),
        pytest.param({"timeout": 90}, {"timeout": 30}, 30, id="call"),
        pytest.param({"timeout": 90}, {"timeout": math.inf}, None, id="call-forever"),
        pytest.param({"timeout": math.inf}, {}, None, id="client-forever"),
        pytest.param({"timeout": 1e300}, {}, None, id="very-long"),
    ],
)
async def test_deadlines(
    connect: Any, server: Server, options: Any, call: Any, expected: float | None
) -> None:
    async with connect(server.address, **options) as client:
        await asked(client, stream=False, **call)
        await asked(client, stream=True, **call)
    for remaining in server.remaining:
        if expected is None or remaining is None:
            assert expected == remaining
        else:  # gRPC rounds up
            assert expected == pytest.approx(remaining, abs=5)


@both_calls
async def test_a_deadline_that_passes(connect: Any, server: Server, stream: bool) -> None:
    server.holds = True
    async with connect(server.address) as client:
        error = await failure(client, stream, timeout=0.3)
    assert StatusCode.DEADLINE_EXCEEDED == error.code
    await within(server.ended.wait())


async def test_leaving_a_stream_cancels_it(connect: Any, server: Server) -> None:
    server.after, server.holds = 2, True
    async with connect(server.address) as client:
        async with client.stream(PING) as stream:
            assert CHUNKS[0] == await within(anext(stream))
        await within(server.ended.wait())
        for read in (stream.__anext__, stream.fold):
            with pytest.raises(ChatCompletionError, match="CANCELLED: the stream was left"):
                await within(read())


@both_calls
async def test_cancelling_the_task_cancels_the_call(server: Server, stream: bool) -> None:
    server.holds = True
    async with AsyncClient(server.address) as client:
        chunks = client.stream(PING) if stream else None
        task = asyncio.ensure_future(chunks.fold() if chunks else client.create(PING))
        await within(server.began.wait())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await within(task)
        await within(server.ended.wait())
        if chunks:
            with pytest.raises(ChatCompletionError, match="CANCELLED: the stream was interrupted"):
                await chunks.fold()


@both_calls
async def test_closing_the_client_ends_its_calls(
    connect: Any, server: Server, stream: bool
) -> None:
    """As CANCELLED, while the task that waits goes on."""
    server.holds = True
    client = connect(server.address)
    task = asyncio.ensure_future(failure(client, stream))
    await within(server.began.wait())
    await client.close()
    assert StatusCode.CANCELLED == (await within(task)).code
    with pytest.raises(RuntimeError, match="the client is closed"):
        await client.create(PING)
    with pytest.raises(RuntimeError, match="the client is closed"):
        client.stream(PING)


def test_an_async_client_can_be_made_and_closed_without_a_loop() -> None:
    client = AsyncClient("127.0.0.1:1")
    asyncio.run(client.close())


async def test_metadata(connect: Any, server: Server) -> None:
    options = {"token": "secret", "metadata": [("X-Team", "a"), ("x-raw-bin", b"\0")]}
    async with connect(server.address, **options) as client:
        await within(client.create(PING, metadata=[("x-team", "b")]))
    sent = [(key, value) for key, value in server.metadata[0] if key != "user-agent"]
    expected = [
        ("authorization", "Bearer secret"),
        ("x-team", "a"),
        ("x-raw-bin", b"\0"),
        ("x-team", "b"),
    ]
    assert sorted(expected, key=str) == sorted(sent, key=str)


def test_the_token_is_not_shown() -> None:
    with Client("127.0.0.1:1", token="secret") as client:
        assert "Client('127.0.0.1:1')" == repr(client)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param({"token": "a\nb"}, "'authorization'", id="token"),
        pytest.param({"token": "é"}, "'authorization'", id="token-not-ascii"),
        pytest.param({"metadata": [("a b", "c")]}, "'a b'", id="key"),
        pytest.param({"metadata": [("a", b"\0")]}, "'a'", id="bytes"),
        pytest.param({"metadata": [("a-bin", "c")]}, "'a-bin'", id="text"),
    ],
)
async def test_metadata_that_cannot_be_sent(
    connect: Any, server: Server, arguments: Any, expected: str
) -> None:
    """The error names the key, but never the value."""
    with pytest.raises(ValueError, match=expected) as caught:
        connect(server.address, **arguments)
    assert "a\nb" not in str(caught.value)
    if "metadata" in arguments:
        with pytest.raises(ValueError, match=expected):
            await asked(connect(server.address), stream=False, **arguments)


@pytest.mark.parametrize(
    "target",
    [
        "localhost",
        "LocalHost:50051",
        "127.0.0.1:50051",
        "127.8.9.1",
        "[::1]:50051",
        "::1",
        "dns:localhost:50051",
        "dns:///localhost:50051",
        "ipv4:127.0.0.1:1,127.0.0.1:2",
        "ipv6:[::1]:1",
        "unix:/tmp/socket",
        "unix-abstract:name",
    ],
)
def test_a_token_stays_on_this_machine(connect: Any, target: str) -> None:
    connect(target, token="t")


@pytest.mark.parametrize(
    "target",
    [
        "relay.example:443",
        "localhost.example:443",
        "127.0.0.1.example",
        "10.0.0.1:50051",
        "[::1]x:50051",
        "[2001:db8::1]:50051",
        "0.0.0.0:50051",
        "dns:///relay.example",
        "dns://10.0.0.1/localhost:50051",
        "ipv4:127.0.0.1:1,10.0.0.1:1",
        "xds:///localhost:1",
        "",
    ],
)
def test_a_token_never_leaves_this_machine_in_the_clear(connect: Any, target: str) -> None:
    with pytest.raises(ValueError, match="will not send the token"):
        connect(target, token="t")
    connect(target)
    connect(target, token="t", allow_insecure_token=True)
    connect(target, token="t", credentials=grpc.ssl_channel_credentials())


async def test_loopback_is_not_reached_through_a_proxy(
    connect: Any, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("grpc_proxy", "https_proxy", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with connect(server.address) as client:
        assert COMPLETION == await asked(client, stream=False)


async def test_tls(connect: Any) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
    key = certificate.private_key_pem.bytes()
    async with served(grpc.ssl_server_credentials([(key, chain)])) as server:
        trusting = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
        async with connect(server.address, credentials=trusting, token="secret") as client:
            assert COMPLETION == await asked(client, stream=False)
        assert ("authorization", "Bearer secret") in server.metadata[0]
        distrusting = grpc.ssl_channel_credentials(stranger.cert_pem.bytes())
        async with connect(server.address, credentials=distrusting) as client:
            assert StatusCode.UNAVAILABLE == (await failure(client)).code
        assert 1 == len(server.requests)


async def test_channel_options(connect: Any, server: Server) -> None:
    """Take the place of the client's own."""
    server.size = 2000
    options = [("grpc.max_receive_message_length", 1000)]
    async with connect(server.address, options=options) as client:
        assert StatusCode.RESOURCE_EXHAUSTED == (await failure(client)).code


class Rubbish(grpc.GenericRpcHandler):
    """Answers each call with bytes that are no message."""

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


def test_only_the_client_imports_grpc() -> None:
    code = "import chatpb, chatpb.v1, chatpb.sse, sys; assert 'grpc' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["grpc", "grpc_status"])
def test_the_extra_is_missing(name: str) -> None:
    code = f"import sys; sys.modules[{name!r}] = None; import chatpb.client"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    expected = f"chatpb.client needs {name}: pip install 'chatpb[client]'"
    assert f"ModuleNotFoundError: {expected}" == done.stderr.splitlines()[-1]
