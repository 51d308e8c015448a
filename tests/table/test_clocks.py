"""Clocks that jump between two commits: what `vacuum` keeps, and which writers it refuses."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path

import pyarrow.compute as pc
import pytest

from chatpb.table import Dataset, DatasetConflictError
from chatpb.table._delta import state
from chatpb.table._delta.log import Log
from chatpb.v1 import CompletionRecord

HOUR, YEAR = 3600.0, 365 * 86_400.0


def at_times(folder: Path, *ages: float) -> Dataset:
    """A table with a commit for each age in seconds, by the clock of its moment."""
    table = Dataset(folder)
    for number, age in enumerate(ages):
        table.append([CompletionRecord(caller=f"user-{number}")])
        moment = time.time() - age
        os.utime(folder / "_delta_log" / f"{number:020}.json", (moment, moment))
    return table


@pytest.mark.parametrize(
    ("ages", "oldest"),
    [
        ((100 * HOUR, 90 * HOUR, 2 * HOUR), 1),
        ((5 * HOUR, 100 * HOUR, 4 * HOUR), 0),  # put back for the second one
        ((90 * HOUR, -YEAR, 80 * HOUR, HOUR), 2),  # a year ahead
        ((90 * HOUR, 80 * HOUR, -YEAR), 1),  # it may have been a moment ago
        ((-YEAR, -YEAR), 0),
        ((-YEAR, 80 * HOUR), 1),
    ],
)
def test_the_oldest_version_that_is_kept(
    ages: tuple[float, ...], oldest: int, tmp_path: Path
) -> None:
    table = at_times(tmp_path, *ages)
    assert oldest == Log(table._location).version_at(time.time() - 24 * HOUR)
    assert oldest == table.vacuum(timedelta(days=1)).oldest
    for version in range(oldest, len(ages)):
        assert version + 1 == len(list(table.at(version).records()))
    assert not table.verify().damaged


def test_a_vacuum_whose_clock_was_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It refuses slow writers until the next `vacuum` whose clock is right."""
    table = at_times(tmp_path, 0, 0)
    monkeypatch.setattr(state, "YOUNG", 0.0)

    def clean(number: int) -> None:
        table.delete(pc.field("caller") == f"user-{number}")
        table.vacuum(timedelta(0))

    with monkeypatch.context() as ahead:
        real = time.time
        ahead.setattr(time, "time", lambda: real() + YEAR)
        clean(0)
    with pytest.raises(DatasetConflictError, match="vacuum may have removed it"):
        table.append([CompletionRecord(caller="new")])
    clean(1)
    time.sleep(0.01)
    table.append([CompletionRecord(caller="new")])


def test_two_vacuums_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one, which has begun later, removes more."""
    table = at_times(tmp_path, 0, 0)
    original = Log.make_checkpoint

    def make_checkpoint(self: Log, version: int) -> None:
        monkeypatch.setattr(Log, "make_checkpoint", original)
        for _ in range(2):
            table.append([CompletionRecord(caller="new")])
        table.vacuum(timedelta(0))
        original(self, version)

    monkeypatch.setattr(Log, "make_checkpoint", make_checkpoint)
    assert 0 == table.vacuum(timedelta(0)).log_files
    assert [3] == [commit.version for commit in table.history()]
    assert 4 == len(list(table.records()))
