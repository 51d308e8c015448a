"""Recording to an encrypted log, in processes whose key changes while they run."""

from __future__ import annotations

import asyncio
import io
import signal
from pathlib import Path
from typing import Any

import pytest
import zstandard
from grpc import aio

from chatpb.log import SUFFIX, LogKeyError, frames, read
from chatpb.v1.chat_completion_service_pb2_grpc import ChatCompletionServiceStub
from support.build import create_request
from support.limits import SOAK, TIMEOUT
from support.log_files import keys_file
from support.relay_process import finish, running, start

CANARY = "the-canary-sings"


async def create(channel: aio.Channel) -> None:
    stub: Any = ChatCompletionServiceStub(channel)
    await stub.CreateChatCompletion(create_request(user=CANARY), timeout=TIMEOUT)


async def until_stored(directory: Path, count: int) -> None:
    """Waits until a log has that many records, which are counted without the key."""
    async with asyncio.timeout(TIMEOUT):
        while count > sum(frame.record_count for frame in frames(directory)):
            await asyncio.sleep(0.02)


def every_byte(directory: Path) -> bytes:
    """What the files of a directory contain, and what they contain once they are decompressed."""
    found = b""
    for path in directory.rglob("*"):
        data = path.read_bytes()
        found += path.name.encode() + data
        if path.name.endswith(SUFFIX):
            stream = io.BytesIO(data)
            reader = zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True)
            found += reader.read()
    return found


@pytest.mark.parametrize("workers", [1, 2] if SOAK else [1])
async def test_the_key_changes_while_the_relay_runs(workers: int, tmp_path: Path) -> None:
    keys = keys_file(tmp_path / "keys", "k1")
    log = tmp_path / "log"
    where = ("--record", log, "--record-keys", keys, "--record-sync", "never")
    async with running(*where, "--workers", workers, level="warning") as (process, channel):
        await create(channel)
        await until_stored(log, 1)
        keys_file(keys, "k2")
        await create(channel)
        await until_stored(log, 2)
        keys.write_text(keys.read_text() + "half a li")
        await create(channel)
        await until_stored(log, 3)
        keys_file(keys, "k4")  # a line that goes on with the half
        process.send_signal(signal.SIGHUP)
        await create(channel)
        await until_stored(log, 4)
        keys.write_text(keys.read_text().replace("half a li", "").replace("k4", "\nk4"))
        process.send_signal(signal.SIGHUP)
        await create(channel)
        await until_stored(log, 5)
        process.send_signal(signal.SIGTERM)
        code, _, errors = await finish(process)
    assert 0 == code
    assert f"{keys}: line 3: expected ID aes256:HEX" in errors
    assert "what was read before stays in use" in errors
    assert {"k1", "k2", "k4"} == {frame.key_id for frame in frames(log) if frame.key_id}
    assert [CANARY] * 5 == [entry.record.request.user for entry in read(log, keys=keys)]
    for text in (CANARY, CANARY[:8], "canary", *keys.read_text().split()[1::2]):
        assert text.encode() not in every_byte(log)
        assert text not in errors
    with pytest.raises(LogKeyError, match="encrypted with the key"):
        list(read(log))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "cannot be read: no such file or directory"),
        ("", "it has no key: add a line from `chatpb-server key`"),
        ("k1 aes256:00", "line 1: expected ID aes256:HEX, with 64 digits, as `chatpb-server key`"),
    ],
    ids=["missing", "empty", "short"],
)
async def test_keys_that_cannot_be_used(text: str | None, reason: str, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    if text is not None:
        keys.write_text(text)
    for more in ((), ("--check-config",)):
        process = await start("--record", tmp_path / "log", "--record-keys", keys, *more)
        code, output, errors = await finish(process)
        assert (2, "") == (code, output)
        assert errors.startswith(f"chatpb-server: record: keys: {keys}: {reason}")
    process = await start("--record-keys", keys, "--check-config")
    expected = "--record-keys: nothing is recorded without a directory (--record)"
    assert expected in (await finish(process))[2]


async def test_what_is_shown(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    for arguments in (["key"], ["key", "prod-2"]):
        code, line, errors = await finish(await start(*arguments))
        assert 0 == code
        assert "The line for the file of --record-keys" in errors
        with keys.open("a") as file:
            file.write(line)
    keys.chmod(0o644)
    code, output, errors = await finish(await start("key", "a b"))
    assert (2, "") == (code, output)
    assert "expected a name of up to 64 letters" in errors
    where = ("--record", tmp_path / "log", "--record-keys", keys)
    process = await start("--check-config", *where)
    code, output, errors = await finish(process)
    assert (0, "") == (code, errors)
    assert f"{tmp_path}/log, encrypted with the last key of {keys}, sync: interval;" in output
    async with running(*where, level="warning") as (process, _):
        process.send_signal(signal.SIGTERM)
        errors = (await finish(process))[2]
    assert f"{keys} has keys, and every user of the machine has access to it" in errors
