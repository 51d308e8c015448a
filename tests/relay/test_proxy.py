"""The proxies of upstreams: none that could read the prompts is used, unless it is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from grpc import aio

from chatpb_server.running.serving import serving
from chatpb_server.upstreams.http import HttpTable
from chatpb_server.upstreams.proxy import ProxyError, find_proxy, goes_direct
from chatpb_server.upstreams.registry import UpstreamSettingsError
from chatpb_server.upstreams.relay import RelayTable
from support.build import COMPLETION, PING
from support.calls import OWN_CONNECTION
from support.http_relay import Relay
from support.http_upstream import HttpUpstream, json_answer
from support.limits import within
from support.relay_process import finish, start

PROXY = "http://proxy.example:3128"
ALL = dict.fromkeys(("http_proxy", "https_proxy", "grpc_proxy", "all_proxy"), PROXY)


@pytest.mark.parametrize(
    ("url", "asked", "environ", "expected"),
    [
        pytest.param("https://a.example/v1", None, ALL, PROXY, id="encrypted"),
        pytest.param("grpcs://a.example:1", None, ALL, PROXY, id="encrypted, gRPC"),
        pytest.param("http://a.example/v1", None, ALL, None, id="plain"),
        pytest.param("grpc://a.example:1", None, ALL, None, id="plain, gRPC"),
        pytest.param("http://a.example/v1", "environment", ALL, PROXY, id="plain, asked"),
        pytest.param("grpc://a.example:1", "environment", ALL, PROXY, id="plain, gRPC, asked"),
        pytest.param("https://a.example/v1", "none", ALL, None, id="none"),
        pytest.param("https://a.example/v1", "http://b:1", ALL, "http://b:1", id="a URL"),
        pytest.param("https://a.example/v1", "https://b", {}, "https://b", id="a URL with TLS"),
        pytest.param("http://127.0.0.1:8000/v1", "environment", ALL, None, id="loopback"),
        pytest.param("https://[::1]/v1", None, ALL, None, id="loopback, IPv6"),
        pytest.param("https://localhost:1/v1", None, ALL, None, id="loopback by name"),
        pytest.param("https://a.example/v1", None, {}, None, id="no proxy"),
        pytest.param("https://a.example/v1", None, {"https_proxy": ""}, None, id="empty"),
        pytest.param("https://a.example/v1", None, {"http_proxy": PROXY}, None, id="other scheme"),
        pytest.param("https://a.example/v1", None, {"HTTPS_PROXY": PROXY}, PROXY, id="capitals"),
        pytest.param("https://a.example/v1", None, {"ALL_PROXY": PROXY}, PROXY, id="for all"),
        pytest.param(
            "https://a.example", None, {**ALL, "no_proxy": "example"}, None, id="no_proxy"
        ),
        pytest.param("https://a.b", None, {**ALL, "NO_PROXY": "*"}, None, id="NO_PROXY"),
    ],
)
def test_the_proxy(
    url: str, asked: str | None, environ: Mapping[str, str], expected: str | None
) -> None:
    assert expected == find_proxy(url, asked, environ)


@pytest.mark.parametrize(
    ("host", "port", "excepted", "expected"),
    [
        ("a.example", 443, "a.example", True),
        ("A.Example.", 443, "a.EXAMPLE.", True),
        ("a.example", 443, ".example", True),
        ("example", 443, ".example", True),
        ("a.example", 443, "example", True),
        ("notexample", 443, "example", False),
        ("a.example", 443, "b.example, a.example", True),
        ("a.example", 443, "b.example a.example", True),
        ("a.example", 443, "a.example:443", True),
        ("a.example", 443, "a.example:8443", False),
        ("a.example", 443, "*", True),
        ("a.example", 443, "*, b", False),
        ("a.example", 443, "", False),
        ("a.example", 443, ",.,", False),
        ("10.1.2.3", 80, "10.0.0.0/8", True),
        ("11.1.2.3", 80, "10.0.0.0/8", False),
        ("10.1.2.3", 80, "10.1.2.3/8", True),
        ("10.1.2.3", 80, "10.0.0.0/99", False),
        ("10.1.2.3", 80, "10.1.2.3", True),
        ("10.1.2.3", 80, "10.1.2.3:80", True),
        ("10.1.2.3", 80, "10.1.2.3:81", False),
        ("10.1.2.3", 80, "2.3", False),
        ("fd00::1", 80, "fd00::/8", True),
        ("fd00::1", 80, "[fd00:0::1]", True),
        ("fd00::1", 80, "[fd00::1]:80", True),
        ("fd00::1", 80, "[fd00::1]:81", False),
        ("::ffff:10.1.2.3", 80, "10.0.0.0/8", True),
        ("a.example", 443, "10.0.0.0/8, ::/0", False),
    ],
)
def test_hosts_that_are_reached_directly(
    host: str, port: int, excepted: str, expected: bool
) -> None:
    assert expected == goes_direct(host, port, excepted)


UNUSABLE = [
    ("socks5://p:1", "got socks5://, which cannot be used"),
    ("SOCKS5H://user:secret@p:1", "got SOCKS5H://, which cannot be used"),
    ("proxy.example:3128", "got one without a scheme"),
    ("user:secret@proxy.example:3128", "got one without a scheme"),
    ("http://", "expected a proxy http://HOST:PORT"),
    ("http://p:99999", "expected a proxy http://HOST:PORT"),
]


@pytest.mark.parametrize(("proxy", "expected"), UNUSABLE)
def test_a_proxy_that_cannot_be_used(proxy: str, expected: str) -> None:
    for asked, environ in ((proxy, {}), (None, {"https_proxy": proxy})):
        with pytest.raises(ProxyError) as caught:
            find_proxy("https://a.example/v1", asked, environ)
        assert str(caught.value).endswith(expected)
        assert "secret" not in str(caught.value)
    assert find_proxy("https://a.example", None, {"all_proxy": proxy, "no_proxy": "*"}) is None


@pytest.mark.parametrize(
    ("flags", "environ", "place"),
    [
        ((), {"all_proxy": "socks5://p:1"}, "all_proxy"),
        ((), {"HTTPS_PROXY": "p:1"}, "HTTPS_PROXY"),
        (("--proxy", "socks4://p:1"), {}, "proxy"),
    ],
)
@pytest.mark.parametrize("mode", [(), ("--check-config",)], ids=["start", "check"])
async def test_it_is_reported_at_the_start(
    flags: tuple[str, ...], environ: dict[str, str], place: str, mode: tuple[str, ...]
) -> None:
    url = ("--upstream", "https://a.example/v1")
    process = await start("--listen", "127.0.0.1:0", *url, *flags, *mode, environ=environ)
    code, _, errors = await finish(process)
    assert 2 == code
    assert f"upstream default: {place}: expected a proxy http://HOST:PORT" in errors


async def test_a_password_is_not_for_the_command_line() -> None:
    flags = ("--upstream", "https://a.example/v1", "--proxy", "http://user:secret@p:1")
    code, _, errors = await finish(await start(*flags, "--check-config"))
    assert 2 == code
    assert "without a user and a password" in errors
    assert "secret" not in errors


async def test_the_summary_tells_the_way() -> None:
    environ = {"https_proxy": "http://user:secret@p:1", "http_proxy": "http://p:2"}
    for url, expected in (
        ("https://a.example/v1", "through the proxy http://p:1;"),
        ("http://a.example/v1", "not through the proxy of http_proxy, which could read it"),
    ):
        process = await start("--upstream", url, "--check-config", environ=environ)
        code, output, _ = await finish(process)
        assert 0 == code
        assert expected in output
        assert "secret" not in output


# With real proxies.


@asynccontextmanager
async def relay(table: Any) -> AsyncIterator[Relay]:
    upstream = table.build(1 << 20)
    async with (
        serving(upstream) as port,
        aio.insecure_channel(f"127.0.0.1:{port}", OWN_CONNECTION) as channel,
    ):
        yield Relay(channel)


async def test_a_key_for_this_machine_never_goes_to_a_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KEY", "sk-secret")
    async with HttpUpstream() as proxy, HttpUpstream() as upstream:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url.removesuffix("/v1"))
        monkeypatch.setenv("no_grpc_proxy", "127.0.0.1")  # for the client of this test
        await upstream.answer(json_answer(COMPLETION), always=True)
        for asked in (None, "environment", "none"):
            table = HttpTable(url=upstream.url, api_key_env="KEY", proxy=asked)
            async with relay(table) as client:
                await client.create()
        assert 3 == len(upstream.requests)
        assert [] == proxy.requests
    assert "Bearer sk-secret" == upstream.requests[0].headers["authorization"]


async def test_a_proxy_that_is_asked_for_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with HttpUpstream() as proxy:
        address = proxy.url.removesuffix("/v1")
        monkeypatch.setenv("http_proxy", address)
        monkeypatch.setenv("no_grpc_proxy", "127.0.0.1")
        await proxy.answer(json_answer(COMPLETION), always=True)
        for asked in ("environment", address):
            async with relay(HttpTable(url="http://upstream.example/v1", proxy=asked)) as client:
                await client.create()
    assert ["http://upstream.example/v1/chat/completions"] * 2 == [
        request.path for request in proxy.requests
    ]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        pytest.param(HttpTable(url="https://a.invalid/v1"), b"CONNECT a.invalid:443 ", id="https"),
        pytest.param(RelayTable(url="grpcs://a.invalid:5"), b"CONNECT a.invalid:5 ", id="grpcs"),
        pytest.param(HttpTable(url="http://a.invalid/v1"), b"", id="http"),
        pytest.param(RelayTable(url="grpc://a.invalid:5"), b"", id="grpc"),
        pytest.param(
            RelayTable(url="grpc://a.invalid:5", proxy="environment"),
            b"CONNECT a.invalid:5 ",
            id="grpc, asked",
        ),
    ],
)
async def test_what_a_proxy_gets_to_see(
    monkeypatch: pytest.MonkeyPatch, table: Any, expected: bytes
) -> None:
    """Where the connection goes to, and nothing before that is encrypted."""
    seen: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for name in ALL:
            monkeypatch.setenv(name, address)
        monkeypatch.setenv("no_grpc_proxy", "127.0.0.1")  # for the client of this test
        async with relay(table) as client:
            call = client.create(**PING, timeout=5)
            assert (await within(call.code())).value[0] != 0
    assert bool(expected) == bool(seen)
    for head in seen:
        assert head.startswith(expected)
        assert b"authorization" not in head.lower()


def test_a_table_reports_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "socks5://p:1")
    for table in (HttpTable(url="https://a.example/v1"), RelayTable(url="grpcs://a.example:1")):
        with pytest.raises(UpstreamSettingsError, match="https_proxy: expected a proxy"):
            table.build(1 << 20)
