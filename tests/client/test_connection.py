"""What both clients send with their calls, and over which connection."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import grpc
import pytest
import trustme
from grpc import StatusCode

from chatpb.client import Client
from support import grpc_stub
from support.build import PING
from support.certificates import channel_credentials, server_credentials
from support.chat_server import COMPLETION, Server, served
from support.clients import asked, failure
from support.limits import within


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


@pytest.mark.parametrize("place", ["initial", "trailing"])
async def test_the_metadata_of_an_answer_has_one_limit(connect: Any, place: str) -> None:
    """Up to it all is taken, and beyond it all is refused. Between two limits, gRPC draws lots."""
    async with grpc_stub.served() as stub, connect(stub.target) as client:
        setattr(stub, place, (("x-long", "x" * 63 * 1024),))
        for _ in range(4):
            _, metadata = await within(client.create_with_metadata(PING))
            assert {"trailing": 63 * 1024}.get(place, 0) == len(metadata.get("x-long", ""))
        setattr(stub, place, (("x-long", "x" * 64 * 1024),))
        for _ in range(4):
            assert StatusCode.RESOURCE_EXHAUSTED == (await failure(client)).code


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


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param({}, False, id="plain"),
        pytest.param({"options": [("grpc.enable_http_proxy", 1)]}, True, id="plain, asked"),
        pytest.param({"credentials": grpc.ssl_channel_credentials()}, True, id="TLS"),
    ],
)
async def test_a_proxy_reads_nothing_unless_asked(
    connect: Any, monkeypatch: pytest.MonkeyPatch, arguments: Any, expected: bool
) -> None:
    seen: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readline())
        writer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        for name in ("grpc_proxy", "https_proxy", "http_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with connect("a.invalid:5", **arguments) as client:
            await failure(client, timeout=10)
    assert expected == bool(seen)


async def test_tls(connect: Any) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    async with served(server_credentials(authority)) as server:
        trusting = channel_credentials(authority)
        async with connect(server.address, credentials=trusting, token="secret") as client:
            assert COMPLETION == await asked(client, stream=False)
        assert ("authorization", "Bearer secret") in server.metadata[0]
        distrusting = channel_credentials(stranger)
        async with connect(server.address, credentials=distrusting) as client:
            assert StatusCode.UNAVAILABLE == (await failure(client)).code
        assert 1 == len(server.requests)


async def test_channel_options(connect: Any, server: Server) -> None:
    """They override the client's own."""
    server.size = 2000
    options = [("grpc.max_receive_message_length", 1000)]
    async with connect(server.address, options=options) as client:
        assert StatusCode.RESOURCE_EXHAUSTED == (await failure(client)).code


def test_only_the_client_imports_grpc() -> None:
    code = "import chatpb, chatpb.v1, chatpb.sse, sys; assert 'grpc' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
