"""Turns: first come, first served, and none lost."""

from __future__ import annotations

import asyncio

import pytest

from chatpb_server.core.gate import Gate, OverloadError


async def settle() -> None:
    """Lets all tasks go on as far as they can."""
    for _ in range(5):
        await asyncio.sleep(0)


class Calls:
    """Calls at a gate, by their names."""

    def __init__(self, gate: Gate) -> None:
        self.running: list[str] = []
        self.waiting: list[int] = []
        self._gate = gate
        self._ends: dict[str, asyncio.Event] = {}

    def start(self, name: str) -> asyncio.Task[None]:
        """A call that runs until it is ended."""
        return asyncio.create_task(self._run(name))

    async def end(self, name: str) -> None:
        """Ends a running call."""
        self._ends[name].set()
        await settle()

    async def _run(self, name: str) -> None:
        self._ends[name] = asyncio.Event()
        async with self._gate.turn(self.waiting.append):
            self.running.append(name)
            try:
                await self._ends[name].wait()
            finally:
                self.running.remove(name)


async def test_turns_come_in_order() -> None:
    calls = Calls(Gate(2, 2))
    for name in "abcd":
        calls.start(name)
    await settle()
    assert ["a", "b"] == calls.running
    await calls.end("b")
    assert ["a", "c"] == calls.running
    await calls.end("a")
    assert ["c", "d"] == calls.running
    assert [1, 2, 1, 0] == calls.waiting
    await calls.end("c")
    await calls.end("d")
    assert [] == calls.running


async def test_no_room_is_said_at_once() -> None:
    calls = Calls(Gate(1, 0))
    calls.start("a")
    await settle()
    with pytest.raises(OverloadError):
        await calls.start("b")
    await calls.end("a")
    calls.start("c")
    await settle()
    assert ["c"] == calls.running
    await calls.end("c")


async def test_one_that_leaves_the_queue_loses_no_turn() -> None:
    calls = Calls(Gate(1, 3))
    calls.start("a")
    leaving, staying = calls.start("b"), calls.start("c")
    await settle()
    leaving.cancel()
    await calls.end("a")
    assert ["c"] == calls.running
    await calls.end("c")
    await staying


async def test_one_that_leaves_as_its_turn_comes_passes_it_on() -> None:
    calls = Calls(Gate(1, 3))
    first = calls.start("a")
    leaving, staying = calls.start("b"), calls.start("c")
    await settle()
    first.cancel()
    await asyncio.sleep(0)  # the turn has been given, but not taken
    leaving.cancel()
    await settle()
    assert ["c"] == calls.running
    await calls.end("c")
    await staying
    calls.start("d")
    await settle()
    assert ["d"] == calls.running
    await calls.end("d")


async def test_more_room_than_anybody_needs_takes_no_time() -> None:
    gate = Gate(1, 3)
    calls = Calls(gate)
    for name in "abcd":
        calls.start(name)
    await settle()
    gate.resize(2, 3)
    await settle()
    assert ["a", "b"] == calls.running
    gate.resize(10**30, 3)
    await settle()
    assert ["a", "b", "c", "d"] == calls.running
    gate.resize(1, 3)
    for name in "abcd":
        assert name in calls.running
        await calls.end(name)
    calls.start("e")
    calls.start("f")
    await settle()
    assert ["e"] == calls.running
