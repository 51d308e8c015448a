"""Many calls that come at the same moment."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from typing import Final

from grpc import StatusCode, aio

from chatpb.v1.chat_completion_service_pb2_grpc import ChatCompletionServiceStub
from chatpb_server.core.limits import Limits
from chatpb_server.running.serving import Options, serving
from chatpb_server.upstreams.builtin.upstream import BuiltinUpstream
from support.build import create_request
from support.calls import OWN_CONNECTION
from support.limits import TIMEOUT

CONNECTIONS: Final = 4
#: So many calls that gRPC by itself cancels some of them, at random, before the relay sees them.
CALLS: Final = 2400


async def test_all_calls_for_which_there_is_room_are_answered() -> None:
    limits = Limits(max_running=CALLS, max_waiting=0)
    outcomes: Counter[StatusCode] = Counter()
    async with AsyncExitStack() as stack:
        options = Options(limits=limits)
        port = await stack.enter_async_context(serving(BuiltinUpstream(), options=options))
        calls = []
        for _ in range(CONNECTIONS):
            settings = [*OWN_CONNECTION, ("grpc.enable_retries", 0)]
            channel = await stack.enter_async_context(
                aio.insecure_channel(f"127.0.0.1:{port}", options=settings)
            )
            await channel.channel_ready()
            stub = ChatCompletionServiceStub(channel)
            calls += [
                stub.CreateChatCompletion(create_request(), timeout=TIMEOUT)
                for _ in range(CALLS // CONNECTIONS)
            ]
        outcomes.update(await asyncio.gather(*(call.code() for call in calls)))
    assert {StatusCode.OK: CALLS} == outcomes
