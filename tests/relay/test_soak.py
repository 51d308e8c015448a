"""What is left over after many calls: nothing. Short here; `make soak` does it at full length."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode, aio

from chatpb.v1.chat_completion_service_pb2_grpc import ChatCompletionServiceStub
from support.build import chunk, create_request, stream_request
from support.calls import OWN_CONNECTION
from support.http_upstream import HANG, HttpUpstream, Repeat, raw, sse_answer
from support.limits import SOAK, TIMEOUT, within

LARGE = {"messages": [{"role": "user", "content": "x" * 1000}]}
CHUNK = chunk("y" * 1000)
needs_proc = pytest.mark.skipif(
    sys.platform != "linux", reason="the state of a process is read from /proc"
)


class RelayProcess:
    """A relay as its users start it, and what its process holds."""

    def __init__(self, process: Process, target: str) -> None:
        self.process = process
        self.target = target
        self._folder = Path("/proc", str(process.pid))

    @property
    def memory(self) -> int:
        """The bytes of memory that it holds."""
        pages = int((self._folder / "statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    @property
    def files(self) -> int:
        """How many files and sockets are open."""
        return len(os.listdir(self._folder / "fd"))


@asynccontextmanager
async def relay(url: str, *flags: str) -> AsyncIterator[RelayProcess]:
    """A relay process in front of an upstream."""
    script = Path(sys.executable).with_name("chatpb-server")
    arguments = ("--listen", "127.0.0.1:0", "--upstream", url, *flags)
    process = await asyncio.create_subprocess_exec(script, *arguments, stdout=PIPE)
    try:
        assert process.stdout is not None
        line = (await within(process.stdout.readline())).decode()
        assert line.startswith("listening on ")
        yield RelayProcess(process, line.split()[-1])
        process.terminate()
        assert 0 == await within(process.wait())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@needs_proc
@pytest.mark.parametrize("is_stream", [False, True])
async def test_cancelled_calls_leave_nothing(is_stream: bool) -> None:
    count, at_once = (10_000, 100) if SOAK else (300, 50)
    answer = sse_answer(CHUNK, HANG) if is_stream else raw(HANG)

    async def cancel_some(stub: Any) -> None:
        if is_stream:
            request: Any = stream_request(**LARGE)
            calls = [stub.StreamChatCompletion(request) for _ in range(at_once)]
            await asyncio.gather(*(call.read() for call in calls))
        else:
            request = create_request(**LARGE)
            calls = [stub.CreateChatCompletion(request) for _ in range(at_once)]
            for _ in calls:
                await upstream.next_request()
        for call in calls:
            call.cancel()
        for call in calls:
            assert StatusCode.CANCELLED == await call.code()
            await upstream.next("closed")

    async with (
        HttpUpstream(TIMEOUT) as upstream,
        relay(upstream.url) as process,
        aio.insecure_channel(process.target, OWN_CONNECTION) as channel,
    ):
        await upstream.answer(answer, always=True)
        stub = ChatCompletionServiceStub(channel)
        await cancel_some(stub)
        files, memory = process.files, process.memory
        for _ in range(count // at_once):
            await cancel_some(stub)
        state = await upstream.state()
        assert frozenset() == state.calls
        assert 0 == state.connections
        assert process.files <= files
        # 10,000 calls that left 2 KiB each would be 20 MB.
        assert process.memory - memory < 15_000_000


@needs_proc
async def test_slow_readers_stop_the_reading() -> None:
    """Memory is bounded by the streams, at about one megabyte each, not by what they carry."""
    streams, megabytes = (200, 50) if SOAK else (20, 50)
    event = b"data: " + json.dumps(CHUNK).encode() + b"\n\n"
    body = Repeat(event * 16, megabytes * 1_000_000 // (16 * len(event)))

    async with (
        HttpUpstream(TIMEOUT) as upstream,
        relay(upstream.url) as process,
        # Without probing the client takes 64 KiB ahead of its reader, and not megabytes.
        aio.insecure_channel(process.target, [("grpc.http2.bdp_probe", 0)]) as channel,
    ):
        await upstream.answer(sse_answer(body), always=True)
        stub = ChatCompletionServiceStub(channel)
        before = process.memory
        calls: list[Any] = []
        for _ in range(streams):
            call = stub.StreamChatCompletion(stream_request(**LARGE))
            calls.append(call)
            await call.read()
        for _ in range(streams):
            await upstream.next("blocked")
        sent = (await upstream.state()).sent.values()

        assert max(sent) < 12_000_000  # the kernel buffers megabytes
        assert process.memory - before < streams * 1_500_000 + 10_000_000
        for call in calls:
            call.cancel()
        for _ in range(streams):
            await upstream.next("closed")
    gc.collect()


@pytest.mark.skipif(not SOAK, reason="two minutes long: make soak")
async def test_pings_every_30_seconds_are_welcome() -> None:
    """Without the settings of the relay, the third ping would end the connection."""
    options = [
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    async with HttpUpstream(200) as upstream, relay(upstream.url) as process:
        await upstream.answer(raw(HANG))
        async with aio.insecure_channel(process.target, options=options) as channel:
            stub = ChatCompletionServiceStub(channel)
            request = create_request(**LARGE)
            call = stub.CreateChatCompletion(request, timeout=130)
            assert StatusCode.DEADLINE_EXCEEDED == await call.code()
