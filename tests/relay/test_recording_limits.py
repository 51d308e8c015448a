"""Recording is bounded: long calls, large records, overload, and logs that fail."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

from chatpb import to_dict
from chatpb.log import LogWriter, Sync
from chatpb.log._files import LogFile
from chatpb_server.watching.record_limits import RecordLimits
from support.build import COMPLETION, chunk, create_request, stream_request
from support.calls import ending
from support.http_upstream import WAIT, HttpUpstream, Repeat, event, json_answer, sse_answer
from support.limits import TIMEOUT, within
from support.recording import EDGES, Watched, chunks_of, over_both, records, relay

# What is kept is bounded.


@over_both
async def test_a_long_stream_is_cut(edge: str, tmp_path: Path) -> None:
    piece = chunk("x" * 10_000)
    limits = RecordLimits(exchange_bytes=1_000_000)
    async with HttpUpstream() as upstream, relay(upstream.url, tmp_path, limits) as client:
        await upstream.answer(
            sse_answer(Repeat(event(piece), 1000), chunk("end", "stop"), writes="whole")
        )
        saw = await client.call(edge, stream=True)
        assert "truncated" == await within(client.outcomes.get())
    [record] = records(tmp_path)
    assert 1001 == len(saw.chunks)
    assert 90 < len(record.chunks) < 100
    assert saw.chunks[: len(record.chunks)] == chunks_of(record)
    assert len(record.chunks) == len(record.chunk_times_us)
    assert ({"chatpb.truncated": "chunks"}, 0) == (dict(record.labels), record.status)
    assert record.ByteSize() < 1_001_000


async def test_all_that_run_have_so_much_room(tmp_path: Path) -> None:
    limits = RecordLimits(running_bytes=15_000)
    async with HttpUpstream() as upstream, relay(upstream.url, tmp_path, limits) as client:
        calls = []
        for _ in range(2):
            await upstream.answer(sse_answer(chunk("x" * 10_000), WAIT, chunk("", "stop")))
            calls.append(client.stub.StreamChatCompletion(stream_request(), timeout=TIMEOUT))
            await within(calls[-1].read())
            await upstream.next("waiting")
        assert 10_000 < client.recorder.held <= limits.running_bytes
        await upstream.go()
        await upstream.go()
        for call in calls:
            assert StatusCode.OK == await ending(call)
    sizes = sorted(len(record.chunks) for record in records(tmp_path))
    assert [0, 2] == sizes


async def test_parts_that_are_too_long_are_named(tmp_path: Path) -> None:
    long = {**COMPLETION, "x_vendor": "x" * 2000}
    limits = RecordLimits(exchange_bytes=1000)
    async with HttpUpstream() as upstream, relay(upstream.url, tmp_path, limits) as client:
        await upstream.answer(json_answer(long))
        assert long == (await client.call("grpc", stream=False, user="x" * 2000)).completion
        await upstream.answer(json_answer({"error": {"message": "x" * 2000}}, status=400))
        await client.call("grpc", stream=False)
    labels = [dict(record.labels) for record in records(tmp_path)]
    expected = ["completion,request", "error"]
    assert [{"chatpb.truncated": text} for text in expected] == labels


async def test_large_records(tmp_path: Path) -> None:
    """They are put together in a thread."""
    long = {**COMPLETION, "x_vendor": "x" * 1_000_000}
    async with HttpUpstream() as upstream, relay(upstream.url, tmp_path) as client:
        await upstream.answer(json_answer(long), always=True)
        for edge in EDGES:
            assert long == (await client.call(edge, stream=False)).completion
    assert [long, long] == [to_dict(record.completion) for record in records(tmp_path)]


# Too much, and faults of the log.


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """The disk takes no more records, until this is set. What a file begins with is taken."""
    goes_on = threading.Event()
    write = LogFile.write

    def blocked(self: LogFile, frame: bytes) -> None:
        if self.size:
            assert goes_on.wait(TIMEOUT)
        write(self, frame)

    monkeypatch.setattr(LogFile, "write", blocked)
    yield goes_on
    goes_on.set()


async def test_overload_drops(
    tmp_path: Path, disk: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    def open_writer() -> LogWriter:
        return LogWriter(tmp_path, max_pending_bytes=4096)

    async with (
        HttpUpstream() as upstream,
        relay(upstream.url, tmp_path, open_writer=open_writer) as client,
    ):
        await upstream.answer(json_answer(COMPLETION), always=True)
        for number in range(10):
            saw = await client.call("grpc", stream=False, seed=number)
            assert COMPLETION == saw.completion
        for _ in range(7):
            assert "dropped" == await within(client.outcomes.get())
        disk.set()
        for _ in range(3):
            assert "written" == await within(client.outcomes.get())
    assert [0, 1, 2] == [record.request.seed for record in records(tmp_path)]
    lost = [line for line in caplog.messages if line.startswith("records are lost")]
    # Once at the first, and at the end for the others.
    assert ["records are lost (1 dropped)", "records are lost (6 dropped)"] == [
        line.partition(":")[0] for line in lost
    ]


async def test_overload_waits(tmp_path: Path, disk: threading.Event) -> None:
    writers: list[Watched] = []

    def open_writer() -> LogWriter:
        writers.append(Watched(tmp_path, max_pending_bytes=4096))
        return writers[-1]

    limits = RecordLimits(overload="wait")
    async with (
        HttpUpstream() as upstream,
        relay(upstream.url, tmp_path, limits, open_writer=open_writer) as client,
    ):
        await upstream.answer(json_answer(COMPLETION), always=True)
        for number in range(3):
            await client.call("grpc", stream=False, seed=number)
        waiting = [
            asyncio.create_task(client.call("grpc", stream=False, seed=number))
            for number in range(3, 6)
        ]
        assert await asyncio.to_thread(writers[0].is_waited_for.wait, TIMEOUT)
        gone = client.stub.CreateChatCompletion(create_request(seed=6), timeout=TIMEOUT)
        for _ in range(7):
            await upstream.next("done")
        assert not any(task.done() for task in waiting)
        gone.cancel()
        disk.set()
        for task in waiting:
            assert COMPLETION == (await within(task)).completion
    assert [*range(7)] == sorted(record.request.seed for record in records(tmp_path))


async def test_a_log_that_breaks_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    opened: asyncio.Queue[bool] = asyncio.Queue()

    def open_writer() -> LogWriter:
        is_open = False
        try:
            writer = LogWriter(tmp_path, sync=Sync.COMMIT, frame_seconds=0)
            is_open = True
            return writer
        finally:
            loop.call_soon_threadsafe(opened.put_nowait, is_open)

    def full(*_: object) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with (
        HttpUpstream() as upstream,
        relay(upstream.url, tmp_path, open_writer=open_writer) as client,
    ):
        await upstream.answer(json_answer(COMPLETION), always=True)
        assert await within(opened.get())
        with monkeypatch.context() as patch:
            patch.setattr(LogFile, "sync", full)
            patch.setattr(LogFile, "create", full)
            assert COMPLETION == (await client.call("grpc", stream=False, seed=1)).completion
            assert "failed" == await within(client.outcomes.get())
            assert not await within(opened.get())  # tried at once
        assert COMPLETION == (await client.call("grpc", stream=False, seed=2)).completion
        assert "failed" == await within(client.outcomes.get())
        assert await within(opened.get())
        # The log is there again, for who comes after the thread has taken it into use.
        outcome = "failed"
        while outcome == "failed":
            await client.call("grpc", stream=False, seed=3)
            outcome = await within(client.outcomes.get())
        assert "written" == outcome
    assert 3 == records(tmp_path)[-1].request.seed
