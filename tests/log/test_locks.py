"""A file of a log has one writer at a time."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from chatpb.log import (
    SUFFIX,
    LockedError,
    LogWriter,
    read,
    recover,
)
from chatpb.v1 import CompletionRecord
from support.log_files import NAME, contents, process, record, records, write


def test_another_process_has_the_file(tmp_path: Path) -> None:
    path = tmp_path / NAME
    with process(path, 0, 1) as child:
        assert child.stdout is not None
        assert "ready\n" == child.stdout.readline()
        for use in (LogWriter, recover):
            with pytest.raises(LockedError) as caught:
                use(path)
            assert path == caught.value.path
            if sys.platform == "linux":
                assert child.pid == caught.value.pid
                assert f"{path}: process {child.pid} is writing to it" in str(caught.value)
        child.kill()
    with LogWriter(path) as writer:
        writer.append(record(-1))
    assert "-1" == list(read(path))[-1].record.call_id


def test_this_process_has_the_file(tmp_path: Path) -> None:
    with LogWriter(tmp_path / NAME) as writer:
        with pytest.raises(LockedError, match=f"process {os.getpid()} is writing to it"):
            LogWriter(tmp_path / NAME)
        writer.append(record(0))
    write(tmp_path / NAME, [record(1)])
    assert records(2) == contents(tmp_path / NAME)


def test_a_file_that_was_never_begun_is_taken_away(tmp_path: Path) -> None:
    with LogWriter(tmp_path) as writer:
        writer.append(record(0))
    for length in (0, 1, 100):
        path = tmp_path / f"20990101T000000.00000{length // 50}Z-00000000{SUFFIX}"
        path.write_bytes(writer.path.read_bytes()[:length])
    with LogWriter(tmp_path) as after:
        assert [1, 100] == [damage.size for damage in after.recovered]
        after.append(record(1))
    assert [writer.path, after.path] == sorted(tmp_path.iterdir())
    assert records(2) == contents(tmp_path)


def test_two_files_of_a_directory_are_repaired(tmp_path: Path) -> None:
    with LogWriter(tmp_path) as one, LogWriter(tmp_path) as two:
        one.append(record(0))
        two.append(record(1))
    for path in (one.path, two.path):
        with path.open("ab") as file:
            file.write(path.read_bytes()[:100])
    (tmp_path / f"foreign{SUFFIX}").write_text("text")
    with LogWriter(tmp_path) as writer:
        assert [one.path, two.path] == [damage.path for damage in writer.recovered]
    (tmp_path / f"foreign{SUFFIX}").unlink()
    assert {"0", "1"} == {CompletionRecord.FromString(data).call_id for data in contents(tmp_path)}
