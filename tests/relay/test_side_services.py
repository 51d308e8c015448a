"""Health, reflection and channelz are bounded, and the last two admit whom calls admit."""

from __future__ import annotations

import asyncio
import signal
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, cast

from grpc import StatusCode, aio
from grpc_channelz.v1.channelz_pb2 import GetServersRequest
from grpc_channelz.v1.channelz_pb2_grpc import ChannelzStub
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

from chatpb_server.access.tokens import new_token
from chatpb_server.edges.grpc import health
from chatpb_server.edges.grpc.inspection import MOST_RUNNING
from support.calls import OWN_CONNECTION, ending
from support.limits import SOAK, TIMEOUT, within
from support.relay_process import end, finish, listening, running, start

LIST: Final = ServerReflectionRequest(list_services="")


@asynccontextmanager
async def relay(*arguments: object) -> AsyncIterator[tuple[Process, str]]:
    """A relay process, ready, and its address."""
    process = await start("--listen", "127.0.0.1:0", *arguments)
    try:
        yield process, await listening(process)
    finally:
        await end(process)


@asynccontextmanager
async def connections(target: str, count: int) -> AsyncIterator[list[aio.Channel]]:
    """Channels with a connection each."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(aio.insecure_channel(target, (*OWN_CONNECTION,)))
            for _ in range(count)
        ]


def watch(channel: aio.Channel) -> Any:
    stub: Any = HealthStub(channel)
    return stub.Watch(HealthCheckRequest(), timeout=TIMEOUT)


def inspect(channel: aio.Channel, **options: Any) -> Any:
    """A stream of reflection."""
    stub: Any = ServerReflectionStub(cast("Any", channel))
    return stub.ServerReflectionInfo(timeout=TIMEOUT, **options)


async def began(watches: list[Any]) -> list[Any]:
    """Those of some watches that were not refused."""
    first = await within(asyncio.gather(*(one.read() for one in watches), return_exceptions=True))
    refused = [one for one, answer in zip(watches, first, strict=True) if _is_error(answer)]
    codes = Counter([await one.code() for one in refused])
    assert codes.keys() <= {StatusCode.RESOURCE_EXHAUSTED, StatusCode.CANCELLED}
    return [one for one in watches if one not in refused]


def _is_error(answer: object) -> bool:
    return isinstance(answer, BaseException)


async def test_they_admit_whom_calls_admit(tmp_path: Path) -> None:
    token, line = new_token("alice")
    path = tmp_path / "tokens.txt"
    path.write_text(line)
    known = [("authorization", f"Bearer {token}")]
    async with running("--tokens", path, "--channelz") as (process, channel):
        stub: Any = HealthStub(channel)
        answer = await stub.Check(HealthCheckRequest(), timeout=TIMEOUT)
        assert HealthCheckResponse.SERVING == answer.status
        channelz: Any = ChannelzStub(cast("Any", channel))
        ask = channelz.GetServers(GetServersRequest(), timeout=TIMEOUT)
        assert StatusCode.UNAUTHENTICATED == await ask.code()
        assert await channelz.GetServers(GetServersRequest(), timeout=TIMEOUT, metadata=known)
        assert StatusCode.UNAUTHENTICATED == await ending(inspect(channel))
        call = inspect(channel, metadata=known)
        await call.write(LIST)
        listed = (await within(call.read())).list_services_response.service
        names = [service.name for service in listed]
        call.cancel()
        process.send_signal(signal.SIGTERM)
        assert (0, "", "") == await finish(process)
    assert [
        "chatpb.v1.ChatCompletionService",
        "chatpb.v1.ModelService",
        "chatpb.v1.StoredChatCompletionService",
        "grpc.channelz.v1.Channelz",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    ] == sorted(names)


async def test_inspection_is_bounded() -> None:
    """In number and in bytes; and a stream that is idle does not delay the end."""
    async with running("--grace", TIMEOUT) as (process, channel):
        calls = [inspect(channel) for _ in range(MOST_RUNNING)]
        for call in calls:
            await call.write(LIST)
            await within(call.read())
        assert StatusCode.RESOURCE_EXHAUSTED == await ending(inspect(channel))
        await calls[0].write(ServerReflectionRequest(file_by_filename="x" * 5000))
        assert StatusCode.INVALID_ARGUMENT == await ending(calls[0])
        process.send_signal(signal.SIGTERM)
        ends = {await ending(call) for call in calls[1:]}
        assert {StatusCode.UNAVAILABLE} == ends
        assert (0, "", "") == await within(finish(process), TIMEOUT / 2)


async def test_watches_of_a_connection_are_bounded() -> None:
    most = health._MOST_OF_A_CONNECTION
    async with relay() as (_, target), connections(target, 2) as [channel, other]:
        watches = [watch(channel) for _ in range(most)]
        assert watches == await began(watches)
        assert [] == await began([watch(channel)])
        assert await began([watch(other)])
        watches.pop().cancel()
        while not await began([watch(channel)]):  # until the relay knows
            pass
        stub: Any = HealthStub(channel)
        big = HealthCheckRequest(service="x" * 2000)
        assert StatusCode.INVALID_ARGUMENT == await stub.Check(big, timeout=TIMEOUT).code()


async def test_watches_do_not_delay_the_end() -> None:
    """However many there are: those that are admitted hear of it, and end."""
    count, at_once = (10_000, 100) if SOAK else (300, 30)
    async with (
        relay("--grace", TIMEOUT) as (process, target),
        connections(target, at_once) as channels,
    ):
        watches = await began([watch(channels[index % at_once]) for index in range(count)])
        assert min(count, health._MOST_WATCHES) == len(watches)
        process.send_signal(signal.SIGTERM)
        last = await within(asyncio.gather(*(one.read() for one in watches)))
        assert {HealthCheckResponse.NOT_SERVING} == {answer.status for answer in last}
        code, _, errors = await within(finish(process), TIMEOUT / 2)
        ends = Counter([await one.code() for one in watches])
    assert (0, 2) == (code, errors.count("\n"))  # the upstream, and that it serves
    assert {StatusCode.OK} == ends.keys()
