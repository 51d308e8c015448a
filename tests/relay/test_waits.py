"""Time limits of many waits that share one timer."""

from __future__ import annotations

import asyncio

import pytest

from chatpb_server.core.waits import Wait, Waits
from support.limits import within


async def _late(waits: Waits[Wait], started: asyncio.Event) -> str:
    wait = Wait(waits)
    try:
        with wait:
            started.set()
            await asyncio.Event().wait()
    except TimeoutError:
        return "late" if wait.is_over else "early"
    raise AssertionError


async def test_those_that_are_late_are_told_in_their_order() -> None:
    late: list[str] = []
    over = asyncio.Event()

    def tell(wait: str) -> None:
        late.append(wait)
        if wait == "last":
            over.set()

    waits = Waits(0.01, tell)
    for wait in ("first", "gone", "again", "second"):
        waits.add(wait)
    waits.discard("gone")
    waits.add("again")
    waits.add("last")
    assert 4 == len(waits)
    await within(over.wait())
    assert ["first", "second", "again", "last"] == late
    assert 0 == len(waits)


async def test_a_wait_ends_with_a_timeout_of_its_own() -> None:
    waits = Waits(0.01, Wait.end)
    assert "late" == await within(_late(waits, asyncio.Event()))
    task = asyncio.current_task()
    assert task is not None
    assert 0 == task.cancelling()


async def test_a_wait_in_time_leaves_nothing() -> None:
    waits = Waits(60, Wait.end)
    with Wait(waits) as wait:
        await asyncio.sleep(0)
    assert (False, 0) == (wait.is_over, len(waits))


@pytest.mark.parametrize("seconds", [None, 60.0])
async def test_shortening_ends_those_that_have_begun(seconds: float | None) -> None:
    waits, started = Waits(seconds, Wait.end), asyncio.Event()
    waiting = asyncio.ensure_future(_late(waits, started))
    await within(started.wait())
    waits.shorten(0.0)
    assert "late" == await within(waiting)
    assert "late" == await within(_late(waits, asyncio.Event()))


async def test_a_cancelled_wait_is_not_late() -> None:
    waits, started = Waits(60, Wait.end), asyncio.Event()

    async def wait() -> None:
        with Wait(waits):
            started.set()
            await asyncio.Event().wait()

    waiting = asyncio.ensure_future(wait())
    await within(started.wait())
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await within(waiting)
    assert 0 == len(waits)
