"""A dataset in a forked child, which may read and add; a writer is its parent's alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chatpb.table import Dataset, DatasetWriter
from support import forks

pytestmark = forks.allowed

ONE, TWO = b"\x6a\x01a", b"\x6a\x01b"  # records with the call IDs a and b


def stored(folder: Path) -> list[bytes]:
    return list(Dataset(folder).records())


def test_a_child_reads_and_adds(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path)
    dataset.append([ONE])
    assert [ONE] == list(dataset.records())
    assert repr([ONE]) == forks.in_child(lambda: list(dataset.records()))
    assert "1" == forks.in_child(lambda: dataset.append([TWO]).records)
    assert [ONE, TWO] == stored(tmp_path)


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda writer: writer.write(TWO), id="write"),
        pytest.param(lambda writer: writer.write_json(b"{}"), id="write-json"),
        pytest.param(DatasetWriter.commit, id="commit"),
    ],
)
def test_an_open_writer_refuses(tmp_path: Path, use: Callable[[DatasetWriter], object]) -> None:
    with Dataset(tmp_path).writer(row_group_rows=1) as writer:
        writer.write(ONE)
        answer = forks.in_child(lambda: use(writer))
        writer.write(TWO)
    reason = f"the writer belongs to process {os.getpid()}; make another after a fork"
    assert f"DatasetError: {tmp_path}: {reason}" == answer
    assert [ONE, TWO] == stored(tmp_path)


@pytest.mark.parametrize("error", [None, KeyError("mine")], ids=["ended", "failed"])
def test_a_child_leaves_the_block(tmp_path: Path, error: Exception | None) -> None:
    """The files that the parent writes stay."""

    def leave() -> Any:
        kind = None if error is None else type(error)
        return block.__exit__(kind, error, None)

    block = Dataset(tmp_path).writer(row_group_rows=1)
    writer = block.__enter__()
    writer.write(ONE)
    writer.write(TWO)
    answer = forks.in_child(leave)
    assert answer.startswith("False" if error else "DatasetError")  # false: the error goes on
    block.__exit__(None, None, None)
    assert [ONE, TWO] == stored(tmp_path)
