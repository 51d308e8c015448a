"""How much memory commands take for a record that is much longer than usual."""

from __future__ import annotations

import json
import os
import random
import string
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

import chatpb
from chatpb import from_dict
from chatpb.log import LogWriter
from chatpb.v1 import CompletionRecord
from support import build
from support.limits import SOAK, TIMEOUT

MEGABYTES: Final = 100 if SOAK else 24
_PEAKS: Final = """
import json, sys
from chatpb._cli.main import main
from support.command_line import peak_memory
peaks = []
for command in json.loads(sys.argv[1]):
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")
    sys.argv[1:] = command
    try:
        main()
    except SystemExit as end:
        assert not end.code, (command, end.code)
    peaks.append(peak_memory())
sys.stderr.write(json.dumps(peaks))
"""

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or chatpb.implementation != "native", reason="other memory is measured"
)


def text(size: int) -> str:
    noise = random.Random(1)
    words = ["".join(noise.choices(string.ascii_letters, k=6)) for _ in range(10_000)]
    some = " ".join(noise.choices(words, k=150_000))
    return (some * (size // len(some) + 1))[:size]


def answer(size: int) -> dict[str, Any]:
    return build.completion(build.choice(text(size)))


def exchange(size: int) -> dict[str, Any]:
    request = {"model": "m", "messages": [{"role": "user", "content": text(size)}]}
    return {"request": request, "response": build.completion(build.choice("a"))}


def unknown(size: int) -> dict[str, Any]:
    return build.completion(build.choice("a")) | {"extra": text(size)}


def peaks(commands: list[list[str]]) -> list[int]:
    """The peak memory of a process during each of some commands."""
    done = subprocess.run(
        [sys.executable, "-c", _PEAKS, json.dumps(commands)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=TIMEOUT,
        check=False,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert 0 == done.returncode, done.stderr
    found: list[int] = json.loads(done.stderr.splitlines()[-1])  # after notes
    return found


def above(
    folder: Path,
    make: Callable[[int], dict[str, Any]],
    *commands: list[str],
    megabytes: int = MEGABYTES,
) -> None:
    """Asserts that no command takes more than four times the record, above those for a short one.

    The commands have the names of JSON lines, a log and two tables in braces. Blocks of
    less than 32 MiB may stay with malloc for a while after they are freed.
    """
    size = megabytes * 1_000_000
    found: list[list[int]] = []
    for name, length in (("short", 10), ("long", size)):
        names = {
            "lines": str(folder / f"{name}.jsonl"),
            "log": str(folder / f"{name}.chatpb.zst"),
            "table": str(folder / name),
            "other": str(folder / f"{name}-other"),
        }
        small = json.dumps(build.completion(build.choice("b"), id="small"))
        Path(names["lines"]).write_text(f"{small}\n{json.dumps(make(length))}\n{small}\n")
        if FROM_LOG in commands:
            with LogWriter(names["log"]) as log:
                log.append(CompletionRecord(completion=from_dict(make(length))))
        found.append(peaks([[part.format_map(names) for part in each] for each in commands]))
    for short, long, command in zip(*found, commands, strict=True):
        assert long - short <= 4 * size, (command, (long - short) / size)


WRITE: Final = ["compact", "{lines}", "{table}"]
READ: Final = ["cat", "{table}"]
VERIFY: Final = ["verify", "{table}"]
OPTIMIZE: Final = ["optimize", "--all", "{table}"]
DELETE: Final = ["delete", "{table}", "id = 'small'"]
EXPORT: Final = ["export", "--form", "messages", "{table}"]
EXPORT_PARQUET: Final = [*EXPORT, "-o", "{table}.parquet"]
ROUNDTRIP: Final = ["roundtrip", "{lines}"]
FROM_LOG: Final = ["compact", "{log}", "{other}"]


def test_a_long_record_takes_four_times_its_size(tmp_path: Path) -> None:
    above(tmp_path, answer, WRITE, READ, OPTIMIZE)


def test_a_long_record_comes_back_equal_in_four_times_its_size(tmp_path: Path) -> None:
    above(tmp_path, answer, ROUNDTRIP, megabytes=max(MEGABYTES, 36))


def test_a_long_record_is_exported_in_four_times_its_size(tmp_path: Path) -> None:
    above(tmp_path, exchange, WRITE, EXPORT, EXPORT_PARQUET, megabytes=max(MEGABYTES, 36))


@pytest.mark.skipif(not SOAK, reason="takes a minute")
@pytest.mark.parametrize("make", [answer, exchange, unknown])
def test_every_command_takes_four_times_a_long_record(
    make: Callable[[int], dict[str, Any]], tmp_path: Path
) -> None:
    record = ["cat", "--what", "record", "{table}"]
    grep = ["grep", "status is null", "{table}"]
    sql = ["sql", "{table}", "select count(*) from messages where content like '%zz%'"]
    above(tmp_path, make, WRITE, READ, FROM_LOG, record, VERIFY, grep, sql, OPTIMIZE, DELETE)


@pytest.mark.skipif(not SOAK, reason="takes a minute")
def test_every_form_is_exported_in_four_times_a_long_record(tmp_path: Path) -> None:
    forms = ["records", "responses", "fine-tuning", "stored", "batch"]
    commands = [["export", "--form", form, "{table}"] for form in forms]
    above(tmp_path, exchange, WRITE, EXPORT, EXPORT_PARQUET, *commands)
