"""What callers of the HTTP edge can hold of the relay: bytes, time, connections and turns.

The relay runs in a process of its own, whose memory and CPU seconds are measured.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import signal
import socket
import ssl
import sys
import time
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import Process
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pytest
from openai import AsyncOpenAI, AuthenticationError, OpenAI

from chatpb_server.access.tokens import new_token
from relay.test_http_edge_process import running
from support.build import PING, choice, chunk, completion
from support.certificates import Certificates
from support.http_edge import post
from support.http_upstream import HANG, HttpUpstream, Repeat, json_answer, raw, sse_answer
from support.limits import SOAK, TIMEOUT, within
from support.relay_process import finish

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

PIECE = 65536
MEGABYTE = 1_000_000


def peak(process: Process) -> int:
    """The most bytes of memory that a process has held."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    [kilobytes] = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(kilobytes) * 1024


def cpu_seconds(process: Process) -> float:
    """The CPU time that a process has taken."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def head(length: int, *lines: str, path: str = "/v1/chat/completions") -> bytes:
    """The head of a POST."""
    first = (f"POST {path} HTTP/1.1", "host: a", f"content-length: {length}")
    return "\r\n".join([*first, *lines, "", ""]).encode()


class Callers:
    """Connections to a relay, closed at the end of the context.

    Args:
        url: The base URL of the relay.
    """

    def __init__(self, url: str) -> None:
        self._port = int(url.removesuffix("/v1").rpartition(":")[2])
        self._writers: list[StreamWriter] = []
        self._sockets: list[socket.socket] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for writer in self._writers:
            writer.transport.abort()
        for connection in self._sockets:
            connection.close()

    async def send(self, data: bytes = b"") -> tuple[StreamReader, StreamWriter]:
        """A connection on which something is sent."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers.append(writer)
        with suppress(ConnectionError):  # refused already
            for begin in range(0, len(data), PIECE):
                writer.write(data[begin : begin + PIECE])
                await writer.drain()
        return reader, writer

    async def answer(self, data: bytes) -> bytes:
        """What is answered until the connection is closed."""
        return await answer_of((await self.send(data))[0])

    def ask(self, **members: Any) -> None:
        """Makes a call whose answer is not read."""
        body = json.dumps({**PING, **members}).encode()
        connection = socket.create_connection(("127.0.0.1", self._port))
        self._sockets.append(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(head(len(body)) + body)


async def answer_of(reader: StreamReader) -> bytes:
    """What comes until the connection is closed."""
    data = bytearray()
    with suppress(ConnectionError):
        while piece := await within(reader.read(65536)):
            data += piece
    return bytes(data)


def error_in(answer: bytes) -> Any:
    return json.loads(answer.partition(b"\r\n\r\n")[2])["error"]


HALF = b'{"x":"'


async def test_half_sent_bodies_are_within_the_budget() -> None:
    """At first, 40 of 61 MB took 2.4 GB."""
    count, sent, budget = (40, 60, 128) if SOAK else (12, 16, 64)
    flags = ("--max-running", "2", "--max-held-bytes", budget * 2**20, "--stall-timeout", "2")
    request = head(61 * MEGABYTE) + HALF + b"x" * (sent * MEGABYTE)
    async with running(*flags) as (process, _, url), Callers(url) as callers:
        before = peak(process)
        # Those that were let in come no further, and leave their room to others.
        answers = await asyncio.gather(*(callers.answer(request) for _ in range(count)))
        assert {b"429", b"408", b""} >= {answer[9:12] for answer in answers}
        assert any(answer.startswith(b"HTTP/1.1 408 ") for answer in answers)
        assert peak(process) - before < budget * 2**20 * 1.25 + 30 * MEGABYTE
        assert 200 == (await post(url))[0]


async def test_what_is_over_the_budget_is_refused_before_it_is_read() -> None:
    async with running("--max-held-bytes", 2**26) as (_, _, url), Callers(url) as callers:
        await callers.send(head(60 * MEGABYTE) + HALF + bytes(40 * MEGABYTE))
        answer = await callers.answer(head(40 * MEGABYTE))
        lines = answer.lower().split(b"\r\n")
        assert lines[0].startswith(b"http/1.1 429 ")
        assert {b"retry-after: 1", b"connection: close"} <= set(lines)
        assert "rate_limit_exceeded" == error_in(answer)["code"]
        assert 200 == (await post(url))[0]


IN_TIME: list[Any] = [
    pytest.param(("--stall-timeout", "0.5", "--min-rate", "1000"), 0.05, id="too slow"),
    pytest.param(("--body-timeout", "0.5", "--min-rate", "0"), 0.05, id="too long"),
    pytest.param(("--stall-timeout", "0.5", "--min-rate", "0"), None, id="silent"),
]


@pytest.mark.parametrize(("flags", "pause"), IN_TIME)
async def test_a_body_has_to_come_in_time(flags: tuple[str, ...], pause: float | None) -> None:
    async with running(*flags) as (_, _, url), Callers(url) as callers:
        reader, writer = await callers.send(head(MEGABYTE) + HALF)
        answer = asyncio.ensure_future(answer_of(reader))
        while pause is not None and not answer.done():
            writer.write(b"x")
            await asyncio.wait((answer,), timeout=pause)
        text = await within(answer)
        assert text.startswith(b"HTTP/1.1 408 ")
        assert "The request did not come in time." == error_in(text)["message"]


async def test_heads_and_idle_connections_end_in_time() -> None:
    flags = ("--head-timeout", "0.5", "--idle-timeout", "0.5")
    async with running(*flags) as (_, _, url), Callers(url) as callers:
        assert b"" == await callers.answer(b"")
        reader, writer = await callers.send(b"GET /v1/models HTTP/1.1\r\n")
        closed = asyncio.ensure_future(answer_of(reader))
        while not closed.done():
            writer.write(b"a: b\r\n")
            await asyncio.wait((closed,), timeout=0.05)
        assert b"" == await closed


async def test_connections_are_bounded() -> None:
    async with running("--max-connections", "3") as (_, _, url):
        async with Callers(url) as callers:
            idle, _ = await callers.send()
            for _ in range(3):
                reader, _ = await callers.send(head(1000, "expect: 100-continue"))
                assert b"100 Continue" in await within(reader.readline())
            assert b"" == await answer_of(idle)  # the third needed its room
            for _ in range(3):
                answer = await callers.answer(head(1000))
                assert answer.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
                assert "rate_limit_exceeded" == error_in(answer)["code"]
        async with asyncio.timeout(TIMEOUT):
            while (await post(url))[0] != 200:  # until the relay knows that they are closed
                pass


GZIP = "content-encoding: gzip"


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """What inflates to 300 MB."""
    return gzip.compress(bytes(300 * MEGABYTE), 1)


async def test_what_is_refused_costs_nothing_more(bomb: bytes, tmp_path: Path) -> None:
    """At first, each took seconds of CPU."""
    secret, line = new_token("a")
    (tmp_path / "tokens").write_text(line)
    known = f"authorization: Bearer {secret}"
    refused = {
        "401": head(len(bomb), GZIP),
        "404": head(len(bomb), GZIP, known, path="/v1/x"),
        "405": head(len(bomb), GZIP, known, path="/v1/models"),
        "413": head(70 * MEGABYTE, GZIP, known),
        "400": head(len(bomb), "content-encoding: br", known),
    }
    flags = ("--tokens", tmp_path / "tokens")
    async with running(*flags) as (process, _, url), Callers(url) as callers:
        before, memory = cpu_seconds(process), peak(process)
        for status, request in refused.items():
            answer = await callers.answer(request + bomb)
            assert status == answer[9:12].decode()
            assert b"\r\nconnection: close\r\n" in answer.lower()
        assert cpu_seconds(process) - before < 0.5
        assert peak(process) - memory < 20 * MEGABYTE


async def test_what_there_is_no_turn_for_is_not_read(bomb: bytes) -> None:
    flags = ("--max-running", "1", "--max-waiting", "0")
    async with (
        HttpUpstream() as upstream,
        running("--upstream", upstream.url, *flags) as (process, _, url),
        Callers(url) as callers,
    ):
        await upstream.answer(raw(HANG))
        callers.ask()
        await upstream.next_request()
        before = cpu_seconds(process)
        answer = await callers.answer(head(len(bomb), GZIP) + bomb)
        assert answer.startswith(b"HTTP/1.1 429 ")
        assert b"\r\nconnection: close\r\n" in answer.lower()
        assert cpu_seconds(process) - before < 0.3


async def test_an_inflated_body_is_bounded(bomb: bytes) -> None:
    async with running() as (process, _, url), Callers(url) as callers:
        before, memory = cpu_seconds(process), peak(process)
        answer = await callers.answer(head(len(bomb), GZIP) + bomb)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert peak(process) - memory < 100 * MEGABYTE
        assert cpu_seconds(process) - before < 2


async def test_clients_that_still_send_get_the_refusal(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text(new_token("a")[1])
    async with running("--tokens", tmp_path / "tokens") as (_, _, url):
        how: dict[str, Any] = {"base_url": url, "api_key": "x", "max_retries": 0}
        body: dict[str, Any] = {**PING, "extra_body": {"x": "x" * 20 * MEGABYTE}}
        async with AsyncOpenAI(**how) as client:
            with pytest.raises(AuthenticationError):
                await client.chat.completions.create(**body)
        with OpenAI(**how) as blocking, pytest.raises(AuthenticationError):
            await asyncio.to_thread(lambda: blocking.chat.completions.create(**body))


LARGE = json_answer(completion(choice("x" * 20 * MEGABYTE)))
EVENT = b"data: " + json.dumps(chunk("y" * 1000)).encode() + b"\n\n"
LONG = sse_answer(Repeat(EVENT * 16, 1000))
BOUNDS: list[Any] = [
    pytest.param(("--stall-timeout", "1"), "StalledError", id="stall"),
    pytest.param(("--stall-timeout", "0", "--timeout", "5"), "DeadlineError", id="timeout"),
]


@pytest.mark.parametrize(("bound", "logged"), BOUNDS)
async def test_an_answer_that_is_not_read_keeps_its_turn(
    bound: tuple[str, ...], logged: str
) -> None:
    """At first, 20 of 50 MB took 1.6 GB."""
    flags = ("--max-running", "1", "--max-waiting", "0", *bound)
    async with (
        HttpUpstream() as upstream,
        running("--upstream", upstream.url, *flags) as (process, _, url),
        Callers(url) as callers,
    ):
        await upstream.answer(LARGE, always=True)
        before, refused = peak(process), 0
        callers.ask()
        await upstream.next_request()
        async with asyncio.timeout(TIMEOUT):
            while (await post(url))[0] == 429:  # as long as it has the only turn
                refused += 1
        assert refused > 0
        assert peak(process) - before < 150 * MEGABYTE
        process.send_signal(signal.SIGTERM)
        assert logged in (await finish(process))[2]


@pytest.mark.skipif(not SOAK, reason="half a minute long: make soak")
async def test_answers_that_are_not_read_are_bounded_by_the_running_calls() -> None:
    flags = ("--max-running", "2", "--stall-timeout", "1")
    async with (
        HttpUpstream() as upstream,
        running("--upstream", upstream.url, *flags) as (process, _, url),
        Callers(url) as callers,
    ):
        await upstream.answer(LARGE, always=True)
        before = peak(process)
        for _ in range(40):
            callers.ask()
        for _ in range(40):
            await upstream.next_request()
        assert peak(process) - before < 250 * MEGABYTE


@pytest.mark.parametrize("is_stream", [False, True], ids=["unary", "stream"])
async def test_callers_that_do_not_read_do_not_delay_the_end(is_stream: bool) -> None:
    async with (
        HttpUpstream() as upstream,
        running("--upstream", upstream.url, "--grace", "60") as (process, _, url),
        Callers(url) as callers,
    ):
        await upstream.answer(LONG if is_stream else LARGE, always=True)
        for _ in range(3):
            callers.ask(stream=is_stream)
            await upstream.next_request()
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        code, _, log = await finish(process)
        assert (0, 3) == (code, log.count("StalledError"))
        assert time.monotonic() - began < 30


async def test_answers_over_tls_are_read_or_end(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    context = ssl.create_default_context(cafile=certificates.ca)
    async with (
        HttpUpstream() as upstream,
        running("--upstream", upstream.url, *certificates.flags) as (process, _, url),
    ):
        await upstream.answer(LARGE, always=True)
        status, _, value = await post(url, ssl=context)
        assert (200, 20 * MEGABYTE) == (status, len(value["choices"][0]["message"]["content"]))
        body = json.dumps(PING).encode()
        port = int(url.removesuffix("/v1").rpartition(":")[2])
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, limit=1)
        writer.write(head(len(body)) + body)
        await upstream.next_request()
        await upstream.next_request()
        process.send_signal(signal.SIGTERM)
        code, _, log = await finish(process)
        assert (0, 1) == (code, log.count("StalledError"))
        writer.transport.abort()
