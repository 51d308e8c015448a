"""What bounds storing: sizes, time, and a store that fails again and again."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from chatpb import to_dict
from chatpb.store import StoredCompletion
from chatpb.store._errors import RowError
from chatpb_server.core.call import Call
from chatpb_server.core.pausing import Pauses
from chatpb_server.core.store_rules import StoreRules
from chatpb_server.core.storing import Storing
from chatpb_server.core.upstream import RequestBody
from support.build import COMPLETION, PING, chunk, completion
from support.http_upstream import HttpUpstream, json_answer, sse_answer
from support.limits import TIMEOUT, within
from support.memory_store import MemoryStore
from support.storing import KINDS, STORE, answers, relay


async def test_what_is_too_large_is_not_stored() -> None:
    async with HttpUpstream() as upstream, relay(upstream.url, max_bytes=4000) as client:
        for edge, stream in KINDS:
            await answers(upstream, stream)
            saw = await client.call(edge, stream=stream, **STORE, user="x" * 4000)
            assert saw.is_ok
            assert saw.is_unstored
        long = [chunk("x" * 900) for _ in range(5)]
        await upstream.answer(sse_answer(*long, chunk(None, "stop")))
        saw = await client.call("grpc", stream=True, **STORE)
        assert saw.is_unstored
        assert 6 == len(saw.values)
        await answers(upstream, False)
        assert not (await client.call("grpc", stream=False, **STORE)).is_unstored
    assert ["too_large"] * 5 + ["stored"] == client.outcomes
    assert 0 == client.store.failures


async def test_a_store_that_is_too_slow() -> None:
    async with HttpUpstream() as upstream, relay(upstream.url, timeout=0.01) as client:
        client.store.open.clear()
        for edge, stream in KINDS[:3]:
            await answers(upstream, stream)
            saw = await client.call(edge, stream=stream, **STORE)
            assert saw.is_ok
            assert saw.is_unstored
        assert 3 == client.store.began
        await answers(upstream, False)
        saw = await client.call("http", stream=False, **STORE)
        assert saw.is_unstored
        assert 3 == client.store.began  # nobody waits for it any more
    assert ["timeout"] * 3 + ["paused"] == client.outcomes


async def test_a_store_that_does_not_give_up() -> None:
    class Stubborn(MemoryStore):
        async def put(self, caller: str, completion: StoredCompletion) -> None:
            try:
                await super().put(caller, completion)
            except asyncio.CancelledError:
                await ended.wait()

    ended = asyncio.Event()
    store = Stubborn()
    store.open.clear()
    call = await stored(store, timeout=0.01)
    assert call.is_unstored
    ended.set()


async def stored(store: MemoryStore, *, deadline: float | None = None, **rules: Any) -> Call:
    """A call whose completion was given to a store."""
    return await kept_by(Storing(store, StoreRules(**rules)), deadline)


async def kept_by(storing: Storing, deadline: float | None = None) -> Call:
    """A call whose completion is stored."""
    call = Call("m", deadline=deadline)
    kept = storing.begin(call, RequestBody(text=b'{"store": true}', store=True))
    assert kept is not None
    async with kept:
        await within(kept.answered(b"\n\x01a"))
    assert 0 == storing.held
    return call


async def test_a_call_whose_time_is_nearly_up() -> None:
    store = MemoryStore()
    store.open.clear()
    now = asyncio.get_running_loop().time()
    call = await stored(store, deadline=now + 0.05, timeout=TIMEOUT)
    assert call.is_unstored
    assert asyncio.get_running_loop().time() < now + TIMEOUT


async def test_after_a_pause_one_call_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    pauses = Pauses(failures=2, seconds=1)
    for _ in range(2):
        assert pauses.try_now()
        pauses.failed()
    assert not pauses.try_now()
    now += 1
    assert [True, False] == [pauses.try_now(), pauses.try_now()]
    pauses.failed()
    assert not pauses.try_now()
    now += 1
    assert pauses.try_now()
    pauses.left()
    assert pauses.try_now()
    pauses.succeeded()
    assert [True, True] == [pauses.try_now(), pauses.try_now()]


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param({"k" * 65: "v"}, id="long key"),
        pytest.param({"k": "v" * 513}, id="long value"),
        pytest.param({str(n): "" for n in range(17)}, id="many pairs"),
    ],
)
async def test_metadata_that_cannot_be_asked_for_is_not_stored(metadata: Any) -> None:
    async with HttpUpstream() as upstream, relay(upstream.url) as client:
        await upstream.answer(json_answer(COMPLETION))
        saw = await client.call("http", stream=False, **STORE, metadata=metadata)
    assert saw.is_ok
    assert "false" == saw.says
    assert ["unfit"] == client.outcomes


async def test_an_answer_without_an_id_gets_one() -> None:
    answer = {name: value for name, value in completion().items() if name not in ("id", "model")}
    async with HttpUpstream() as upstream, relay(upstream.url) as client:
        await upstream.answer(json_answer(answer))
        saw = await client.call("http", stream=False, **STORE)
    assert [answer] == saw.values
    [row] = client.store.rows.values()
    [record] = client.store.records
    assert row.id.startswith("chatcmpl-")
    assert answer | {"id": row.id} == to_dict(record.completion)
    assert PING["model"] == row.model


async def test_a_row_that_the_database_does_not_take_leads_to_no_pause() -> None:
    class Choosy(MemoryStore):
        async def put(self, *_: Any) -> None:
            self.began += 1
            raise RowError("memory", "too long")

    store = Choosy()
    storing = Storing(store)
    for number in range(5):
        call = await kept_by(storing)
        assert call.is_unstored
        assert number + 1 == store.began


async def test_a_fault_fails_no_completion(caplog: pytest.LogCaptureFixture) -> None:
    class Faulty(MemoryStore):
        async def put(self, *_: Any) -> None:
            raise ZeroDivisionError

    with caplog.at_level(logging.ERROR):
        call = await stored(Faulty(), timeout=TIMEOUT)
    assert call.is_unstored
    assert ["a completion was not stored"] == [record.message for record in caplog.records]
