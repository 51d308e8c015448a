"""A process that works on a table until it is killed, and reports what it does.

For each step prints ``begin STEP NUMBERS``, and ``end`` once the step has returned. ``append`` and
``compact`` add completions of these numbers; ``delete`` and ``forget`` delete them.
"""

from __future__ import annotations

import os
import random
import sys
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from chatpb import from_dict
from chatpb.table import Dataset
from chatpb.v1 import CompletionRecord
from support.command_line import run
from support.table_files import completion, lines


def record(number: int) -> bytes:
    """A record that compaction too makes of the completion of that number."""
    made = CompletionRecord(completion=from_dict(completion(number)))
    return made.SerializeToString(deterministic=True)


def main(folder: str, steps: str, first: str, seed: str) -> None:
    """Takes steps at random, with records numbered from `first`."""
    rng = random.Random(seed)
    table = Dataset(Path(folder, "table"))
    source = Path(folder, "in.jsonl")
    number = int(first)
    while True:
        step = rng.choice(steps.split(","))
        numbers: list[int] = []
        if step in ("append", "compact"):
            numbers = list(range(number, number + rng.randrange(1, 20)))
            number = numbers[-1] + 1
        elif step in ("delete", "forget"):
            numbers = sorted(rng.sample(range(number), min(number, 5)))
        say(f"begin {step} {' '.join(map(str, numbers))}")
        act(table, source, step, numbers, rng)
        say("end")


def act(table: Dataset, source: Path, step: str, numbers: list[int], rng: random.Random) -> None:
    """Takes a step."""
    if step == "append":
        table.append(map(record, numbers), row_group_rows=rng.choice([5, 100]))
    elif step == "compact":
        with source.open("ab", buffering=0) as stream:  # no kill cuts a line
            stream.write(lines(*map(completion, numbers)).encode())
        result = run("compact", source, table.path)
        assert 0 == result.exit_code, result.stderr
    elif step == "optimize":
        table.optimize(more_than=rng.choice([None, 0, 3]))
    elif step == "vacuum":
        table.vacuum(timedelta(0))
    else:
        ids = pa.array([f"chatcmpl-{each}" for each in numbers])
        table.delete(pc.is_in(pc.field("id"), ids), vacuum=step == "forget")


def say(line: str) -> None:
    os.write(1, line.encode() + b"\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
