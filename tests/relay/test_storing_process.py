"""Relay processes with a database: how they start, change, share it and find it again."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from grpc import aio

from chatpb.store import Listing, StoredCompletion, StoreError, open_store
from chatpb.v1.chat_completion_service_pb2_grpc import ChatCompletionServiceStub
from chatpb_server.core.store_rules import StoreTable
from chatpb_server.running import stores
from chatpb_server.running.config import ConfigError, load
from chatpb_server.running.reload import merged
from chatpb_server.running.retention import Retention
from chatpb_server.running.settings import Settings
from chatpb_server.running.stores import LateStore, is_passing, opened_store, unstorable
from support.build import create_request
from support.limits import TIMEOUT, within
from support.memory_store import MemoryStore
from support.relay_process import finish, running, start


async def call(channel: aio.Channel, **members: Any) -> str | None:
    """What an answer says of the store."""
    stub: Any = ChatCompletionServiceStub(channel)
    unary = stub.CreateChatCompletion(create_request(**members), timeout=TIMEOUT)
    await within(unary)
    found: Any = dict(await unary.trailing_metadata())
    said: str | None = found.get("chatpb-stored")
    return said


async def count_in(url: str) -> int:
    store = await open_store(url)
    try:
        return len((await store.list("", Listing(limit=100))).completions)
    finally:
        await store.close()


async def test_processes_that_share_a_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    async with running("--store", url, "--workers", "2") as (process, channel):
        for number in range(3):
            assert await call(channel, store=True, user=str(number)) is None
        assert await call(channel) is None
        process.send_signal(signal.SIGTERM)
        code, _, errors = await finish(process)
    assert (0, "") == (code, errors)
    assert 3 == await count_in(url)


async def test_what_changes_at_a_signal(tmp_path: Path) -> None:
    config, url = tmp_path / "relay.toml", f"sqlite:///{tmp_path}/a.db"
    config.write_text(f'store.url = "{url}"\n')
    async with running("--config", config, level="info") as (process, channel):
        await call(channel)
        assert 0 == await count_in(url)
        config.write_text(f'store = {{ url = "{url}2", all = true }}\n')
        process.send_signal(signal.SIGHUP)
        assert process.stderr is not None
        line = ""
        while "need a restart" not in line:
            line = (await within(process.stderr.readline())).decode()
        assert line.rstrip().endswith("need a restart: store.url")
        await call(channel)
    assert 1 == await count_in(url)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("sqlite:///a.db", "sqlite:///{folder}/a.db"),
        ("sqlite:///a.db?synchronous=full", "sqlite:///{folder}/a.db?synchronous=full"),
        ("sqlite:////b/a.db", "sqlite:////b/a.db"),
        ("postgresql:///a", "postgresql:///a"),
    ],
)
def test_a_file_is_below_the_folder_of_the_configuration(
    tmp_path: Path, given: str, expected: str
) -> None:
    config = tmp_path / "relay.toml"
    config.write_text(f'store.url = "{given}"\n')
    assert expected.format(folder=tmp_path) == load({}, config).store.url


@pytest.mark.parametrize(
    "table",
    [
        pytest.param({"store": {"url": "sqlite:///a", "keep": "1d"}}, id="store"),
        pytest.param({"record": {"directory": "a", "keep": "none"}}, id="record"),
    ],
)
def test_a_table_that_is_off_stays_off_at_a_signal(table: Any) -> None:
    upstreams = {"upstreams": {"a": {"url": "builtin"}}}
    now = Settings.model_validate_json(json.dumps(upstreams))
    new = Settings.model_validate_json(json.dumps(upstreams | table))
    result, others = merged(now, new)
    [(name, keys)] = table.items()
    assert sorted(f"{name}.{key}" for key in keys) == sorted(others)
    # What workers are given is valid.
    Settings.model_validate_json(result.model_dump_json(exclude_unset=True))


async def test_a_database_with_another_layout(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    await (await open_store(url)).close()
    with sqlite3.connect(tmp_path / "a.db") as database:
        names = database.execute("select name from sqlite_master where type = 'table'").fetchall()
        [table] = [name for (name,) in names if "schema" in name or "layout" in name]
        database.execute(f"update {table} set version = 1")
    for more in ((), ("--workers", "2")):
        process = await start("--store", url, "--listen", "127.0.0.1:0", *more)
        code, _, errors = await finish(process)
        assert 2 == code
        [line] = errors.splitlines()
        assert line.startswith(f"chatpb-server: store: {url}: has version 1")
        assert f"chatpb-server store migrate '{url}'" in line


async def test_a_directory_that_does_not_exist(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/none/a.db"
    code, _, errors = await finish(await start("--store", url, "--listen", "127.0.0.1:0"))
    assert 2 == code
    assert 1 == len(errors.splitlines())
    assert errors.startswith(f"chatpb-server: store: {url}: ")


async def test_a_server_that_is_down() -> None:
    with socket.socket() as taken:  # a port on which nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"postgresql://me:secret@127.0.0.1:{taken.getsockname()[1]}/a"
        async with running("--store", url, level="warning") as (process, channel):
            assert "false" == await call(channel, store=True)
            assert await call(channel) is None
            process.send_signal(signal.SIGTERM)
            code, _, errors = await finish(process)
    assert 0 == code
    assert "completions are not stored until the database is there: postgresql://me:***@" in errors
    assert "secret" not in errors


async def test_a_server_that_comes_later(monkeypatch: pytest.MonkeyPatch) -> None:
    memory, tries = MemoryStore(), 0

    async def opening(url: str, *, timeout: float) -> MemoryStore:
        nonlocal tries
        tries += 1
        if tries < 3:
            try:
                raise ConnectionRefusedError
            except OSError:
                raise StoreError(url, f"no connection within {timeout}") from None
        opened.set()
        return memory

    opened = asyncio.Event()
    monkeypatch.setattr(stores, "open_store", opening)
    monkeypatch.setattr(stores, "_FIRST_DELAY", 0.001)
    completion = StoredCompletion("a", "m", 1, {}, b"")
    async with opened_store(StoreTable(url="postgresql://h/a", timeout=1.0)) as store:
        assert isinstance(store, LateStore)
        with pytest.raises(StoreError, match=r"h/a: no connection within 1\.0"):
            await store.put("", completion)
        await within(opened.wait())
        await asyncio.sleep(0)
        await store.put("", completion)
        assert completion == await store.get("", "a")
        assert [completion] == (await store.list("", Listing())).completions
        assert {"k": "v"} == (await store.update("", "a", {"k": "v"})).metadata  # type: ignore[union-attr]
        assert await store.delete("", "a")
        assert 0 == await store.forget(datetime.now(UTC))
    assert memory.is_closed


async def test_a_database_that_refuses_is_not_down(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusal(Exception):  # noqa: N818 (as the driver names them)
        sqlstate = "28P01"

    async def opening(url: str, *, timeout: float) -> MemoryStore:
        try:
            raise Refusal
        except Refusal:
            raise StoreError(url, f"wrong password, {timeout}") from None

    monkeypatch.setattr(stores, "open_store", opening)
    with pytest.raises(ConfigError, match="store: postgresql://h/a: wrong password"):
        async with opened_store(StoreTable(url="postgresql://h/a")):
            pass
    Refusal.sqlstate = "57P03"  # it starts
    with pytest.raises(StoreError) as caught:
        await opening("postgresql://h/a", timeout=1)
    assert is_passing(caught.value)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name != "asyncpg" or None)
    assert [] == [*unstorable(StoreTable(url="sqlite:///a"))]
    assert [] == [*unstorable(StoreTable())]
    [text] = unstorable(StoreTable(url="postgresql://a/b"))
    assert "store: needs asyncpg: pip install 'chatpb[store]'" == text


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("--store", "mysql://a"), id="kind"),
        pytest.param(("--store", "sqlite://"), id="memory"),
        pytest.param(("--store", "sqlite:///"), id="no path"),
        pytest.param(("--store-keep", "30", "--store", "sqlite:///a"), id="no unit"),
        pytest.param(("--store-keep", "0d", "--store", "sqlite:///a"), id="no time"),
        pytest.param(("--store-keep", "1d"), id="no database"),
        pytest.param(("--store-timeout", "0", "--store", "sqlite:///a"), id="no timeout"),
    ],
)
async def test_settings_that_are_wrong(arguments: tuple[str, ...]) -> None:
    code, output, errors = await finish(await start(*arguments, "--check-config"))
    assert (2, "") == (code, output)
    assert errors.startswith(f"chatpb-server: {arguments[0]}")


@pytest.mark.parametrize(
    ("keep", "age"),
    [("30d", timedelta(days=30)), ("12h", timedelta(hours=12)), ("forever", None)],
)
def test_how_long_completions_are_kept(keep: str, age: timedelta | None) -> None:
    assert age == StoreTable(url="sqlite:///a", keep=keep).kept_for


async def test_retention() -> None:
    store = MemoryStore()
    for name in "abc":
        await store.put("", StoredCompletion(name, "m", 1, {}, b""))
    retention = Retention(store, timedelta(days=30))
    task = asyncio.ensure_future(retention.run())
    first = await within(store.forgotten.get())
    assert timedelta(days=30) <= datetime.now(UTC) - first < timedelta(days=31)
    assert 3 == len(store.rows)
    store.failures = 1
    retention.renew(timedelta(days=1))
    await within(store.forgotten.get())
    retention.renew(timedelta(seconds=-1))
    await within(store.forgotten.get())
    await asyncio.sleep(0)
    assert {} == store.rows
    task.cancel()
    await asyncio.wait((task,))


async def test_the_command(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    for name, said in (("migrate", "brought from version 0 to"), ("check", "the newest")):
        code, output, errors = await finish(await start("store", name, url))
        assert (0, "") == (code, errors)
        assert output.startswith(f"{url}: ")
        assert said in output
    process = await start("store", "check", environ={"CHATPB_SERVER_STORE": url})
    assert 0 == (await finish(process))[0]
    code, _, errors = await finish(await start("store", "check", "nothing"))
    assert (1, 1) == (code, len(errors.splitlines()))
