"""`compact --follow`: what comes is added soon, once, whatever happens to the process."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chatpb import from_dict
from chatpb._cli.rounds import rounds
from chatpb.log import LogWriter
from chatpb.table import Dataset, DatasetError
from chatpb.v1 import CompletionRecord
from support.command_line import run
from support.limits import SOAK, TIMEOUT
from support.table_files import completion, lines

FOLLOW = "from chatpb._cli.main import main; main()"


@contextmanager
def following(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", FOLLOW, "compact", "--follow", "--every", "0.1"]
    with subprocess.Popen(
        [*command, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def write(folder: Path, numbers: range) -> None:
    """Appends completions to a log."""
    with LogWriter(folder / "a.chatpb.zst") as writer:
        for number in numbers:
            writer.append(CompletionRecord(completion=from_dict(completion(number))))


def ids(table: Path) -> list[int]:
    dataset = Dataset(table)
    if not dataset.exists():
        return []
    found = [name for rows in dataset.scan(["id"]) for name in rows.column("id").to_pylist()]
    return sorted(int(name.removeprefix("chatcmpl-")) for name in found)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_adds_what_comes_until_a_signal(tmp_path: Path) -> None:
    logs, table = tmp_path / "logs", tmp_path / "table"
    logs.mkdir()
    with following("--optimize-after", 2, logs, table) as process:
        for first in range(0, 50, 10):
            write(logs, range(first, first + 10))
            until(lambda first=first: first + 10 == len(ids(table)))  # type: ignore[misc]
        (logs / "b.jsonl").write_text(lines(completion(50)))
        until(lambda: 51 == len(ids(table)))
        write(logs, range(51, 60))
        process.send_signal(signal.SIGTERM)
        said, complaints = process.communicate(timeout=TIMEOUT)
    assert (0, "") == (process.returncode, complaints)
    assert list(range(60)) == ids(table)
    assert said.splitlines()[0].startswith("10 records, ")
    assert "nothing new" not in said
    assert 4 > len(Dataset(table).files())
    assert "nothing new\n" == run("compact", logs, table).stdout


def test_killed_again_and_again(tmp_path: Path) -> None:
    logs, table = tmp_path / "logs", tmp_path / "table"
    logs.mkdir()
    chance = random.Random(7)
    count = 0
    for _ in range(100 if SOAK else 2):
        with following("--optimize-after", 3, logs, table) as process:
            before = len(ids(table))
            write(logs, range(count, count + 20))
            count += 20
            until(lambda before=before: len(ids(table)) > before)  # type: ignore[misc]
            write(logs, range(count, count + 20))
            count += 20
            time.sleep(chance.uniform(0, 0.2))
            process.kill()
        found = ids(table)
        assert list(range(len(found))) == found
    assert 0 == run("compact", logs, table).exit_code
    assert list(range(count)) == ids(table)


def test_a_round_may_fail_but_not_three_in_a_row() -> None:
    stop = threading.Event()
    results: Iterator[object] = iter([DatasetError("t", "no"), True, OSError(), OSError(), False])
    seen = []

    def add(_: Callable[[], bool]) -> bool:
        result = next(results, None)
        seen.append(result)
        if isinstance(result, Exception):
            raise result
        if result is None:
            raise DatasetError("t", "broken")
        return bool(result)

    with pytest.raises(DatasetError, match="t: broken"):
        rounds(add, stop, 0.001)
    assert 8 == len(seen)


def test_a_signal_ends_a_long_round_early() -> None:
    stop = threading.Event()
    calls = []

    def add(due: Callable[[], bool]) -> bool:
        calls.append(due())
        stop.set()
        calls.append(due())
        return True

    rounds(add, stop, 100)
    assert [False, True, False, False] == calls  # the second time for what came before the signal


def test_the_last_round_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("chatpb._cli.rounds.time.monotonic", lambda: now)
    stop = threading.Event()
    stop.set()
    ended = []

    def add(due: Callable[[], bool]) -> bool:
        nonlocal now
        ended.append(due())
        for seconds in (4.9, 0.2):
            now += seconds
            ended.append(due())
        return True

    rounds(add, stop, 100)
    assert [False, False, True] == ended


def test_a_long_log_is_added_in_pieces(tmp_path: Path) -> None:
    write(tmp_path, range(2000))
    table = tmp_path / "table"
    with following(tmp_path / "a.chatpb.zst", table, "--every", "0.02") as process:
        until(lambda: 2000 == len(ids(table)))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=TIMEOUT)
    assert 0 == process.returncode
    assert list(range(2000)) == ids(table)


def test_standard_input_cannot_be_followed(tmp_path: Path) -> None:
    result = run("compact", "--follow", "-", tmp_path / "table")
    assert (2, "chatpb: error: standard input cannot be followed\n") == (
        result.exit_code,
        result.stderr,
    )
