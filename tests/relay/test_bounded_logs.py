"""What others cause, however often, is one line a second."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import re
import socket
import ssl
import struct
import sys
from asyncio.subprocess import Process
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode, aio
from trustme import CA

from chatpb.v1.chat_completion_service_pb2_grpc import ChatCompletionServiceStub
from chatpb_server.access.address import Address
from chatpb_server.core.call import Call
from chatpb_server.watching.logs import LogObserver, configure_logging
from chatpb_server.watching.metrics import MetricsObserver
from chatpb_server.watching.metrics_server import serve_metrics
from support.build import stream_request
from support.calls import OWN_CONNECTION
from support.certificates import HOST, chain
from support.limits import TIMEOUT, within
from support.relay_process import Upstream, end, finish, listening, start

if sys.platform == "linux":
    import resource

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sets the limits of a process")
OUT = re.compile(r"(\S+) ERROR \S+ out of file descriptors \(the limit is \d+\): .*`ulimit -n`.*")


async def ports(process: Process, *names: str) -> dict[str, int]:
    """The ports that a process names, next to the one where it listens."""
    found = {"grpc": int((await listening(process)).rpartition(":")[2])}
    assert process.stdout is not None
    for name in names:
        line = (await within(process.stdout.readline())).decode()
        match = re.match(rf"{name} on (?:https?://)?127\.0\.0\.1:(\d+)", line)
        assert match, line
        found[name] = int(match[1])
    return found


def flood(port: int, count: int) -> Iterator[socket.socket]:
    """Connections that send nothing."""
    for _ in range(count):
        connection = socket.socket()
        connection.setblocking(False)
        with suppress(BlockingIOError):
            connection.connect(("127.0.0.1", port))
        yield connection


async def test_out_of_file_descriptors() -> None:
    """One line a second that names the way out; running calls go on, and new ones come again."""
    free = "127.0.0.1:0"
    async with Upstream(held=True).serving() as upstream:
        addresses = ("--listen", free, "--http", free, "--metrics-listen", free)
        process = await start(*addresses, "--upstream", upstream.url)
        try:
            found = await ports(process, "http", "metrics")
            target = f"127.0.0.1:{found['grpc']}"
            async with aio.insecure_channel(target, OWN_CONNECTION) as channel:
                stub: Any = ChatCompletionServiceStub(channel)
                call = stub.StreamChatCompletion(stream_request(), timeout=TIMEOUT)
                await within(call.read())
                few = len(os.listdir(f"/proc/{process.pid}/fd")) + 10
                resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (few, few))
                assert process.stderr is not None
                for _ in range(3):  # the upstream, the configuration, the upstream is reached
                    await within(process.stderr.readline())
                with ExitStack() as stack:
                    for port in found.values():
                        for connection in flood(port, 20):
                            stack.enter_context(connection)
                    lines = [(await within(process.stderr.readline())).decode() for _ in range(2)]
                upstream.go_on.set()
                while await within(call.read()) is not aio.EOF:
                    pass
                assert StatusCode.OK == await call.code()
                for port in found.values():  # they answer again
                    reader, writer = await within(asyncio.open_connection("127.0.0.1", port))
                    writer.write(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
                    assert await within(reader.read(1))
                    writer.close()
            process.terminate()
            code, _, rest = await finish(process)
        finally:
            await end(process)
    matches = [OUT.match(line) for line in lines]
    assert all(matches), lines
    times = [datetime.fromisoformat(match[1]) for match in matches if match]
    gaps = [(later - sooner).total_seconds() for sooner, later in pairwise(times)]
    assert min(gaps) >= 0.99
    others = [line for line in rest.splitlines() if not OUT.match(line)]
    assert (0, ["call ended"]) == (code, re.findall("call ended", "\n".join(others)))


async def test_a_limit_that_is_too_low_is_raised_and_reported_at_the_start() -> None:
    script = Path(sys.executable).with_name("chatpb-server")
    flags = "--listen 127.0.0.1:0 --max-connections 500"
    pipe = asyncio.subprocess.PIPE
    command = f"ulimit -Sn 200; ulimit -Hn 400; exec {script} {flags}"
    process = await asyncio.create_subprocess_exec("sh", "-c", command, stdout=pipe, stderr=pipe)
    try:
        await listening(process)
        limits = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        process.terminate()
        code, _, errors = await finish(process)
    finally:
        await end(process)
    needed = "400 file descriptors are allowed, and limits.max_connections and limits.max_running"
    assert (0, (400, 400)) == (code, limits)
    assert 1 == errors.count(f"{needed} need 1628: raise the limit (`ulimit -n`"), errors


async def test_failed_handshakes_write_nothing(tmp_path: Path) -> None:
    """They are not calls, and anybody can cause them."""
    ca = CA()
    leaf = ca.issue_cert(HOST)
    (tmp_path / "crt").write_bytes(chain(leaf))
    (tmp_path / "key").write_bytes(leaf.private_key_pem.bytes())
    ca.cert_pem.write_to_path(tmp_path / "ca")
    files = ("--tls-cert", tmp_path / "crt", "--tls-key", tmp_path / "key")
    free = ("--listen", "127.0.0.1:0", "--http", "127.0.0.1:0")
    process = await start(*free, *files, "--tls-client-ca", tmp_path / "ca")
    try:
        found = await ports(process, "http")
        await asyncio.to_thread(_shake_hands, found.values(), str(tmp_path / "ca"))
        process.terminate()
        code, _, errors = await finish(process)
    finally:
        await end(process)
    assert (0, 2) == (code, errors.count("\n")), errors  # the upstream, and the configuration


def _shake_hands(ports: Any, ca: str) -> None:
    context = ssl.create_default_context(cafile=ca)
    context.set_alpn_protocols(["h2"])
    for port in ports:
        for _ in range(5):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), TIMEOUT) as plain:
                plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
                plain.recv(1)
            with (
                suppress(OSError),
                socket.create_connection(("127.0.0.1", port), TIMEOUT) as plain,
                context.wrap_socket(plain, server_hostname=HOST) as encrypted,
            ):
                encrypted.recv(1)


def test_connections_to_the_metrics_are_bounded(capfd: pytest.CaptureFixture[str]) -> None:
    """The oldest ends, so whoever holds them does not lock Prometheus out; resets are silent."""
    server = serve_metrics(Address.parse("127.0.0.1:0"), MetricsObserver().registry)
    try:
        address = ("127.0.0.1", server.address.port)
        with ExitStack() as stack:
            held = [
                stack.enter_context(socket.create_connection(address, TIMEOUT)) for _ in range(20)
            ]
            assert [b""] * 4 == [connection.recv(1) for connection in held[:4]]
            reset = socket.create_connection(address, TIMEOUT)
            reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            reset.sendall(b"GET /")
            reset.close()
            with socket.create_connection(address, TIMEOUT) as last:
                last.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
                assert b"HTTP/1.0 200 OK" == last.recv(15)
    finally:
        server.close()
    assert ("", "") == capfd.readouterr()


@pytest.fixture
def output() -> Iterator[io.StringIO]:
    """What the handler of the log writes."""
    text = io.StringIO()
    before = logging.root.handlers[:], logging.root.level, logging.raiseExceptions
    configure_logging("text", stream=text)
    yield text
    logging.root.handlers, logging.root.level, logging.raiseExceptions = before[0][:], *before[1:]


def test_repeated_records(output: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    logger = logging.getLogger("chatpb_server.test")
    for _ in range(1000):
        logger.warning("cannot %s, %d", "read", _)
        logger.warning("cannot %s, %d", "write", _)
    now += 1
    logger.warning("cannot %s, %d", "read", 0)
    lines = [line.partition(" ")[2] for line in output.getvalue().splitlines()]
    assert [
        "WARNING chatpb_server.test: cannot read, 0",
        "WARNING chatpb_server.test: cannot write, 0",
        "WARNING chatpb_server.test: cannot read, 0 left_out=999",
    ] == lines


def test_errors_from_one_place_are_alike(output: io.StringIO) -> None:
    for name in ("a", "b", "c"):
        try:
            raise ValueError
        except ValueError:
            logging.getLogger("chatpb_server.test").exception("cannot serve the request %s", name)
    assert 1 == output.getvalue().count("cannot serve the request")


def test_calls_are_a_line_each_with_one_traceback(output: io.StringIO) -> None:
    for _ in range(3):
        try:
            raise ValueError
        except ValueError as error:
            LogObserver().ended(Call("/a/b", {}), StatusCode.INTERNAL, error)
    text = output.getvalue()
    assert (3, 1) == (text.count("call ended"), text.count(" in test_calls_are_a_line"))
