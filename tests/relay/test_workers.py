"""Several processes on one port, and the one that looks after them."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import urllib.request
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from grpc import StatusCode, aio

from chatpb.v1.chat_completion_service_pb2_grpc import ChatCompletionServiceStub
from chatpb_server.running.settings import Settings
from chatpb_server.running.workers import WorkerError, supervise
from chatpb_server.upstreams.http import HttpTable
from support.build import create_request, stream_request
from support.calls import OWN_CONNECTION, ending
from support.limits import TIMEOUT, within
from support.relay_process import Upstream, end, finish, listening, start

COUNT = 2
# The kernel deals connections out by chance: one in a million runs has none in one of two workers.
MANY = 21


class Relay:
    """A supervisor with workers.

    Attributes:
        process: The supervisor.
        address: Where they listen.
        workers: Their ids.
    """

    def __init__(self, process: Process, address: str) -> None:
        self.process = process
        self.address = address
        self.workers: list[int] = []
        self._log: list[str] = []

    async def logged(self, pattern: str) -> str:
        """The group of the next line of the log that matches."""
        assert self.process.stderr is not None
        while line := (await within(self.process.stderr.readline())).decode():
            self._log.append(line)
            if found := re.search(pattern, line):
                return found[1]
        raise AssertionError(self._log)

    async def new_worker(self) -> int:
        """The id of the next worker that is ready."""
        return int(await self.logged(r"worker (\d+) is ready"))


@asynccontextmanager
async def running(*arguments: object) -> AsyncIterator[Relay]:
    """A supervisor, ready."""
    process = await start("--listen", "127.0.0.1:0", "--workers", COUNT, *arguments)
    try:
        relay = Relay(process, await listening(process))
        relay.workers = [await relay.new_worker() for _ in range(COUNT)]
        yield relay
    finally:
        await end(process)


@asynccontextmanager
async def streams(relay: Relay, count: int) -> AsyncIterator[list[Any]]:
    """Streams, each on its own connection, after their first chunk."""
    async with AsyncExitStack() as stack:
        calls = []
        for _ in range(count):
            channel = aio.insecure_channel(relay.address, OWN_CONNECTION)
            await stack.enter_async_context(channel)
            stub = ChatCompletionServiceStub(channel)
            calls.append(stub.StreamChatCompletion(stream_request(), timeout=TIMEOUT))
        for call in calls:
            assert ["one"] == contents(await within(call.read()))
        yield calls


async def closed(address: str) -> None:
    """Waits until nobody listens, which the workers stop to do one after the other."""
    host, _, port = address.partition(":")
    while True:
        try:
            _, writer = await within(asyncio.open_connection(host, int(port)))
        except ConnectionRefusedError:
            return
        except ConnectionResetError:
            continue
        writer.close()


def contents(response: Any) -> list[str]:
    return [chunk.choices[0].delta.content for chunk in response.chunks]


async def test_one_that_is_killed_takes_only_its_calls_along_and_is_replaced() -> None:
    async with (
        Upstream(held=True).serving() as upstream,
        running("--upstream", upstream.url) as relay,
        streams(relay, MANY) as calls,
    ):
        os.kill(relay.workers[0], signal.SIGKILL)
        assert str(relay.workers[0]) == await relay.logged(r"worker (\d+) was ended by SIGKILL")
        assert await relay.new_worker() not in relay.workers
        async with streams(relay, 1) as [late]:
            upstream.go_on.set()
            codes = Counter([await ending(call) for call in [*calls, late]])
        assert {
            StatusCode.OK: MANY + 1 - upstream.left,
            StatusCode.UNAVAILABLE: upstream.left,
        } == codes
        assert 0 < upstream.left < MANY


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
async def test_running_calls_finish_in_all(signal_number: int) -> None:
    async with (
        Upstream(held=True).serving() as upstream,
        running("--upstream", upstream.url) as relay,
        streams(relay, MANY) as calls,
    ):
        for pid in (relay.process.pid, *relay.workers):  # as a service manager does
            os.kill(pid, signal_number)
        await closed(relay.address)
        upstream.go_on.set()
        for call in calls:
            assert ["two"] == contents(await within(call.read()))
            assert StatusCode.OK == await within(call.code())
        assert 0 == (await finish(relay.process))[0]


async def test_a_second_signal_ends_all_at_once() -> None:
    async with (
        Upstream(held=True).serving() as upstream,
        running("--upstream", upstream.url) as relay,
        streams(relay, 4) as calls,
    ):
        relay.process.send_signal(signal.SIGTERM)
        await closed(relay.address)
        relay.process.send_signal(signal.SIGTERM)
        for call in calls:
            assert StatusCode.UNAVAILABLE == await ending(call)
        assert 1 == (await finish(relay.process))[0]


async def test_workers_end_with_their_supervisor() -> None:
    async with running() as relay:
        relay.process.kill()
        # The workers have its standard output and error, which end with the last of them.
        assert -signal.SIGKILL == (await finish(relay.process))[0]


async def test_metrics_are_sums() -> None:
    async with running("--metrics-listen", "127.0.0.1:0") as relay:
        assert relay.process.stdout is not None
        line = (await within(relay.process.stdout.readline())).decode()
        assert line.startswith("metrics on 127.0.0.1:")
        for _ in range(MANY):
            async with aio.insecure_channel(relay.address, OWN_CONNECTION) as channel:
                stub = ChatCompletionServiceStub(channel)
                await stub.CreateChatCompletion(create_request(), timeout=TIMEOUT)
        with urllib.request.urlopen(f"http://{line.split()[-1]}/metrics", timeout=TIMEOUT) as page:
            text = page.read().decode()
        sample = 'chatpb_relay_calls_total{caller="",code="OK",method="CreateChatCompletion"}'
        assert f"{sample} {MANY}.0" in text.splitlines()


@pytest.mark.parametrize("share", [False, True], ids=["one process", "workers"])
async def test_a_port_that_others_share_is_an_error(share: bool) -> None:
    async with running() as relay:
        more = ("--workers", COUNT) if share else ()
        expected = f"chatpb-server: cannot listen on {relay.address}: address already in use\n"
        other = await start("--listen", relay.address, *more)
        assert (1, "", expected) == await finish(other)


async def test_workers_that_do_not_start(capfd: pytest.CaptureFixture[str]) -> None:
    key = HttpTable(url="http://127.0.0.1:9", api_key_env="CHATPB_TEST_NO_KEY")
    settings = Settings(listen="127.0.0.1:0", workers=COUNT, upstreams={"a": key})
    with pytest.raises(WorkerError, match="the workers do not start"):
        await within(supervise(settings, lambda _: None))
    line = "the environment variable CHATPB_TEST_NO_KEY is not set: it must contain a secret"
    assert f"chatpb-server: upstream a: {line}" in capfd.readouterr().err.splitlines()
