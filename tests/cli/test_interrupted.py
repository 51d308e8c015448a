"""Ctrl-C ends a query of DuckDB that runs for long, and the command with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chatpb.table import Dataset
from support.interruptible import interruptible
from support.limits import TIMEOUT
from table.test_care import filled

pytest.importorskip("duckdb")

#: Begins once the test has written to a named pipe, and would take hours.
LONG = (
    "(SELECT count(*) FROM read_csv('{pipe}', columns = {{'a': 'BIGINT'}}, auto_detect = false) f,"
    " range(10000000) x, range(10000000) y WHERE x.range * y.range = f.a) > 0"
)


@pytest.mark.parametrize("command", ["sql", "grep", "delete"])
def test_a_long_query(command: str, tmp_path: Path) -> None:
    table, pipe = tmp_path / "table", tmp_path / "pipe"
    records = filled(table, 1)
    os.mkfifo(pipe)
    long = LONG.format(pipe=pipe)
    arguments = {
        "sql": [str(table), f"SELECT id FROM exchanges WHERE {long}"],
        "grep": [long, str(table)],
        "delete": [str(table), long],
    }[command]
    with interruptible():
        child = subprocess.Popen(
            [sys.executable, "-m", "chatpb", command, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    with child:
        try:
            with open(pipe, "w") as stream:  # waits until the query reads it
                stream.write("-1\n")
            child.send_signal(signal.SIGINT)
            out, err = child.communicate(timeout=TIMEOUT)
        finally:
            child.kill()
    assert (130, "", "\n") == (child.returncode, out.decode(), err.decode())
    assert records == list(Dataset(table).records())
