"""What is appended to a log is read from it, by chatpb and by others."""

from __future__ import annotations

import asyncio
import hashlib
import io
import itertools
import os
import shutil
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed, wait
from importlib.metadata import version
from pathlib import Path

import pytest
import zstandard
from google.protobuf.proto import parse_length_prefixed
from hypothesis import given
from hypothesis import strategies as st

import chatpb.v1
from chatpb.log import (
    SUFFIX,
    DamagedLogError,
    Entry,
    LogError,
    LogWriter,
    PendingFullError,
    Position,
    Sync,
    _headers,
    header,
    read,
)
from chatpb.v1 import CompletionRecord, LogHeader
from support.limits import TIMEOUT
from support.log_files import NAME, contents, frame_offsets, record, records, write

DESCRIPTORS = Path(chatpb.v1.__file__).with_name("descriptor_set.binpb")


@pytest.mark.parametrize("sync", Sync)
def test_records_come_back_from_where_their_futures_say(tmp_path: Path, sync: Sync) -> None:
    data = records(1000, 100)
    with LogWriter(tmp_path / NAME, sync=sync, frame_bytes=5000, frame_seconds=0) as writer:
        futures = [writer.append(item) for item in data]
    expected = [Entry(item, future.result(0)) for item, future in zip(data, futures, strict=True)]
    assert expected == list(read(tmp_path / NAME))
    assert "999" == expected[-1].record.call_id


def test_a_message_is_appended_as_its_bytes(tmp_path: Path) -> None:
    message = CompletionRecord(call_id="a", status=0)
    with LogWriter(tmp_path / NAME) as writer:
        writer.append(message)
    assert [message.SerializeToString()] == contents(tmp_path / NAME)


def test_the_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_headers, "wall_clock_us", lambda: 1_700_000_000_000_000)
    write(tmp_path / NAME, [])
    write(tmp_path / f"other{SUFFIX}", [])
    found = header(tmp_path / NAME)
    expected = LogHeader(
        message_type="chatpb.v1.CompletionRecord",
        schema_sha256=hashlib.sha256(DESCRIPTORS.read_bytes()).digest(),
        writer=f"chatpb {version('chatpb')}",
        create_time_unix_us=1_700_000_000_000_000,
        file_id=found.file_id,
    )
    assert expected == found
    assert 32 == len(found.file_id)
    assert found.file_id != header(tmp_path / f"other{SUFFIX}").file_id


def test_opening_again_goes_on(tmp_path: Path) -> None:
    write(tmp_path / NAME, records(3))
    before = (tmp_path / NAME).read_bytes()
    write(tmp_path / NAME, [record(3)])
    assert records(4) == contents(tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes().startswith(before)
    assert 6 == len(frame_offsets(tmp_path / NAME))  # no second header


def test_another_schema_gets_another_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / NAME, [record(0)])
    monkeypatch.setattr(_headers, "_schema_sha256", lambda: b"x" * 32)
    write(tmp_path / NAME, [record(1)])
    assert records(2) == contents(tmp_path / NAME)
    messages = decompressed(tmp_path / NAME)
    first, second = [m.log_header for m in messages if m.HasField("log_header")]
    assert (first.file_id, b"x" * 32) == (second.file_id, second.schema_sha256)


def decompressed(path: Path) -> list[CompletionRecord]:
    """The messages of a log, by other means."""
    stream = zstandard.ZstdDecompressor().stream_reader(
        io.BytesIO(path.read_bytes()), read_across_frames=True
    )
    return list(delimited(stream.read()))


def delimited(data: bytes) -> list[CompletionRecord]:
    file = io.BytesIO(data)
    found = []
    while (message := parse_length_prefixed(CompletionRecord, file)) is not None:
        found.append(message)
    return found


def test_the_smallest_and_a_large_record(tmp_path: Path) -> None:
    data = [b"", record(1, 3_000_000), b"", record(2)]
    write(tmp_path / NAME, data, frame_bytes=1000)
    assert data == contents(tmp_path / NAME)


def test_records_that_are_refused(tmp_path: Path) -> None:
    with LogWriter(tmp_path / NAME) as writer:
        with pytest.raises(ValueError, match="268435457 bytes; the most is 268435456"):
            writer.append(bytes(256 * 1024 * 1024 + 1))
        with pytest.raises(ValueError, match="only a log_header is not a record"):
            writer.append(CompletionRecord(log_header=LogHeader(file_id="x")))
        writer.append(CompletionRecord(log_header=LogHeader(), call_id="a"))
    assert ["a"] == [entry.record.call_id for entry in read(tmp_path / NAME)]


def test_frames_are_full_and_say_what_they_need(tmp_path: Path) -> None:
    data = records(2000, 1000)
    write(tmp_path / NAME, data, frame_bytes=100_000)
    offsets = frame_offsets(tmp_path / NAME)
    raw = (tmp_path / NAME).read_bytes()
    frames = [zstandard.get_frame_parameters(raw[offset:]) for offset in offsets[1:-1]]
    total = sum(map(len, data))
    assert total / 100_000 < len(frames) < total / 100_000 * 1.2 + 2
    assert {True} == {frame.has_checksum for frame in frames}
    assert total <= sum(frame.content_size for frame in frames) <= total + 2 * len(data)


def test_a_record_does_not_wait_for_others(tmp_path: Path) -> None:
    with LogWriter(tmp_path / NAME, sync_seconds=0, frame_seconds=0.01) as writer:
        assert 0 == writer.append(record(0)).result(TIMEOUT).index
        assert records(1) == contents(tmp_path / NAME)


def test_flush_waits_for_no_time(tmp_path: Path) -> None:
    forever = threading.TIMEOUT_MAX
    with LogWriter(tmp_path / NAME, sync_seconds=forever, frame_seconds=forever) as writer:
        first, second = writer.append(record(0)), writer.append(record(1))
        writer.flush()
        assert [0, 1] == [first.result(0).index, second.result(0).index]
        last = writer.append(record(2))
    assert first.result().frame_offset < last.result(0).frame_offset


def test_commit_shares_the_wait_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[int] = []
    is_waiting, may_go = threading.Event(), threading.Event()

    def sync(fd: int) -> None:
        waits.append(fd)
        is_waiting.set()
        assert may_go.wait(TIMEOUT)

    with LogWriter(tmp_path / NAME, sync=Sync.COMMIT, frame_seconds=0) as writer:
        monkeypatch.setattr(os, "fdatasync", sync)
        futures = [writer.append(record(0))]
        assert is_waiting.wait(TIMEOUT)
        futures += [writer.append(record(number)) for number in range(1, 100)]
        assert not futures[0].done()
        may_go.set()
        for future in futures:
            future.result(TIMEOUT)
    assert 2 == len(waits)


def test_never_does_not_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[int] = []
    monkeypatch.setattr(os, "fdatasync", waits.append)
    monkeypatch.setattr(os, "fsync", waits.append)
    with LogWriter(tmp_path / NAME, sync=Sync.NEVER, frame_seconds=0) as writer:
        writer.append(record(0)).result(TIMEOUT)
        assert [] == waits
        writer.flush()
        assert 2 == len(waits)  # for the file, and for its name in the directory


def test_several_threads(tmp_path: Path) -> None:
    def append(thread: int) -> list[Position]:
        futures = [writer.append(record(thread * 1000 + number)) for number in range(1000)]
        return [future.result(TIMEOUT) for future in futures]

    with (
        LogWriter(tmp_path / NAME, frame_bytes=1000, sync_seconds=0.01) as writer,
        ThreadPoolExecutor(8) as pool,
    ):
        positions = list(pool.map(append, range(8)))
    expected = {
        place: record(thread * 1000 + number)
        for thread, places in enumerate(positions)
        for number, place in enumerate(places)
    }
    assert expected == {entry.position: entry.data for entry in read(tmp_path / NAME)}
    assert all(sorted(places) == places for places in positions)


def test_a_full_writer_refuses_or_waits(tmp_path: Path) -> None:
    is_held, may_go = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        is_held.set()
        assert may_go.wait(TIMEOUT)

    writer = LogWriter(tmp_path / NAME, sync=Sync.NEVER, frame_seconds=0, max_pending_bytes=6000)
    with writer, ThreadPoolExecutor(1) as pool:
        writer.append(record(0)).add_done_callback(hold)
        assert is_held.wait(TIMEOUT)
        for number in range(1, 5):
            writer.append(record(number), block=False)
        with pytest.raises(PendingFullError, match="bytes are waiting to be written"):
            writer.append(record(5), block=False)
        waiting = pool.submit(writer.append, record(1000))
        assert not waiting.done()
        may_go.set()
        waiting.result(TIMEOUT).result(TIMEOUT)
    assert [*records(5), record(1000)] == contents(tmp_path / NAME)


def test_a_closed_writer(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / NAME)
    writer.close()
    writer.close()
    with pytest.raises(LogError, match=f"{NAME}: the writer is closed"):
        writer.append(record(0))
    with pytest.raises(LogError, match="the writer is closed"):
        writer.flush()


def test_a_cancelled_future_changes_nothing(tmp_path: Path) -> None:
    with LogWriter(tmp_path / NAME, frame_seconds=threading.TIMEOUT_MAX) as writer:
        assert writer.append(record(0)).cancel()
        writer.append(record(1))
    assert records(2) == contents(tmp_path / NAME)


async def test_the_futures_are_those_of_the_standard_library(tmp_path: Path) -> None:
    forever = threading.TIMEOUT_MAX
    with LogWriter(tmp_path / NAME, frame_seconds=forever) as writer, ThreadPoolExecutor(9) as pool:
        futures = [writer.append(record(number)) for number in range(8)]
        called: list[int] = []
        futures[0].add_done_callback(lambda future: called.append(future.result().index))
        waiting = [
            pool.submit(futures[1].result, TIMEOUT),
            pool.submit(lambda: next(as_completed(futures[2:3], TIMEOUT)).result()),
            pool.submit(lambda: next(iter(wait(futures[3:4], TIMEOUT).done)).result()),
        ]
        wrapped = asyncio.wrap_future(futures[4])
        assert futures[5].cancel()
        with pytest.raises(TimeoutError):
            futures[6].result(0)
        writer.flush()
        assert [1, 2, 3] == [future.result().index for future in waiting]
        assert 4 == (await wrapped).index
        assert [0] == called
        with pytest.raises(CancelledError):
            futures[5].result()
        assert [6, 7] == [future.result(0).index for future in futures[6:]]
        futures[7].add_done_callback(lambda future: called.append(future.result().index))
        assert [0, 7] == called
        assert all(future.done() and not future.running() for future in futures)
        assert futures[7].exception() is None
    assert not hasattr(futures[7], "other")


def test_an_exit_without_close_loses_nothing(tmp_path: Path) -> None:
    code = "import sys; from chatpb.log import *; LogWriter(sys.argv[1]).append(b':\\1x')"
    subprocess.run([sys.executable, "-c", code, tmp_path / NAME], check=True)
    assert [b":\1x"] == contents(tmp_path / NAME)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_reading_from_any_place(tmp_path: Path, count: int) -> None:
    data = records(20)
    write(tmp_path / NAME, data, frame_bytes=60)
    entries = list(read(tmp_path / NAME))
    assert data == [entry.data for entry in entries]
    assert {0, 1} <= {entry.position.index for entry in entries}
    for number, entry in enumerate(entries):
        assert entries[number:] == list(read(tmp_path / NAME, start=entry.position))
        assert entries[number + 1 :] == list(read(tmp_path / NAME, start=entry.position.next))
        offset = entry.position.frame_offset
        first = next(n for n, e in enumerate(entries) if e.position.frame_offset == offset)
        assert entries[first:] == list(read(tmp_path / NAME, start=offset))
    (tmp_path / NAME).rename(tmp_path / "moved")
    assert entries[7].data == next(read(tmp_path / "moved", start=entries[7].position)).data
    (tmp_path / "moved").rename(tmp_path / NAME)
    assert count == len(list(itertools.islice(read(tmp_path / NAME), count)))


def test_logs_in_one_file_are_a_log(tmp_path: Path) -> None:
    write(tmp_path / "a", records(3))
    write(tmp_path / "b", records(2))
    both = (tmp_path / "a").read_bytes() + (tmp_path / "b").read_bytes()
    (tmp_path / NAME).write_bytes(both)
    assert records(3) + records(2) == contents(tmp_path / NAME)


FOREIGN = zstandard.ZstdCompressor(write_checksum=True).compress(b"\x03abc")


OTHER = zstandard.ZstdCompressor(write_checksum=True).compress(
    (lambda data: bytes((len(data),)) + data)(
        CompletionRecord(log_header=LogHeader(message_type="a.B")).SerializeToString()
    )
)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b'{"id": 1}\n', "not a log, or ", id="text"),
        pytest.param(FOREIGN, "not a log: it does not begin with ", id="zstd"),
        pytest.param(OTHER, "a log of 'a.B'; expected one of chatpb.v1.Comp", id="other-type"),
    ],
)
@pytest.mark.parametrize("use", [header, LogWriter, lambda path: list(read(path))])
def test_a_file_that_is_no_log(
    tmp_path: Path, data: bytes, reason: str, use: Callable[[Path], object]
) -> None:
    (tmp_path / NAME).write_bytes(data)
    with pytest.raises(LogError) as caught:
        use(tmp_path / NAME)
    assert str(tmp_path / NAME) in str(caught.value)
    assert isinstance(caught.value, DamagedLogError) or reason in caught.value.reason
    assert data == (tmp_path / NAME).read_bytes()


def test_a_frame_of_more_content_than_may_be(tmp_path: Path) -> None:
    write(tmp_path / NAME, records(1))
    compressor = zstandard.ZstdCompressor(write_checksum=True)
    with (tmp_path / NAME).open("ab") as file:
        file.write(compressor.compress(bytes(300_000_000)))
    write(tmp_path / f"after{SUFFIX}", records(1))
    with (tmp_path / NAME).open("ab") as file:
        file.write((tmp_path / f"after{SUFFIX}").read_bytes())
    tracemalloc.start()
    with pytest.raises(DamagedLogError, match="a frame of 300000000 bytes of content; the most"):
        list(read(tmp_path / NAME))
    found = list(read(tmp_path / NAME, skip_damage=True, on_damage=lambda _: None))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [record(0)] * 2 == [entry.data for entry in found]
    assert peak < 20_000_000


def test_reading_holds_one_frame(tmp_path: Path) -> None:
    write(tmp_path / NAME, records(30_000, 1000), frame_bytes=64 * 1024)
    tracemalloc.start()
    assert 30_000 == sum(1 for _ in read(tmp_path / NAME))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tmp_path / NAME).stat().st_size > 15_000_000
    assert peak < 4_000_000


# Others
needs_zstd = pytest.mark.skipif(not shutil.which("zstd"), reason="there is no zstd command")


def zstd(path: Path) -> bytes:
    return subprocess.run(["zstd", "-dc", path], capture_output=True, check=True).stdout


@needs_zstd
def test_the_zstd_command_and_any_delimited_reader(tmp_path: Path) -> None:
    write(tmp_path / NAME, [*records(500, 300), record(500, 500_000)], frame_bytes=20_000)
    first, *rest = delimited(zstd(tmp_path / NAME))
    assert header(tmp_path / NAME) == first.log_header
    assert [*records(500, 300), record(500, 500_000)] == [
        message.SerializeToString() for message in rest
    ]


GO = Path(__file__).parents[2] / "build" / "go_log"  # `make test-go` builds it


@needs_zstd
@pytest.mark.skipif(not GO.exists(), reason="make test-go has not been run")
def test_go(tmp_path: Path) -> None:
    write(tmp_path / NAME, [*records(500, 300), record(500, 500_000)], frame_bytes=20_000)
    command = [str(GO), str(DESCRIPTORS)]
    done = subprocess.run(command, input=zstd(tmp_path / NAME), capture_output=True, check=True)
    first, *lines = done.stdout.decode().splitlines()
    assert f"header chatpb.v1.CompletionRecord {header(tmp_path / NAME).file_id}" == first
    expected = [
        f"record {entry.record.call_id} {entry.record.labels['noise']}"
        for entry in read(tmp_path / NAME)
    ]
    assert expected == lines


def test_the_package_does_not_need_zstandard() -> None:
    code = "import sys, chatpb, chatpb.v1; sys.exit('zstandard' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    code = "import sys; sys.modules['zstandard'] = None; import chatpb.log"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "chatpb.log needs zstandard: pip install 'chatpb[log]'" in done.stderr


sizes = st.lists(st.one_of(st.binary(max_size=50), st.integers(0, 5000).map(bytes)), max_size=30)


@given(data=sizes, frame_bytes=st.integers(1, 3000), again=sizes)
def test_any_bytes_come_back(
    tmp_path_factory: pytest.TempPathFactory,
    data: list[bytes],
    frame_bytes: int,
    again: list[bytes],
) -> None:
    data, again = (
        [x for x in some if not (_headers.is_header(x) or _headers.is_sealed(x))]
        for some in (data, again)
    )
    path = tmp_path_factory.mktemp("log") / NAME
    write(path, data, frame_bytes)
    write(path, again, frame_bytes)
    assert data + again == contents(path)
