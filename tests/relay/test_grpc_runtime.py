"""gRPC's events wake the loop of a relay once, however many have come."""

from __future__ import annotations

import asyncio
import functools
import socket
from typing import Any

import pytest
from grpc import aio

from chatpb_server.edges.grpc.runtime import events_at_once


class _Events:
    """Counts how often it is woken, and reads one byte each time, as gRPC does.

    Args:
        source: Where a byte comes from for each event.
    """

    def __init__(self, source: socket.socket) -> None:
        self._source = source
        self.woken = 0

    def _handle_events(self, _: object) -> None:
        assert self._source.recv(1) == b"1"
        self.woken += 1


def test_the_events_that_have_come_wake_the_loop_once() -> None:
    async def woken(count: int) -> list[int]:
        loop = asyncio.get_running_loop()
        source, sink = socket.socketpair()
        source.setblocking(False)
        events = _Events(source)
        seen: list[int] = []
        with source, sink:
            with events_at_once():
                loop.add_reader(source, functools.partial(events._handle_events, loop))
            for number in (1, count, 1):
                sink.send(b"1" * number)
                for _ in range(5):
                    await asyncio.sleep(0)
                seen.append(events.woken)
                with pytest.raises(BlockingIOError):
                    source.recv(1)
            loop.remove_reader(source)
        return seen

    assert asyncio.run(woken(2)) == [1, 2, 3]
    assert asyncio.run(woken(256)) == [1, 2, 3]
    assert asyncio.run(woken(257)) == [1, 3, 4]


def test_what_grpc_adds_to_the_loop_is_known() -> None:
    async def added() -> list[Any]:
        loop: Any = asyncio.get_running_loop()
        add = loop.add_reader
        callbacks: list[Any] = []

        def noted(source: Any, callback: Any, *args: Any) -> None:
            callbacks.append(callback.__name__)
            add(source, callback, *args)

        loop.add_reader = noted
        with events_at_once():
            server = aio.server()
        assert loop.add_reader is noted
        await server.stop(None)
        return callbacks

    assert asyncio.run(added()) == ["_all_at_once"]


def test_other_readers_stay_as_they_are() -> None:
    async def main() -> list[tuple[str, bytes]]:
        loop = asyncio.get_running_loop()
        source, sink = socket.socketpair()
        seen: list[tuple[str, bytes]] = []
        with source, sink:
            with events_at_once():
                loop.add_reader(source, lambda name: seen.append((name, source.recv(9))), "a")
            sink.send(b"12")
            for _ in range(5):
                await asyncio.sleep(0)
            loop.remove_reader(source)
        return seen

    assert asyncio.run(main()) == [("a", b"12")]
