"""Recording: what is in the log is what the callers saw, and no caller feels it."""

from __future__ import annotations

import asyncio
import errno
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from grpc import StatusCode, aio

from chatpb import to_dict
from chatpb.log import LogWriter, PendingFullError, Position, Sync, read
from chatpb.log._files import LogFile
from chatpb.v1.chat_completion_service_pb2_grpc import ChatCompletionServiceStub
from chatpb.v1.completion_record_pb2 import CompletionRecord
from chatpb_server.core.explain import AuthenticationError
from chatpb_server.core.service import SERVICE_NAME
from chatpb_server.running.serving import Limits, Options, serving_all
from chatpb_server.upstreams.http import HttpUpstream as Http
from chatpb_server.upstreams.router import RetryPolicy, Route, Router
from chatpb_server.watching.record_limits import Outcome, RecordLimits
from chatpb_server.watching.recording import LogRecorder
from support.build import COMPLETION, PING, chunk, create_request, error_object, stream_request
from support.calls import ending
from support.http_upstream import (
    CLOSE,
    HANG,
    WAIT,
    HttpUpstream,
    Repeat,
    event,
    json_answer,
    refusing,
    sse_answer,
)
from support.limits import TIMEOUT, within

MORE: dict[str, Any] = {"temperature": 0.5, "x_top_k": {"a": [1.50, None]}}
ERROR = error_object("no", code="c", x=[1])
EDGES = ["grpc", "http"]
over_both = pytest.mark.parametrize("edge", EDGES)


def records(directory: Path) -> list[CompletionRecord]:
    """What is in a log, which is put together as protobuf would write it."""
    entries = list(read(directory))
    for entry in entries:
        assert entry.record.SerializeToString(deterministic=True) == entry.data
    return [entry.record for entry in entries]


def chunks_of(record: CompletionRecord) -> list[Any]:
    return [to_dict(part) for part in record.chunks]


class Saw:
    """What a caller saw.

    Attributes:
        completion: The completion, as a JSON value, if there was one.
        chunks: The chunks, likewise.
        status: The gRPC status, or the HTTP status.
        error: OpenAI's error, as a JSON value, if there was one.
    """

    def __init__(self) -> None:
        self.completion: Any = None
        self.chunks: list[Any] = []
        self.status: StatusCode | int = 0
        self.error: Any = None


class Relay:
    """A relay that records, and callers of it."""

    def __init__(self, channel: aio.Channel, url: str, recorder: LogRecorder) -> None:
        self.stub: Any = ChatCompletionServiceStub(channel)
        self.channel = channel
        self.url = url
        self.recorder = recorder
        self.outcomes: asyncio.Queue[Outcome] = asyncio.Queue()

    async def call(self, edge: str, *, stream: bool, **members: Any) -> Saw:
        """A call, to its end."""
        saw = Saw()
        if edge == "http":
            body = {**PING, **members, **({"stream": True} if stream else {})}
            async with (
                aiohttp.ClientSession() as session,
                session.post(self.url, json=body) as response,
            ):
                text = await within(response.read())
            saw.status = response.status
            if response.content_type == "application/json":
                value = json.loads(text)
                values = [value]
            else:
                data = [line[6:] for line in text.splitlines() if line.startswith(b"data: {")]
                values = [json.loads(line) for line in data]
            for value in values:
                if "error" in value:
                    saw.error = value
                elif stream:
                    saw.chunks.append(value)
                else:
                    saw.completion = value
            return saw
        try:
            if stream:
                async for response in self.stub.StreamChatCompletion(
                    stream_request(**members), timeout=TIMEOUT
                ):
                    saw.chunks += [to_dict(part) for part in response.chunks]
            else:
                response = await self.stub.CreateChatCompletion(
                    create_request(**members), timeout=TIMEOUT
                )
                saw.completion = to_dict(response.completion)
            saw.status = StatusCode.OK
        except aio.AioRpcError as error:
            saw.status = error.code()
            saw.error = error.details()
        return saw


class Watched(LogWriter):
    """A log that says when someone waits for room in it."""

    def __init__(self, *arguments: Any, **how: Any) -> None:
        self.is_waited_for = threading.Event()
        super().__init__(*arguments, **how)

    def append(self, record: CompletionRecord | bytes, *, block: bool = True) -> Future[Position]:
        """Appends as the log does."""
        try:
            return super().append(record, block=False)
        except PendingFullError:
            if not block:
                raise
            self.is_waited_for.set()
            return super().append(record)


@asynccontextmanager
async def relay(
    url: str,
    directory: Path,
    limits: RecordLimits | None = None,
    *,
    open_writer: Callable[[], LogWriter] | None = None,
    options: Options | None = None,
    labels: dict[str, str] | None = None,
) -> AsyncIterator[Relay]:
    """A relay to the upstream at a URL; at the end, all records are in the directory."""
    loop = asyncio.get_running_loop()
    counted: asyncio.Queue[Outcome] = asyncio.Queue()

    def count(outcome: Outcome) -> None:
        loop.call_soon_threadsafe(counted.put_nowait, outcome)

    recorder = LogRecorder(
        open_writer or (lambda: LogWriter(directory)),
        limits,
        labels=labels,
        count=count,
    )
    router = Router([Route("up", Http(url))], RetryPolicy(attempts=1))
    options = options or Options()
    how = {"http": "127.0.0.1:0", "recorder": recorder}
    fields = {name: getattr(options, name) for name in Options.__dataclass_fields__}
    try:
        async with (
            serving_all(router, options=Options(**{**fields, **how})) as ports,
            aio.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel,
        ):
            path = f"http://127.0.0.1:{ports.http}/v1/chat/completions"
            client = Relay(channel, path, recorder)
            client.outcomes = counted
            yield client
    finally:
        await within(asyncio.to_thread(recorder.close))
    assert 0 == recorder.held


# What callers see is what is in the log.


@over_both
async def test_a_completion(edge: str, tmp_path: Path) -> None:
    async with (
        HttpUpstream() as upstream,
        relay(upstream.url, tmp_path, labels={"team": "a", "env": "b"}) as client,
    ):
        await upstream.answer(json_answer(COMPLETION))
        saw = await client.call(edge, stream=False, **MORE)
    [record] = records(tmp_path)
    assert COMPLETION == saw.completion == to_dict(record.completion)
    assert PING | MORE == to_dict(record.request)
    assert (0, 200, "up", {"team": "a", "env": "b"}) == (
        record.status,
        record.http_status,
        record.upstream,
        dict(record.labels),
    )
    assert not record.HasField("caller")
    assert not record.HasField("error")
    assert 0 < record.duration_us < TIMEOUT * 1_000_000
    assert 16 == len(record.call_id)


@over_both
async def test_a_stream(edge: str, tmp_path: Path) -> None:
    expected = [chunk("a"), chunk("b"), chunk("c", "stop")]
    async with HttpUpstream() as upstream, relay(upstream.url, tmp_path) as client:
        await upstream.answer(sse_answer(*expected))
        saw = await client.call(edge, stream=True, **MORE)
    [record] = records(tmp_path)
    assert expected == saw.chunks == chunks_of(record)
    flag = {"stream": True} if edge == "http" else {}
    assert PING | MORE | flag == to_dict(record.request)
    assert (0, 200, {}) == (record.status, record.http_status, dict(record.labels))
    assert not record.HasField("completion")
    times = list(record.chunk_times_us)
    assert len(expected) == len(times)
    assert sorted([0, *times, record.duration_us]) == [0, *times, record.duration_us]


async def test_chunks_have_the_times_at_which_they_came(tmp_path: Path) -> None:
    async with HttpUpstream() as upstream, relay(upstream.url, tmp_path) as client:
        await upstream.answer(sse_answer(chunk("a"), WAIT, chunk("b", "stop")))
        call = client.stub.StreamChatCompletion(stream_request(), timeout=TIMEOUT)
        await within(call.read())
        await upstream.next("waiting")
        waited = asyncio.get_running_loop().time()
        await asyncio.sleep(0.05)  # the time that is measured
        waited = asyncio.get_running_loop().time() - waited
        await upstream.go()
        assert StatusCode.OK == await ending(call)
    [record] = records(tmp_path)
    first, second = record.chunk_times_us
    assert second - first >= waited * 1_000_000


@over_both
@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
async def test_an_error_of_the_upstream(edge: str, stream: bool, tmp_path: Path) -> None:
    async with HttpUpstream() as upstream, relay(upstream.url, tmp_path) as client:
        await upstream.answer(json_answer(ERROR, status=429))
        saw = await client.call(edge, stream=stream)
    [record] = records(tmp_path)
    assert ERROR == to_dict(record.error)
    expected = {"grpc": (StatusCode.RESOURCE_EXHAUSTED, "no"), "http": (429, ERROR)}
    assert expected[edge] == (saw.status, saw.error)
    assert (StatusCode.RESOURCE_EXHAUSTED.value[0], 429) == (record.status, record.http_status)
    assert not record.HasField("completion")
    assert [] == chunks_of(record)


@over_both
async def test_an_error_that_ends_a_stream(edge: str, tmp_path: Path) -> None:
    async with HttpUpstream() as upstream, relay(upstream.url, tmp_path) as client:
        await upstream.answer(sse_answer(chunk("a"), ERROR, done=False))
        saw = await client.call(edge, stream=True)
    [record] = records(tmp_path)
    assert [chunk("a")] == saw.chunks == chunks_of(record)
    assert ERROR == to_dict(record.error)
    assert (StatusCode.INTERNAL.value[0], 200) == (record.status, record.http_status)


async def test_an_answer_that_breaks_off(tmp_path: Path) -> None:
    async with HttpUpstream() as upstream, relay(upstream.url, tmp_path) as client:
        await upstream.answer(sse_answer(chunk("a"), CLOSE))
        saw = await client.call("grpc", stream=True)
    [record] = records(tmp_path)
    assert [chunk("a")] == saw.chunks == chunks_of(record)
    assert (StatusCode.DATA_LOSS, StatusCode.DATA_LOSS.value[0]) == (saw.status, record.status)
    assert saw.error == record.error.error.message


@over_both
async def test_an_upstream_that_is_not_there(edge: str, tmp_path: Path) -> None:
    with refusing() as url:
        async with relay(url, tmp_path) as client:
            saw = await client.call(edge, stream=False)
    [record] = records(tmp_path)
    assert saw.status in (503, StatusCode.UNAVAILABLE)
    assert (StatusCode.UNAVAILABLE.value[0], 503) == (record.status, record.http_status)
    assert PING == to_dict(record.request)


@over_both
async def test_a_caller_that_goes(edge: str, tmp_path: Path) -> None:
    async with HttpUpstream() as upstream, relay(upstream.url, tmp_path) as client:
        await upstream.answer(sse_answer(chunk("a"), HANG))
        if edge == "grpc":
            call = client.stub.StreamChatCompletion(stream_request(), timeout=TIMEOUT)
            await within(call.read())
            call.cancel()
        else:
            async with aiohttp.ClientSession() as session:
                response = await session.post(client.url, json={**PING, "stream": True})
                await within(response.content.readline())
                response.close()
        await upstream.next("closed")
    [record] = records(tmp_path)
    assert [chunk("a")] == chunks_of(record)
    assert (StatusCode.CANCELLED.value[0], 200) == (record.status, record.http_status)
    assert not record.HasField("error")


@over_both
async def test_a_deadline(edge: str, tmp_path: Path) -> None:
    async with HttpUpstream() as upstream, relay(upstream.url, tmp_path) as client:
        await upstream.answer(json_answer(HANG, COMPLETION))
        if edge == "grpc":
            with pytest.raises(aio.AioRpcError):
                await client.stub.CreateChatCompletion(create_request(), timeout=0.2)
        else:
            late = {"x-request-timeout-ms": "200"}
            async with (
                aiohttp.ClientSession(headers=late) as session,
                session.post(client.url, json=PING) as response,
            ):
                assert 504 == response.status
        await upstream.next("closed")
    [record] = records(tmp_path)
    assert StatusCode.DEADLINE_EXCEEDED.value[0] == record.status
    assert record.http_status in (0, 504)  # of a caller that waits no more, none
    assert record.duration_us > 100_000


# Who is recorded.


@over_both
async def test_a_call_for_which_there_is_no_room(edge: str, tmp_path: Path) -> None:
    options = Options(limits=Limits(max_running=1, max_waiting=0))
    async with (
        HttpUpstream() as upstream,
        relay(upstream.url, tmp_path, options=options) as client,
    ):
        await upstream.answer(sse_answer(chunk("a"), WAIT))
        running = client.stub.StreamChatCompletion(stream_request(), timeout=TIMEOUT)
        await within(running.read())
        saw = await client.call(edge, stream=False, **MORE)
        assert saw.status in (429, StatusCode.RESOURCE_EXHAUSTED)
        rpc: Any = client.channel.unary_unary(f"/{SERVICE_NAME}/CreateChatCompletion")
        with pytest.raises(aio.AioRpcError):  # it cannot be known what this one asks
            await rpc(b"\x0a\x02\xff\xff", timeout=TIMEOUT)
        await upstream.go()
        await ending(running)
    refused, taken = records(tmp_path)
    assert (StatusCode.RESOURCE_EXHAUSTED.value[0], 429) == (refused.status, refused.http_status)
    assert PING | MORE == to_dict(refused.request)
    assert not refused.HasField("upstream")
    assert (0, [chunk("a")]) == (taken.status, chunks_of(taken))


async def test_callers_have_names_and_strangers_leave_nothing(tmp_path: Path) -> None:
    def authenticate(_: Any, peer: Any) -> str:
        name = dict(peer.invocation_metadata()).get("name")
        if name is None:
            raise AuthenticationError("who?")
        return str(name)

    options = Options(authenticate=authenticate)
    async with (
        HttpUpstream() as upstream,
        relay(upstream.url, tmp_path, options=options) as client,
    ):
        await upstream.answer(json_answer(COMPLETION), always=True)
        for edge in EDGES:
            saw = await client.call(edge, stream=False)
            assert saw.status in (401, StatusCode.UNAUTHENTICATED)
        named = {"metadata": (("name", "alice"),), "timeout": TIMEOUT}
        await client.stub.CreateChatCompletion(create_request(), **named)
    [record] = records(tmp_path)
    assert ("alice", COMPLETION) == (record.caller, to_dict(record.completion))


async def test_what_is_no_exchange_is_not_recorded(tmp_path: Path) -> None:
    async with (
        HttpUpstream() as upstream,
        relay(upstream.url, tmp_path) as client,
        aiohttp.ClientSession() as session,
    ):
        async with session.get(client.url.replace("chat/completions", "models")) as response:
            assert 200 == response.status
        async with session.post(client.url, data=b"[") as response:
            assert 400 == response.status
    assert [] == records(tmp_path)


async def test_a_request_without_a_binary_form(tmp_path: Path) -> None:
    body = b'{"model": "m", "x": ' + b"[" * 300 + b"]" * 300 + b"}"
    async with HttpUpstream() as upstream, relay(upstream.url, tmp_path) as client:
        await upstream.answer(json_answer(COMPLETION))
        async with (
            aiohttp.ClientSession() as session,
            session.post(client.url, data=body) as response,
        ):
            assert COMPLETION == await response.json()
    [record] = records(tmp_path)
    assert {"chatpb.truncated": "request"} == dict(record.labels)
    assert (False, COMPLETION) == (record.HasField("request"), to_dict(record.completion))


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
    opened: asyncio.Queue[None] = asyncio.Queue()

    def open_writer() -> LogWriter:
        writer = LogWriter(tmp_path, sync=Sync.COMMIT, frame_seconds=0)
        loop.call_soon_threadsafe(opened.put_nowait, None)
        return writer

    def full(*_: object) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with (
        HttpUpstream() as upstream,
        relay(upstream.url, tmp_path, open_writer=open_writer) as client,
    ):
        await upstream.answer(json_answer(COMPLETION), always=True)
        await within(opened.get())
        with monkeypatch.context() as patch:
            patch.setattr(LogFile, "sync", full)
            patch.setattr(LogFile, "create", full)
            assert COMPLETION == (await client.call("grpc", stream=False, seed=1)).completion
            assert "failed" == await within(client.outcomes.get())
        assert COMPLETION == (await client.call("grpc", stream=False, seed=2)).completion
        assert "failed" == await within(client.outcomes.get())
        await within(opened.get())
        # The log is there again, for who comes after the thread has taken it into use.
        outcome = "failed"
        while outcome == "failed":
            await client.call("grpc", stream=False, seed=3)
            outcome = await within(client.outcomes.get())
        assert "written" == outcome
    assert 3 == records(tmp_path)[-1].request.seed
