"""Callers over gRPC that send half of a message, read no answer, or send too much."""

from __future__ import annotations

import asyncio
import os
import sys
import zlib
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, cast

import pytest
from grpc import StatusCode, aio

from chatpb.v1.chat_completion_service_pb2_grpc import ChatCompletionServiceStub
from chatpb_server.access.tokens import new_token
from chatpb_server.core.limits import Limits
from chatpb_server.edges.grpc import messages
from chatpb_server.running.serving import Options, serving
from chatpb_server.upstreams.builtin.upstream import BuiltinUpstream
from support.build import chunk, create_request, stream_request
from support.calls import OWN_CONNECTION
from support.http2 import Connection, Stream, connect, message
from support.limits import SOAK, TIMEOUT, within
from support.relay_process import end, listening, start
from support.scripted import Script, connected, read_error

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the memory of a process is read from /proc"
)
CREATE: Final = "/chatpb.v1.ChatCompletionService/CreateChatCompletion"
STREAM: Final = "/chatpb.v1.ChatCompletionService/StreamChatCompletion"
HEALTH: Final = "/grpc.health.v1.Health/Check"
REFLECTION: Final = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
MIB: Final = 1024 * 1024
#: Half of a message, which says that one byte more follows.
HALF: Final = 60 if SOAK else 16
CALLERS: Final = 40 if SOAK else 16


@asynccontextmanager
async def relay(*arguments: object) -> AsyncIterator[tuple[Process, str]]:
    """A relay process, and its address."""
    free = ("--listen", "127.0.0.1:0", "--log-level", "error")
    process = await start(*free, *arguments)
    try:
        yield process, await listening(process)
    finally:
        await end(process)


def held(process: Process) -> float:
    """The most memory that a process has held, in MiB."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def processor_seconds(process: Process) -> float:
    """How long a process has computed."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def stub_of(channel: aio.Channel) -> Any:
    return ChatCompletionServiceStub(cast("Any", channel))


async def half_sent(connection: Connection, method: str, *metadata: tuple[str, str]) -> Stream:
    """A call whose message was sent but for its last byte, as far as the relay has taken it."""
    stream = connection.call(method, *metadata)
    size = HALF * MIB
    sending = asyncio.ensure_future(connection.send(stream, message(bytes(size), length=size + 1)))
    ended = asyncio.ensure_future(stream.over.wait())
    await within(asyncio.wait({sending, ended}, return_when=asyncio.FIRST_COMPLETED))
    sending.cancel()
    ended.cancel()
    return stream


async def many_half_sent(target: str, method: str, *metadata: tuple[str, str]) -> list[Stream]:
    async with AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(connect(target)) for _ in range(CALLERS)]
        calls = (half_sent(connection, method, *metadata) for connection in connections)
        streams: list[Stream] = await asyncio.gather(*calls)
        return streams


async def test_nothing_is_taken_of_those_who_may_not_call(tmp_path: Path) -> None:
    """Without a token 40 calls of 61 MB took 2.5 GB."""
    path = tmp_path / "tokens.txt"
    path.write_text(new_token("alice")[1])
    async with relay("--tokens", path) as (process, target):
        before = held(process)
        for method in (CREATE, STREAM, REFLECTION):
            streams = await many_half_sent(target, method)
            assert {StatusCode.UNAUTHENTICATED.value[0]} == {stream.status for stream in streams}
        async with connect(target) as connection:  # those of health are read, for a moment
            stream = await half_sent(connection, HEALTH)
            await within(stream.over.wait())
        assert StatusCode.INVALID_ARGUMENT.value[0] == stream.status
        assert held(process) - before < HALF + 32


async def test_half_sent_messages_are_bounded_in_total_and_in_time(tmp_path: Path) -> None:
    """Those who may call are refused if there is no room, and short calls find theirs."""
    path = tmp_path / "relay.toml"
    size = HALF + 1
    path.write_text(f"[limits]\nmax_message_bytes = {size * MIB}\nbody_timeout = 1\n")
    room = ("--max-held-bytes", 4 * size * MIB)
    async with relay("--config", path, *room) as (process, target):
        before = held(process)
        async with AsyncExitStack() as stack:
            connections = [await stack.enter_async_context(connect(target)) for _ in range(CALLERS)]
            sent = asyncio.gather(*(half_sent(one, CREATE) for one in connections))
            channel = await stack.enter_async_context(aio.insecure_channel(target, OWN_CONNECTION))
            await stub_of(channel).CreateChatCompletion(create_request(), timeout=TIMEOUT)
            streams = await sent
            for stream in streams:
                await within(stream.over.wait())
        late, full = StatusCode.DEADLINE_EXCEEDED.value[0], StatusCode.RESOURCE_EXHAUSTED.value[0]
        statuses = [stream.status for stream in streams]
        assert {late, full} == set(statuses)
        assert 3 <= statuses.count(late)
        assert held(process) - before < (3 + 4) * size + 48


async def test_the_calls_of_one_connection_share_its_room() -> None:
    size = (HALF + 1) * MIB
    limits = Limits(max_message_bytes=size, max_connection_bytes=size, body_timeout=1)
    async with (
        serving(BuiltinUpstream(), options=Options(limits=limits)) as port,
        connect(f"127.0.0.1:{port}") as connection,
    ):
        streams = await asyncio.gather(*(half_sent(connection, CREATE) for _ in range(3)))
        for stream in streams:
            await within(stream.over.wait())
    late, full = StatusCode.DEADLINE_EXCEEDED.value[0], StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert sorted([late, full, full]) == sorted(stream.status or 0 for stream in streams)


async def test_a_stopping_relay_does_not_wait_for_half_sent_requests() -> None:
    stopping = AsyncExitStack()
    options = Options(grace=600)
    port = await stopping.enter_async_context(serving(BuiltinUpstream(), options=options))
    async with connect(f"127.0.0.1:{port}") as connection:
        stream = await half_sent(connection, CREATE)
        await within(stopping.aclose())
        await within(stream.over.wait())
    assert StatusCode.UNAVAILABLE.value[0] == stream.status


async def test_a_call_runs_until_its_answer_is_taken_or_its_time_is_up() -> None:
    upstream = Script([{**chunk(""), "object": "chat.completion", "x": "y" * 4 * MIB}])
    options = Options(limits=Limits(max_running=1, timeout=2.0))
    async with serving(upstream, options=options) as port, connect(f"127.0.0.1:{port}") as caller:
        large = [("grpc.max_receive_message_length", -1)]
        async with aio.insecure_channel(f"127.0.0.1:{port}", options=large) as channel:
            create = stub_of(channel).CreateChatCompletion
            await create(create_request(), timeout=TIMEOUT)  # gRPC keeps the first call
            unread = caller.call(CREATE)
            await caller.send(unread, message(create_request().SerializeToString()), end=True)
            await within(caller.received(unread, 65535))
            waiting = create(create_request(), timeout=0.5)
            assert StatusCode.DEADLINE_EXCEEDED == await within(waiting.code())
            await create(create_request(), timeout=TIMEOUT)
            await within(unread.over.wait())
        assert StatusCode.CANCELLED.value[0] == unread.status
        assert 65535 == unread.received


@pytest.mark.parametrize("method", [CREATE, STREAM])
async def test_a_stopping_relay_does_not_wait_for_those_who_do_not_read(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "_LAST", 0.1)
    kind = "chat.completion" if method == CREATE else "chat.completion.chunk"
    upstream = Script([{**chunk(""), "object": kind, "x": "y" * MIB}])
    request = create_request() if method == CREATE else stream_request()
    async with AsyncExitStack() as stack:
        options = Options(grace=600)
        stopping = AsyncExitStack()
        port = await stopping.enter_async_context(serving(upstream, options=options))
        caller = await stack.enter_async_context(connect(f"127.0.0.1:{port}"))
        unread = caller.call(method)
        await caller.send(unread, message(request.SerializeToString()), end=True)
        await within(caller.received(unread, 65535))
        await within(stopping.aclose())
        await within(unread.over.wait())


async def test_the_message_of_a_refused_call_is_not_decompressed(tmp_path: Path) -> None:
    """A GiB of zeros takes a third of a second of processor time; unpacked it is over the limit."""
    compressor = zlib.compressobj(1, zlib.DEFLATED, 31)
    part = bytes(MIB)
    count = 1024 if SOAK else 96
    bomb = b"".join(compressor.compress(part) for _ in range(count)) + compressor.flush()
    token, line = new_token("alice")
    path = tmp_path / "tokens.txt"
    path.write_text(line)
    packed = ("grpc-encoding", "gzip")
    async with relay("--tokens", path) as (process, target), connect(target) as connection:
        before = processor_seconds(process)
        for _ in range(10):
            stream = connection.call(CREATE, packed)
            await connection.send(stream, message(bomb, compressed=True), end=True)
            await within(stream.over.wait())
            assert StatusCode.UNAUTHENTICATED.value[0] == stream.status
        assert processor_seconds(process) - before < 0.3
        known = ("authorization", f"Bearer {token}")
        stream = connection.call(CREATE, packed, known)
        await connection.send(stream, message(bomb, compressed=True), end=True)
        await within(stream.over.wait())
        assert StatusCode.RESOURCE_EXHAUSTED.value[0] == stream.status
        assert held(process) < 250


@pytest.mark.parametrize(
    ("more", "status"),
    [
        pytest.param(-100, StatusCode.OK, id="less"),
        pytest.param(0, StatusCode.OK, id="the limit"),
        pytest.param(1, StatusCode.INVALID_ARGUMENT, id="one byte more"),
        pytest.param(20_000, StatusCode.INVALID_ARGUMENT, id="twice"),
        pytest.param(100_000, StatusCode.RESOURCE_EXHAUSTED, id="far too much"),
    ],
)
async def test_the_limit_of_metadata_is_exact(more: int, status: StatusCode) -> None:
    """Between 8 and 16 KiB gRPC refused at random, as if the relay were overloaded."""
    value = "v" * (Limits().max_metadata_bytes - len("k") - 32 + more)
    request = message(create_request().SerializeToString())
    async with serving(BuiltinUpstream()) as port, connect(f"127.0.0.1:{port}") as connection:
        for _ in range(3 if more > 50_000 else 30):  # gRPC takes its time for those
            stream = connection.call(CREATE, ("k", value))
            await connection.send(stream, request, end=True)
            await within(stream.over.wait())
            assert status.value[0] == stream.status


async def test_too_much_metadata_is_an_error_of_openai() -> None:
    async with connected(BuiltinUpstream()) as channel:
        metadata = [("k", "v" * Limits().max_metadata_bytes)]
        call = stub_of(channel).CreateChatCompletion
        with pytest.raises(aio.AioRpcError) as caught:
            await call(create_request(), metadata=metadata, timeout=TIMEOUT)
    error = read_error(caught.value)["error"]
    assert "invalid_request_error" == error["type"]
    assert "takes at most 16384" in error["message"]
    assert dict(caught.value.trailing_metadata() or ())["chatpb-http-status"] == "431"


async def test_connections_are_bounded_and_end_when_they_are_idle() -> None:
    options = Options(limits=Limits(max_connections=2, idle_timeout=2, max_streams=7))
    async with serving(BuiltinUpstream(), options=options) as port, AsyncExitStack() as stack:
        target = f"127.0.0.1:{port}"
        first = await stack.enter_async_context(connect(target))
        second = await stack.enter_async_context(connect(target))
        assert 7 == first.most_streams
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await stack.enter_async_context(connect(target))
        await within(first.closed.wait())
        await within(second.closed.wait())
        third = await stack.enter_async_context(connect(target))
        assert not third.closed.is_set()
