"""The command `check`, a probe."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from errno import ECONNREFUSED
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from grpc import aio
from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from chatpb_server.running import NAME
from chatpb_server.running.check import command
from chatpb_server.running.entry import run_command
from support.certificates import Certificates, chain
from support.limits import within
from support.relay_process import end, listening, start

CA = "--ca"


async def probe(*arguments: object) -> tuple[int | None, str]:
    """The exit code and the error of the command, in a thread next to the servers of a test."""
    texts = [str(argument) for argument in arguments]
    runner = CliRunner()
    result = await within(asyncio.to_thread(runner.invoke, command, texts, standalone_mode=False))
    assert (result.stdout == f"{arguments[0]}: SERVING\n") == (result.return_value == 0)
    return result.return_value, result.stderr


@asynccontextmanager
async def relaying(*arguments: object) -> AsyncIterator[tuple[Any, str, str]]:
    """The process of a relay, its address, and that of the HTTP API."""
    free = ("--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--log-level", "error")
    process = await start(*free, *arguments)
    try:
        address = await listening(process)
        assert process.stdout is not None
        line = (await within(process.stdout.readline())).decode()
        yield process, address, line.removeprefix("http on ").strip()
    finally:
        await end(process)


async def test_without_tls() -> None:
    async with relaying() as (process, address, url):
        assert (0, "") == await probe(address)
        assert (0, "") == await probe(address, "--service", "")
        expected = f"chatpb-server: {address}: does not serve\n"
        assert (1, expected) == await probe(address, "--service", "other.Service")
        assert (0, "") == await probe(url)
        place = url.removeprefix("http://").removesuffix("/v1")
        assert (0, "") == await probe(place, "--http")
        nowhere = f"http://{place}/nowhere"
        expected = f"chatpb-server: {nowhere}: answers 404 at /nowhere\n"
        assert (1, expected) == await probe(nowhere)
        assert 1 == (await probe(address, "--http"))[0]
        assert 1 == (await probe(place))[0]
        process.terminate()
        assert 0 == await within(process.wait())
        refused = f"chatpb-server: {address}: [Errno {ECONNREFUSED}] Connection refused\n"
        assert (1, refused) == await probe(address)


async def test_with_tls(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    certificates.renew("relay.test")
    leaf = certificates.authority.issue_cert("probe.test")
    (tmp_path / "mine.pem").write_bytes(chain(leaf))
    (tmp_path / "mine.key").write_bytes(leaf.private_key_pem.bytes())
    mine = ("--cert", tmp_path / "mine.pem", "--key", tmp_path / "mine.key")
    (tmp_path / "token").write_text("secret\n")
    trust = (CA, certificates.ca)
    async with relaying(*certificates.flags) as (_, *places):
        for place in places:
            assert (0, "") == await probe(place, *trust)
            assert (0, "") == await probe(place, "--no-verify")
            assert (0, "") == await probe(place, *trust, "--server-name", "relay.test")
            assert (0, "") == await probe(place, *trust, "--token-file", tmp_path / "token")
            for wrong in ((*trust, "--server-name", "other.test"), ("--tls",)):
                code, errors = await probe(place, *wrong)
                assert (1, True) == (code, "certificate verify failed" in errors)
        assert 1 == (await probe(places[0]))[0]
    async with relaying(*certificates.flags, "--tls-client-ca", certificates.ca) as (_, *places):
        for place in places:
            assert (0, "") == await probe(place, *trust, *mine)
            assert 1 == (await probe(place, *trust))[0]


async def test_what_is_not_serving() -> None:
    """Health is SERVING, NOT_SERVING, and SERVING again."""
    server = aio.server()
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    health_servicer = health.aio.HealthServicer()
    add_HealthServicer_to_server(health_servicer, server)
    await server.start()
    codes = []
    for status in ("SERVING", "NOT_SERVING", "SERVING"):
        value = HealthCheckResponse.ServingStatus.Value(status)
        await health_servicer.set("chatpb.v1.ChatCompletionService", value)
        codes.append(await probe(address))
    await server.stop(None)
    assert [(0, ""), (1, f"{NAME}: {address}: is NOT_SERVING\n"), (0, "")] == codes


@pytest.mark.parametrize("options", [(), ("--http",), ("--no-verify",)])
async def test_it_gives_up_what_is_silent(options: tuple[str, ...]) -> None:
    """As a relay would be whose event loop hangs."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        code, errors = await probe(address, *options, "--timeout", "0.2")
    assert (1, True) == (code, errors.endswith(" timed out\n"))


async def test_it_gives_up_what_sends_slowly() -> None:
    """The limit is for all of it, not for each read."""
    ended: asyncio.Queue[None] = asyncio.Queue()

    async def trickle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while True:
                writer.write(b"H")
                await writer.drain()
                await asyncio.sleep(0.02)
        writer.transport.abort()
        ended.put_nowait(None)

    server = await asyncio.start_server(trickle, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    for options in ((), ("--http",)):
        code, errors = await probe(address, *options, "--timeout", "0.3")
        assert (1, True) == (code, errors.endswith(" timed out\n"))
        await within(ended.get())
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        pytest.param(["nowhere"], "expected ADDR", id="address"),
        pytest.param(["a..b:1"], "expected ADDR", id="host"),
        pytest.param(["127.0.0.1:1", "--service", "é"], "name of a service", id="service"),
        pytest.param(["127.0.0.1:1", "--service", "x" * 128], "name of a service", id="long"),
        pytest.param(["127.0.0.1:1", "--timeout", "nan"], "--timeout", id="not a number"),
        pytest.param(["127.0.0.1:1", "--timeout", "inf"], "--timeout", id="infinite"),
        pytest.param(["http://a:1", "--tls"], "is not encrypted", id="scheme"),
        pytest.param(["a:1", "--key", "k"], "--key needs --cert", id="key"),
        pytest.param(["a:1", "--no-verify", CA, "f"], "exclude each other", id="both"),
        pytest.param(["a:1", CA, "nowhere"], "nowhere: No such file", id="ca"),
        pytest.param(["a:1", "--token-env", "X"], "only with TLS", id="clear"),
        pytest.param(["127.0.0.1:1", "--token-env", "NOWHERE"], "is not set", id="variable"),
        pytest.param(["127.0.0.1:1", "--token-file", "nowhere"], "nowhere", id="file"),
    ],
)
def test_mistakes(arguments: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert 2 == run_command(command, arguments, "chatpb-server")
    output, errors = capsys.readouterr()
    assert ("", True, 1) == (output, errors.startswith("chatpb-server: "), errors.count("\n"))
    assert part in errors
