"""Compaction of input that grows, killed again and again: nothing is lost, nothing comes twice."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

from chatpb import from_dict
from chatpb.log import LogWriter
from chatpb.table import Dataset
from chatpb.v1 import CompletionRecord
from support.limits import SOAK, TIMEOUT
from support.table_files import compacted, completion, lines, printed

COMPACT = (
    "import chatpb.log, chatpb.table, chatpb._cli; print('begun', flush=True)\n"
    "from chatpb._cli.main import main; main()"
)


class Input:
    """A log and a file of JSON lines that grow, and files that come new."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.numbers: list[int] = []
        folder.mkdir()

    def grow(self) -> None:
        """Adds fifteen completions, with numbers that no other has."""
        start = len(self.numbers)
        with LogWriter(self.folder / "a.chatpb.zst") as writer:
            for number in range(start, start + 5):
                writer.append(CompletionRecord(completion=from_dict(completion(number))))
        with (self.folder / "b.jsonl").open("a") as stream:
            stream.write(lines(*map(completion, range(start + 5, start + 10))))
        for number in range(start + 10, start + 15):
            path = self.folder / f"{number:05}.json"
            path.write_text(json.dumps(completion(number)))
        self.numbers += range(start, start + 15)


def numbers(table: Path) -> list[int]:
    """The numbers of the completions in a table."""
    if not (table / "_delta_log").exists():
        return []
    ids = [name for rows in Dataset(table).scan(["id"]) for name in rows.column("id").to_pylist()]
    return sorted(int(name.removeprefix("chatcmpl-")) for name in ids)


def test_killed_at_random_points(tmp_path: Path) -> None:
    given, table = Input(tmp_path / "in"), tmp_path / "table"
    chance = random.Random(1)
    seconds = 0.1  # that a compaction takes; measured below
    before: list[int] = []
    killed = 0
    for _ in range(200 if SOAK else 4):
        given.grow()
        with subprocess.Popen(
            [sys.executable, "-c", COMPACT, "compact", given.folder, table], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert b"begun\n" == process.stdout.readline()
            start = time.monotonic()
            try:
                process.wait(chance.uniform(0, 1.3 * seconds))
            except subprocess.TimeoutExpired:
                process.kill()
                killed += 1
            else:
                seconds = time.monotonic() - start
                assert 0 == process.returncode
        after = numbers(table)
        assert after in (before, given.numbers)
        if process.returncode == 0:
            assert given.numbers == after
        before = after
    assert killed > 0

    compacted(given.folder, table)
    assert given.numbers == numbers(table)
    assert "nothing new\n" == compacted(given.folder, table)
    stored = {each["id"]: each for each in printed("cat", table)}
    assert {f"chatcmpl-{n}": completion(n) for n in given.numbers} == stored


def test_two_that_take_the_same_input(tmp_path: Path) -> None:
    """Processes that begin together: each record is added once, and none of them fails."""
    given, table = Input(tmp_path / "in"), tmp_path / "table"
    for _ in range(20 if SOAK else 2):
        given.grow()
        started = [
            subprocess.Popen(
                [sys.executable, "-m", "chatpb", "compact", given.folder, table],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        said = [process.communicate(timeout=TIMEOUT) for process in started]
        assert ["", ""] == [err for _, err in said]
        assert 1 == sum(out == "nothing new\n" for out, _ in said)
        assert given.numbers == numbers(table)


def test_memory_is_bounded(tmp_path: Path) -> None:
    """Gigabytes would take no more than this: a row group of 64 MiB, a few times."""
    measure = (
        "import sys; from chatpb._cli.main import main\n"
        "from support.command_line import peak_memory\n"
        "try: main()\n"
        "finally: sys.stderr.write(str(peak_memory()))"
    )
    text = random.Random(4).randbytes(500_000).hex()
    with subprocess.Popen(
        [sys.executable, "-c", measure, "compact", "--format", "jsonl", "-", tmp_path / "table"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        for number in range(400):
            line = completion(number)
            line["choices"][0]["message"]["content"] = text[number:]
            process.stdin.write(json.dumps(line).encode() + b"\n")
        process.stdin.close()
        said = process.stderr.read()
        assert 0 == process.wait(), said
    assert int(said) < 384 << 20, said
