"""What was acknowledged is there after a crash, and what fails is an error within the limit."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from chatpb.store import Store, StoreError
from support import postgres
from support.limits import TIMEOUT, within
from support.stored import ids, opened, stored

#: Stores completions and prints each when it is acknowledged.
WRITER: Final = """
import asyncio, itertools, os, sys
from support.stored import opened, stored

async def write():
    async with opened(sys.argv[1], timeout=60) as store:
        async def some(name):
            for number in itertools.count():
                full = f"{os.getpid()}-{name}-{number}"
                await store.put("a", stored(full, metadata={"k": "v"}))
                print(full, flush=True)
        await asyncio.gather(*map(some, "xyz"))

asyncio.run(write())
"""
#: Stores until the files must not grow any more; then they may again.
FULL_DISK: Final = """
import asyncio, os, resource, sys
from chatpb.store import StoreError
from support.stored import ids, opened, stored

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

async def write():
    async with opened(sys.argv[1]) as store:
        await store.put("a", stored("c0"))
        limit(600_000)
        done = ["c0"]
        for number in range(1, 1000):
            try:
                await store.put("a", stored(f"c{number}", record=os.urandom(10_000)))
            except StoreError as error:
                print(error)
                break
            done.append(f"c{number}")
        assert 10 < number < 100, number
        assert done == await ids(store, "a", limit=1000)
        for _ in range(3):
            try:
                await store.put("a", stored("again", record=os.urandom(10_000)))
            except StoreError:
                pass
        limit(resource.RLIM_INFINITY)
        await store.put("a", stored("last"))
        found = await ids(store, "a", limit=1000)
        assert [*done, "last"] == [each for each in found if each != "again"]

asyncio.run(write())
"""


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    """A process that runs code, with the modules of the tests."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )


def acknowledged(process: subprocess.Popen[str], count: int) -> Iterator[str]:
    """What a writer has printed: some lines, and what comes after it was killed."""
    assert process.stdout is not None
    for number, line in enumerate(process.stdout):
        if number == count:
            process.kill()
        if line.endswith("\n"):
            yield line.strip()
    process.communicate(timeout=TIMEOUT)


@pytest.fixture(params=["file", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database that others can open too."""
    if request.param == "postgresql":
        new: str = request.getfixturevalue("server").new_database()
        return new
    return f"sqlite:///{tmp_path}/store.db"


async def test_what_was_acknowledged_survives_a_kill(url: str) -> None:
    """Two processes write at the same time, and are killed one after the other."""

    def killed(count: int) -> list[str]:
        return [*acknowledged(python(WRITER, url), count)]

    done = await asyncio.gather(*(asyncio.to_thread(killed, count) for count in (100, 300)))
    assert [True, True] == [len(done[0]) >= 100, len(done[1]) >= 300]
    names = {*done[0], *done[1]}
    async with opened(url) as store:
        found = set(await ids(store, "a", limit=100_000))
        assert names <= found
        assert found == set(await ids(store, "a", limit=100_000, metadata={"k": "v"}))
        await store.put("a", stored("c1"))


def test_a_full_disk(tmp_path: Path) -> None:
    process = python(FULL_DISK, f"sqlite:///{tmp_path}/store.db")
    out, errors = process.communicate(timeout=TIMEOUT)
    assert (0, "") == (process.returncode, errors)
    assert out.startswith(f"sqlite:///{tmp_path}/store.db: ")
    assert "full" in out or "disk I/O error" in out


async def test_a_lock_of_another_process(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with opened(f"sqlite:///{path}", timeout=0.5) as store:
        await store.put("a", stored("c1"))
        other = sqlite3.connect(path)
        other.execute("BEGIN IMMEDIATE")
        for _ in range(2):
            with pytest.raises(StoreError, match=r"locked|no answer within"):
                await within(store.put("a", stored("c2")))
        assert ["c1"] == await ids(store, "a")  # readers do not wait
        other.rollback()
        other.close()
        await store.put("a", stored("c3"))
        assert {"c1", "c3"} <= set(await ids(store, "a"))


@pytest.mark.parametrize("is_replaced", [False, True])
async def test_a_file_that_is_gone_takes_nothing(tmp_path: Path, is_replaced: bool) -> None:
    path = tmp_path / "store.db"
    async with opened(f"sqlite:///{path}") as store:
        await store.put("a", stored("c1"))
        path.rename(tmp_path / "other.db")
        if is_replaced:
            path.touch()
        for _ in range(2):
            with pytest.raises(StoreError, match="deleted or replaced"):
                await store.put("a", stored("c2"))
        with pytest.raises(StoreError, match="deleted or replaced"):
            await ids(store, "a")


async def test_deletion_deletes(tmp_path: Path) -> None:
    secrets = [os.urandom(size) for size in (300, 3_000, 100_000)]
    async with opened(f"sqlite:///{tmp_path}/store.db") as store:
        for number, secret in enumerate(secrets):
            metadata = {"note": f"a secret pair {number}"}
            await store.put("a", stored(f"c{number}", record=secret, metadata=metadata))
        await store.put("a", stored("kept"))
        assert all(_found(tmp_path, secrets))
        for number in range(len(secrets)):
            assert await store.delete("a", f"c{number}")
        assert not any(_found(tmp_path, [*secrets, b"a secret pair"]))
        assert ["kept"] == await ids(store, "a")
    assert not any(_found(tmp_path, secrets))


def _found(folder: Path, secrets: list[bytes]) -> list[bool]:
    """Whether the files of a folder have the first bytes of some."""
    files = [path.read_bytes() for path in folder.iterdir()]
    return [any(secret[:16] in data for data in files) for secret in secrets]


@pytest.fixture
def own_server(server: postgres.PostgresServer) -> Iterator[postgres.PostgresServer]:
    """The server, which the test may stop: it runs again afterwards."""
    yield server
    server.stop()
    server.start()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["stop", "kill"])
def test_a_server_that_ends_and_comes_back_postgresql(
    own_server: postgres.PostgresServer, number: signal.Signals
) -> None:
    url = own_server.new_database()

    async def use() -> None:
        async with opened(url, timeout=10) as store:
            names = [f"c{each}" for each in range(20)]
            await asyncio.gather(*(store.put("a", stored(name)) for name in names))
            await asyncio.to_thread(own_server.stop, number)
            await _is_down(store)
            await asyncio.to_thread(own_server.start)
            assert set(names) == set(await ids(store, "a"))
            await store.put("a", stored("last"))
            assert "last" == (await ids(store, "a", limit=100))[-1]

    asyncio.run(use())


async def _is_down(store: Store) -> None:
    for operation in (store.put("a", stored("lost")), store.get("a", "c1"), ids(store, "a")):
        with pytest.raises(StoreError):
            await within(operation)
