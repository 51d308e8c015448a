"""Kills, full disks, damage, and many processes at once: no record is lost, twice or wrong."""

from __future__ import annotations

import errno
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from chatpb import from_dict
from chatpb.table import Dataset, DatasetError
from chatpb.table._delta import commits
from chatpb.v1 import CompletionRecord
from support.command_line import run
from support.limits import SOAK
from support.table_files import completion
from support.table_process import record

STEPS = "append,compact,optimize,delete,vacuum,forget"


@contextmanager
def process(folder: Path, steps: str, first: int, seed: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "support.table_process", folder, steps, first, seed]
    with subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def numbers(table: Path) -> list[int]:
    """The numbers of the records in a table, each of which is as it was added."""
    dataset = Dataset(table)
    found = []
    for data in dataset.records() if dataset.exists() else ():
        found.append(int(re.search(rb"chatcmpl-(\d+)", data)[1]))  # type: ignore[index]
        assert record(found[-1]) == data
    return sorted(found)


class Model:
    """What a table should contain after what a process said."""

    def __init__(self, table: Path) -> None:
        self.there = {0}
        self.next = 1
        self.step = ""  # that was begun, and has not ended
        self.given: set[int] = set()
        self.input: set[int] = set()
        self.source = table.parent / "in.jsonl"
        self.deleted: set[int] = set()
        Dataset(table).append([record(0)])

    def hear(self, line: str) -> None:
        """Takes a line of the process."""
        word, *rest = line.split()
        if word == "end":
            self.deleted |= self.there - self.after()
            self.there, self.step = self.after(), ""
            return
        self.step, *numbers = rest
        self.given = set(map(int, numbers))
        if self.step in ("append", "compact"):
            self.next = max(self.given) + 1

    def after(self) -> set[int]:
        """What is there once the step has ended."""
        if self.step == "append":
            return self.there | self.given
        if self.step == "compact":
            self.input |= self.given
            return self.there | (self.input - self.deleted)
        if self.step in ("delete", "forget"):
            return self.there - self.given
        return self.there

    def see(self, found: list[int]) -> None:
        """Takes what is there after a kill."""
        assert len(set(found)) == len(found)
        there = set(found)
        assert there in (self.there, self.after()), self.step
        self.deleted |= self.there - there
        self.there, self.step = there, ""
        text = self.source.read_text() if self.source.exists() else ""
        self.input = {int(name) for name in re.findall(r'"chatcmpl-(\d+)"', text)}


def test_killed_at_random_points(tmp_path: Path) -> None:
    chance = random.Random(3)
    table = tmp_path / "table"
    model = Model(table)
    for seed in range(800 if SOAK else 2):
        with process(tmp_path, STEPS, model.next, seed) as child:
            assert child.stdout is not None
            assert child.stderr is not None
            for _ in range(chance.randrange(1, 20)):
                line = child.stdout.readline()
                assert line, child.stderr.read()
                model.hear(line)
            time.sleep(chance.uniform(0, 0.08))
            child.kill()
            for line in child.stdout:
                model.hear(line)
        model.see(numbers(table))
        assert 0 == run("verify", table).exit_code
    Dataset(table).vacuum(timedelta(0))
    assert model.there == set(numbers(table))


def test_many_processes_at_once(tmp_path: Path) -> None:
    """Two that compact the same input, one that appends, one that optimizes, and a reader."""
    table = tmp_path / "table"
    Dataset(table).append([record(0)])
    acknowledged = {0}
    roles = [("compact", 1), ("compact", 100_000), ("append", 200_000), ("optimize", 0)]
    with ExitStack() as stack:
        children = [
            stack.enter_context(process(tmp_path, steps, first, seed))
            for seed, (steps, first) in enumerate(roles)
        ]
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline()
        end = time.monotonic() + (120 if SOAK else 1)
        seen: list[int] = []
        while time.monotonic() < end:
            found = numbers(table)
            assert len(set(found)) == len(found)
            assert set(seen) <= set(found)
            seen = found
        for child in children:
            assert child.poll() is None, child.communicate()
            child.kill()
        for child in children:
            assert child.stdout is not None
            given: list[str] = []
            for line in child.stdout:
                word, *rest = line.split()
                if word == "end" and given:
                    acknowledged |= set(map(int, given[1:]))
                given = rest
    assert acknowledged <= set(numbers(table))
    assert 0 == run("compact", tmp_path / "in.jsonl", table).exit_code
    found = numbers(table)
    assert len(set(found)) == len(found)
    text = (tmp_path / "in.jsonl").read_text()
    expected = acknowledged | {int(name) for name in re.findall(r'"chatcmpl-(\d+)"', text)}
    assert {number for number in found if number < 200_000} == {
        number for number in expected if number < 200_000
    }
    assert expected <= set(found)


def test_a_conflict_is_worked_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What others commit between reading and committing: files come, and are replaced."""
    table = Dataset(tmp_path)
    for number in range(6):
        table.append([record(number)])
    commit = commits.commit
    others: list[Callable[[], object]] = [
        lambda: Dataset(tmp_path).append([record(6), record(7)]),
        lambda: Dataset(tmp_path).optimize(),
        lambda: Dataset(tmp_path).append([record(8)]),
    ]

    def interrupted(*arguments: Any) -> int:
        if others:
            monkeypatch.setattr("chatpb.table._delta.commits.commit", commit)
            monkeypatch.setattr("chatpb.table._care.rewrite.commit", commit)
            others.pop(0)()
            monkeypatch.setattr("chatpb.table._delta.commits.commit", interrupted)
            monkeypatch.setattr("chatpb.table._care.rewrite.commit", interrupted)
        return commit(*arguments)

    monkeypatch.setattr("chatpb.table._delta.commits.commit", interrupted)
    done = table.delete(pc.is_in(pc.field("id"), pa.array(["chatcmpl-2", "chatcmpl-7"])))
    assert [] == others
    assert 2 == done.records
    assert [0, 1, 3, 4, 5, 6, 8] == numbers(tmp_path)

    others.append(lambda: Dataset(tmp_path).delete(pc.field("id") == "chatcmpl-0"))
    monkeypatch.setattr("chatpb.table._care.rewrite.commit", interrupted)
    assert 0 < table.optimize().removed
    assert [1, 3, 4, 5, 6, 8] == numbers(tmp_path)
    monkeypatch.undo()
    table.vacuum(timedelta(0))
    assert {part.name for part in table.files()} == {
        name for name in os.listdir(tmp_path) if name.endswith(".parquet")
    }


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    table = Dataset(tmp_path)
    texts = [os.urandom(3000).hex() for _ in range(6)]
    for text in texts:
        made = CompletionRecord(completion=from_dict(completion(1, id=text)), caller="a")
        table.append([made, record(3)])
    before = sorted(table.records()), sorted(os.listdir(tmp_path)), table.version()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        for change in (
            table.optimize,
            lambda: table.delete(pc.field("id") == "chatcmpl-3", vacuum=True),
            lambda: table.append([record(number) for number in range(300)]),
        ):
            resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, limits[1]))
            try:
                with pytest.raises((OSError, DatasetError)) as caught:
                    change()
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            assert os.strerror(errno.EFBIG).lower() in str(caught.value).lower()
            after = sorted(table.records()), sorted(os.listdir(tmp_path)), table.version()
            assert before == after
    finally:
        signal.signal(signal.SIGXFSZ, handler)
    assert 6 == table.optimize().removed


def test_an_emptied_commit_is_named(tmp_path: Path) -> None:
    """As a power cut leaves it; Delta's client overlooks it."""
    table = Dataset(tmp_path)
    for number in range(3):
        table.append([record(number)])
    entry = tmp_path / "_delta_log" / f"{1:020}.json"
    entry.write_bytes(b"")
    for use in (lambda: list(table.records()), table.verify, table.optimize):
        with pytest.raises(DatasetError) as caught:
            use()
        assert f"{entry}: damaged: it is empty" == str(caught.value)
