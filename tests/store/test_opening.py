"""URLs, and what is wrong with them."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from chatpb.store import StoreError, open_store
from support.stored import opened, stored


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("", "store: not a URL"),
        ("nonsense", "store: not a URL"),
        ("mysql://u:secret@host/x", r"mysql://u:\*\*\*@host/x: a store is sqlite:///PATH or"),
        ("sqlite:///{tmp}/no/x.db", "no such file or directory"),
        ("sqlite:///{tmp}", "is a directory"),
        ("sqlite:///{tmp}/x.db?cipher=1", "unknown option 'cipher'"),
        ("sqlite:///{tmp}/x.db?synchronous=off", "normal, full, extra, got 'off'"),
        ("sqlite:///{tmp}/text.db", "file is not a database"),
        ("postgresql://u:secret@127.0.0.1:1/x", r"postgresql://u:\*\*\*@127.0.0.1:1/x: "),
        ("postgresql://u:secret@127.0.0.1:99999/x", r"postgresql://u:\*\*\*@127.0.0.1:99999/x: "),
    ],
)
async def test_what_cannot_be_opened(tmp_path: Path, url: str, expected: str) -> None:
    (tmp_path / "text.db").write_text("This is a text. " * 100)
    with pytest.raises(StoreError, match=expected) as caught:
        await open_store(url.format(tmp=tmp_path))
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("level", ["normal", "FULL", "extra"])
async def test_how_durable_a_commit_is(tmp_path: Path, level: str) -> None:
    url = f"sqlite:///{tmp_path}/store.db?synchronous={level}"
    async with opened(url) as store:
        await store.put("a", stored("c1"))
        assert stored("c1") == await store.get("a", "c1")


async def test_only_the_owner_can_read_the_files(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path}/store.db") as store:
        await store.put("a", stored("c1"))
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert dict.fromkeys(["store.db", "store.db-shm", "store.db-wal"], 0o600) == modes


async def test_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with opened("sqlite:///x.db") as store:
        await store.put("a", stored("c1"))
    assert ["x.db"] == [path.name for path in tmp_path.iterdir()]
