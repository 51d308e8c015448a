"""Databases of stored completions as the input of `compact`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chatpb import from_dict
from chatpb._cli.adding import How, added
from chatpb._cli.reading.input import Reading
from chatpb.store import Store
from chatpb.table import Dataset
from chatpb.v1 import ChatCompletion, CompletionRecord
from support import postgres
from support.command_line import run
from support.stored import opened, stored
from support.table_files import compacted, completion, found, lines


@contextmanager
def _new_postgresql() -> Iterator[str]:
    programs = os.environ.get(postgres.VARIABLE)
    if programs is None:
        pytest.skip("make test-postgres runs it")
    with postgres.served(programs) as server:
        yield server.new_database()


@pytest.fixture(params=["file", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database."""
    if request.param == "postgresql":
        with _new_postgresql() as new:
            yield new
    else:
        yield f"sqlite:///{tmp_path}/store.db"


def record(number: int) -> bytes:
    """The record of a completion."""
    message = from_dict(completion(number), ChatCompletion)
    return CompletionRecord(completion=message).SerializeToString(deterministic=True)


async def put(store: Store, numbers: Iterable[int]) -> None:
    """Stores completions of several callers."""
    for number in numbers:
        await store.put(f"caller-{number % 3}", stored(f"c{number}", record=record(number)))


def numbers_in(table: Path) -> list[int]:
    """The numbers of the completions in a table."""
    return [int(each["completion"]["id"].removeprefix("chatcmpl-")) for each in found(table)]


def test_what_is_new_is_added(url: str, tmp_path: Path) -> None:
    table = tmp_path / "table"

    async def use(numbers: range, deleted: int | None = None) -> None:
        async with opened(url) as store:
            await put(store, numbers)
            if deleted is not None:
                assert await store.delete(f"caller-{deleted % 3}", f"c{deleted}")

    asyncio.run(use(range(45)))
    assert compacted(url, table).startswith("45 records, ")
    assert [{"completion": completion(number)} for number in range(45)] == found(table)
    assert compacted(url, table) == "nothing new\n"
    asyncio.run(use(range(45, 50), deleted=3))  # what is deleted is not followed
    (tmp_path / "a.jsonl").write_text(lines(completion(100)))
    assert compacted(url, tmp_path / "a.jsonl", table).startswith("6 records, ")
    assert sorted([*range(50), 100]) == sorted(numbers_in(table))
    assert compacted(url, url, table) == "nothing new\n"
    assert compacted(url, url, tmp_path / "other").startswith("49 records, ")


def test_a_piece_of_a_store_is_added(url: str, tmp_path: Path) -> None:
    """With --follow, a round ends early; the next one goes on where it was."""

    async def use() -> None:
        async with opened(url) as store:
            await put(store, range(50))

    asyncio.run(use())
    how = How({"k": "v"}, 3, 1 << 30, None, False, False, None, Reading(), 0)
    table = tmp_path / "table"
    asked = iter([False] * 7 + [True])
    assert added([url], str(table), how, lambda: next(asked))
    assert [*range(7)] == numbers_in(table)
    assert not added([url], str(table), how, lambda: False)
    assert [*range(50)] == numbers_in(table)
    assert {"k": "v"} == found(table)[-1]["labels"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sqlite:///{tmp}/absent.db", "sqlite:///{tmp}/absent.db: no such file or directory"),
        ("sqlite:///{tmp}/text.db", "sqlite:///{tmp}/text.db: file is not a database"),
        ("sqlite:///{tmp}/empty.db", "sqlite:///{tmp}/empty.db: has version 0 of the layout"),
        ("postgresql://u:secret@127.0.0.1:1/x", "postgresql://u:***@127.0.0.1:1/x: "),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, name: str, expected: str) -> None:
    (tmp_path / "text.db").write_text("This is a text. " * 100)
    (tmp_path / "empty.db").touch()
    result = run("compact", name.format(tmp=tmp_path), tmp_path / "table")
    assert 1 == result.exit_code
    assert result.stderr.startswith(f"chatpb: error: {expected.format(tmp=tmp_path)}")
    assert "secret" not in result.stderr
    assert not Dataset(tmp_path / "table").exists()
