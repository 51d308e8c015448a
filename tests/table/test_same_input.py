"""Two that take input at the same time, of which one sees more than the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chatpb.table import Dataset
from chatpb.table._delta import commits
from support.table_files import compacted, completion, lines


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Does something right before the next commit."""
    original = commits._check_age

    def at_next(act: Callable[[], object]) -> None:
        def first(*args: Any, **kwargs: Any) -> None:
            monkeypatch.setattr(commits, "_check_age", original)
            act()
            original(*args, **kwargs)

        monkeypatch.setattr(commits, "_check_age", first)

    return at_next


def ids(table: Path) -> list[str]:
    return sorted(
        name for rows in Dataset(table).scan(["id"]) for name in rows.column(0).to_pylist()
    )


@pytest.mark.parametrize("count", [5, 50])
@pytest.mark.parametrize("is_new", [True, False])
def test_a_short_file_that_another_process_reads_when_it_has_grown(
    is_new: bool, count: int, tmp_path: Path, meanwhile: Callable[[Callable[[], object]], None]
) -> None:
    """What a table notes of it has another ID then: that of its first 4 KiB, or of all of it."""
    source, table = tmp_path / "in.jsonl", tmp_path / "table"
    if not is_new:
        Dataset(table).append([])
    source.write_text(lines(completion(0)))

    def other() -> None:
        with source.open("a") as stream:
            stream.write(lines(*map(completion, range(1, count))))
        compacted(source, table)

    meanwhile(other)
    assert "nothing new\n" == compacted(source, table)
    assert sorted(f"chatcmpl-{number}" for number in range(count)) == ids(table)


@pytest.mark.parametrize("count", [5, 50])
def test_a_file_of_which_another_process_takes_the_beginning(
    count: int, tmp_path: Path, meanwhile: Callable[[Callable[[], object]], None]
) -> None:
    source, begin, table = tmp_path / "in.jsonl", tmp_path / "begin.jsonl", tmp_path / "table"
    source.write_text(lines(*map(completion, range(count))))
    begin.write_text(lines(completion(0)))
    meanwhile(lambda: compacted(begin, table))
    assert compacted(source, table).startswith(f"{count - 1} records, ")
    assert sorted(f"chatcmpl-{number}" for number in range(count)) == ids(table)


def test_others_that_take_other_files_are_no_conflict(
    tmp_path: Path, meanwhile: Callable[[Callable[[], object]], None]
) -> None:
    sources, table = [tmp_path / f"{number}.jsonl" for number in range(2)], tmp_path / "table"
    for number, source in enumerate(sources):
        source.write_text(lines(completion(number)))
    meanwhile(lambda: compacted(sources[0], table))
    read: list[object] = []
    original = Dataset.writer

    def writer(self: Dataset, **options: Any) -> Any:
        read.append(self)
        return original(self, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Dataset, "writer", writer)
        compacted(sources[1], table)
    assert 2 == len(read)  # one each
    assert ["chatcmpl-0", "chatcmpl-1"] == ids(table)
