"""Recording in processes: draining, kills, full disks, workers, settings."""

from __future__ import annotations

import asyncio
import resource
import shutil
import signal
import sys
import urllib.request
from asyncio.subprocess import PIPE, Process
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode, aio

from chatpb import to_dict
from chatpb.log import read
from chatpb.v1.chat_completion_service_pb2_grpc import ChatCompletionServiceStub
from chatpb.v1.completion_record_pb2 import CompletionRecord
from support.build import create_request, stream_request
from support.calls import OWN_CONNECTION
from support.limits import TIMEOUT, within
from support.relay_process import Upstream, end, finish, listening, running, start


def records(directory: Path) -> list[CompletionRecord]:
    return [entry.record for entry in read(directory, on_damage=lambda _: None)]


async def create(channel: aio.Channel, **members: Any) -> Any:
    stub: Any = ChatCompletionServiceStub(channel)
    response = await stub.CreateChatCompletion(create_request(**members), timeout=TIMEOUT)
    return to_dict(response.completion)


async def metrics_of(process: Process) -> str:
    """The URL of the metrics of a process."""
    assert process.stdout is not None
    line = (await within(process.stdout.readline())).decode()
    return f"http://{line.removeprefix('metrics on ').rstrip()}/metrics"


async def counted(url: str) -> Counter[str]:
    """How many records the metrics count, by their outcomes."""

    def get() -> str:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as page:
            return str(page.read().decode())

    counts: Counter[str] = Counter()
    for line in (await asyncio.to_thread(get)).splitlines():
        if line.startswith("chatpb_relay_records_total{"):
            counts[line.split('"')[1]] = int(float(line.split()[-1]))
    return counts


async def until(url: str, outcome: str, count: int) -> None:
    """Asks the metrics until so many records have an outcome."""
    async with asyncio.timeout(TIMEOUT):
        while (await counted(url))[outcome] < count:
            pass


async def test_at_sigterm_all_is_written_before_the_end(tmp_path: Path) -> None:
    async with (
        Upstream(held=True).serving() as upstream,
        running("--upstream", upstream.url, "--record", tmp_path / "new" / "log") as relay,
    ):
        process, channel = relay
        expected = [await create(channel, seed=number) for number in range(50)]
        stub: Any = ChatCompletionServiceStub(channel)
        call = stub.StreamChatCompletion(stream_request(), timeout=TIMEOUT)
        seen = [to_dict(part) for part in (await within(call.read())).chunks]
        process.send_signal(signal.SIGTERM)
        upstream.go_on.set()
        while (response := await within(call.read())) is not aio.EOF:
            seen += [to_dict(part) for part in response.chunks]
        assert (0, "", "") == await finish(process)
    *found, stream = records(tmp_path / "new" / "log")
    assert expected == [to_dict(record.completion) for record in found]
    assert [*range(50)] == [record.request.seed for record in found]
    assert (2, seen) == (len(seen), [to_dict(part) for part in stream.chunks])
    assert 0o700 == (tmp_path / "new" / "log").stat().st_mode & 0o777


@pytest.mark.parametrize("sync", ["never", "interval", "commit"])
async def test_what_is_counted_as_written_outlives_a_kill(sync: str, tmp_path: Path) -> None:
    where = ("--metrics-listen", "127.0.0.1:0", "--record", tmp_path, "--record-sync", sync)
    async with running(*where) as (process, channel):
        url = await metrics_of(process)

        async def load() -> None:
            while True:
                await create(channel)

        loading = asyncio.gather(*(load() for _ in range(4)), return_exceptions=True)
        await until(url, "written", 20)
        written = (await counted(url))["written"]
        process.kill()
        await within(loading)
        assert -signal.SIGKILL == (await finish(process))[0]
    found = records(tmp_path)
    assert len(found) >= written >= 20
    assert {0} == {record.status for record in found}
    # The next relay goes on, beside what was torn.
    async with running("--record", tmp_path) as (process, channel):
        await create(channel)
        process.send_signal(signal.SIGTERM)
        assert 0 == (await finish(process))[0]
    assert len(found) + 1 == len(records(tmp_path))


async def test_a_full_disk_is_not_the_calls_business(tmp_path: Path) -> None:
    where = ("--metrics-listen", "127.0.0.1:0", "--record", tmp_path)
    async with running(*where) as (process, channel):
        url = await metrics_of(process)
        await create(channel, seed=1)
        await until(url, "written", 1)
        [file] = tmp_path.iterdir()
        _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        # A write beyond this fails, as on a full disk.
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (file.stat().st_size, hard))
        for _ in range(20):
            assert "m" == (await create(channel, seed=2))["model"]
        await until(url, "failed", 20)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        await create(channel, seed=3)
        await until(url, "written", 2)
        process.send_signal(signal.SIGTERM)
        code, _, errors = await finish(process)
        assert 0 == code
    assert [1, 3] == [record.request.seed for record in records(tmp_path)]
    lines = [line for line in errors.splitlines() if "records are lost" in line]
    assert 1 <= len(lines) <= 2
    assert "failed" in lines[0]
    assert "File too large" in lines[0]


async def test_a_directory_that_is_removed_is_made_anew(tmp_path: Path) -> None:
    """What cannot be written until then is counted, and none of it as written."""
    directory = tmp_path / "log"
    where = ("--metrics-listen", "127.0.0.1:0", "--record", directory)
    async with running(*where, level="warning") as (process, channel):
        url = await metrics_of(process)
        await create(channel, seed=0)
        await until(url, "written", 1)
        shutil.rmtree(directory)
        await create(channel, seed=1)
        await until(url, "failed", 1)
        asked = 2
        async with asyncio.timeout(TIMEOUT):
            while (await counted(url))["written"] < 2:
                await create(channel, seed=asked)
                asked += 1
        process.send_signal(signal.SIGTERM)
        code, _, errors = await finish(process)
    assert 0 == code
    found = [record.request.seed for record in records(directory)]
    assert [*range(asked - len(found), asked)] == found
    assert 0o700 == directory.stat().st_mode & 0o777
    lost, opened = errors.splitlines()[:2]  # one more if other records were lost meanwhile
    assert f"records are lost (1 failed): {directory}/" in lost
    assert "the file was removed" in lost
    assert f"the log of records was opened again: {directory}/" in opened


async def test_a_directory_that_is_replaced_is_written_to(tmp_path: Path) -> None:
    """Nothing is lost: what was written before is in the directory that was moved away."""
    old, directory = tmp_path / "old", tmp_path / "log"
    where = ("--metrics-listen", "127.0.0.1:0", "--record", directory, "--record-sync", "commit")
    async with running(*where, level="warning") as (process, channel):
        url = await metrics_of(process)
        for number in range(3):
            if number == 2:
                directory.rename(old)
                directory.mkdir()
            await create(channel, seed=number)
            await until(url, "written", number + 1)
        assert 0 == (await counted(url))["failed"]
        process.send_signal(signal.SIGTERM)
        code, _, errors = await finish(process)
    assert 0 == code
    assert [0, 1] == [record.request.seed for record in records(old)]
    assert [2] == [record.request.seed for record in records(directory)]
    assert f"WARNING chatpb.log: {directory}/" in errors
    assert " was removed, moved or replaced; records go to " in errors


async def test_workers_have_files_of_their_own(tmp_path: Path) -> None:
    many = 21  # one in a million runs has no call in one of two workers
    free = ("--listen", "127.0.0.1:0", "--log-level", "error", "--workers", 2)
    process = await start(*free, "--record", tmp_path, "--record-label", "team=a")
    try:
        address = await listening(process)
        for number in range(many):
            async with aio.insecure_channel(address, OWN_CONNECTION) as channel:
                await create(channel, seed=number)
        process.send_signal(signal.SIGTERM)
        assert 0 == (await finish(process))[0]
    finally:
        await end(process)
    assert [*range(many)] == sorted(record.request.seed for record in records(tmp_path))
    files = list(tmp_path.iterdir())
    assert 2 == len(files)
    for file in files:
        assert {"team": "a"} == dict(records(file)[0].labels)


async def test_files_rotate_and_labels_come_from_the_environment(tmp_path: Path) -> None:
    environ = {"CHATPB_SERVER_RECORD": str(tmp_path), "CHATPB_SERVER_RECORD_LABEL": "a=1 b=x=y"}
    small = ("--record-file-bytes", 1, "--record-sync", "commit", "--metrics-listen", "127.0.0.1:0")
    async with running(*small, environ=environ) as (process, channel):
        url = await metrics_of(process)
        for number in range(3):
            await create(channel, seed=number)
            await until(url, "written", number + 1)
        process.send_signal(signal.SIGTERM)
        assert 0 == (await finish(process))[0]
    found = records(tmp_path)
    assert [0, 1, 2] == [record.request.seed for record in found]
    assert [{"a": "1", "b": "x=y"}] * 3 == [dict(record.labels) for record in found]
    assert 3 == len(list(tmp_path.iterdir()))


async def test_it_needs_its_extra(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['zstandard'] = None;"
        "from chatpb_server.running.cli import run; sys.exit(run(sys.argv[1:]))"
    )

    async def said(*arguments: object) -> tuple[int | None, str, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", code, "--check-config", *map(str, arguments)),
            stdout=PIPE,
            stderr=PIPE,
        )
        return await finish(process)

    expected = "chatpb-server: record: needs zstandard: pip install 'chatpb[log]'\n"
    assert (2, "", expected) == await said("--record", tmp_path)
    assert 0 == (await said())[0]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--record", "FILE"), "record: FILE is not a directory"),
        (("--record", "FILE/below"), "record: FILE is not a directory"),
        (
            ("--record-sync", "never"),
            "--record-sync: nothing is recorded without a directory (--record)",
        ),
        (
            ("--record", "DIR", "--record-label", "chatpb.a=b"),
            "--record and --record-label: labels: chatpb.a: keys in chatpb. are the relay's own",
        ),
        (
            ("--record", "DIR", "--record-label", "a"),
            "Invalid value for '--record-label': expected KEY=VALUE, not 'a'",
        ),
        (
            ("--record", "DIR", "--record-label", "a=1", "--record-label", "a=2"),
            "Invalid value for '--record-label': a has two values",
        ),
        (
            ("--record", "DIR", "--record-exchange-bytes", "999999999"),
            "--record-exchange-bytes: expected a number less than or equal to 134217728",
        ),
    ],
)
async def test_mistakes(arguments: tuple[str, ...], expected: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    places = {"FILE": str(tmp_path / "file"), "DIR": str(tmp_path)}

    def placed(text: str) -> str:
        for name, place in places.items():
            text = text.replace(name, place)
        return text

    process = await start("--check-config", *map(placed, arguments))
    assert (2, "", f"chatpb-server: {placed(expected)}\n") == await finish(process)


async def test_settings_are_shown(tmp_path: Path) -> None:
    (tmp_path / "relay.toml").write_text("""
        [record]
        directory = "log"
        overload = "wait"
        sync = "commit"
        queue_bytes = 1000000
        labels = { team = "a" }
    """)
    process = await start("--check-config", "--config", tmp_path / "relay.toml")
    code, output, errors = await finish(process)
    [line] = [line for line in output.splitlines() if line.startswith("record ")]
    expected = f"{tmp_path}/log, sync: commit; when 1000000 bytes are queued, calls wait; team=a"
    assert (0, "", ["record", expected]) == (code, errors, line.split(maxsplit=1))
    assert not (tmp_path / "log").exists()
    process = await start("--check-config")
    assert "record            off" in (await finish(process))[1].splitlines()


async def test_a_relay_that_does_not_record_writes_nothing(tmp_path: Path) -> None:
    async with running(environ={"TMPDIR": str(tmp_path)}) as (process, channel):
        await create(channel)
        process.send_signal(signal.SIGTERM)
        assert (0, "", "") == await finish(process)
    assert [] == list(tmp_path.iterdir())


async def test_the_last_status_of_a_call_that_outlasts_the_grace(tmp_path: Path) -> None:
    async with (
        Upstream(held=True).serving() as upstream,
        running("--upstream", upstream.url, "--record", tmp_path, "--grace", 0.1) as relay,
    ):
        process, channel = relay
        stub: Any = ChatCompletionServiceStub(channel)
        call = stub.StreamChatCompletion(stream_request(), timeout=TIMEOUT)
        seen = [to_dict(part) for part in (await within(call.read())).chunks]
        process.send_signal(signal.SIGTERM)
        assert StatusCode.UNAVAILABLE == await within(call.code())
        assert 0 == (await finish(process))[0]
    [record] = records(tmp_path)
    assert (seen, 14) == ([to_dict(part) for part in record.chunks], record.status)
    assert "The relay is stopping; call again." == record.error.error.message
