"""Disks that are full, and directories whose names are no text."""

from __future__ import annotations

import errno
import os
import re
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from chatpb import from_dict
from chatpb.table import Dataset, DatasetError
from chatpb.v1 import CompletionRecord
from support.command_line import run
from support.table_files import completion, lines


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """No file gets larger."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    """With the file, which Arrow leaves out: it is not the output of the command."""
    table = Dataset(tmp_path / "table")
    for number in range(2):
        made = from_dict(completion(number, id=os.urandom(3000).hex()))
        table.append([CompletionRecord(completion=made, caller="a")] * 2)
    source = tmp_path / "in.jsonl"
    source.write_text(lines(*(completion(1, id=os.urandom(3000).hex()) for _ in range(9))))
    reason = os.strerror(errno.EFBIG).lower()
    pattern = rf"chatpb: error: {re.escape(str(table.path))}/part-\S+\.writing: {reason}\n"
    for command in (["compact", source, table.path], ["optimize", table.path]):
        with full_disk(2_000):
            result = run(*command)
        assert result.exit_code == 1
        assert re.fullmatch(pattern, result.stderr)
    assert 4 == len(list(table.records()))


def test_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"a\xff")
    for use in (lambda: Dataset(folder).append([b""]), lambda: list(Dataset(folder).records())):
        with pytest.raises(DatasetError, match="bytes that are not UTF-8"):
            use()
    assert not folder.exists()


def test_a_table_in_the_directory_of_another(tmp_path: Path) -> None:
    """`vacuum` takes none of its files for garbage."""
    outer, inner = Dataset(tmp_path), Dataset(tmp_path / "a" / "inner")
    for table in (outer, inner):
        table.append([CompletionRecord(caller="a")])
        table.append([CompletionRecord(caller="b")])
    garbage = tmp_path / "a" / "garbage.parquet"
    garbage.touch()
    for path in (garbage, *(part.path for part in inner.files())):
        os.utime(path, (0, 0))
    assert 1 == outer.vacuum(timedelta(0)).files
    outer.delete("caller = 'a'", vacuum=True)
    assert not garbage.exists()
    assert [2, 1] == [table.verify().records for table in (inner, outer)]
    assert not inner.verify().damaged
