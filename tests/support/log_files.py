"""Records and logs for the tests of `chatpb.log`."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chatpb.log import SUFFIX, LogWriter, Sync, new_key, read
from chatpb.log._frames import Source, read_frame
from chatpb.v1 import CompletionRecord

NAME = f"log{SUFFIX}"
_TESTS = Path(__file__).parents[1]


def record(number: int, size: int = 0) -> bytes:
    """A record that its number identifies; it does not compress well."""
    noise = random.Random(number).randbytes(size // 2).hex()
    return CompletionRecord(call_id=str(number), labels={"noise": noise}).SerializeToString()


def records(count: int, size: int = 0) -> list[bytes]:
    """The records 0 to count - 1."""
    return [record(number, size) for number in range(count)]


def write(path: Path, data: list[bytes], frame_bytes: int = 1, keys: Path | None = None) -> None:
    """Writes a log; by default, each record has its own frame."""
    with LogWriter(path, sync=Sync.NEVER, frame_bytes=frame_bytes, keys=keys) as writer:
        for item in data:
            writer.append(item)


def contents(path: Path, keys: Path | None = None) -> list[bytes]:
    """The records of a log without damage."""
    found: list[object] = []
    data = [entry.data for entry in read(path, on_damage=found.append, keys=keys)]
    assert [] == found
    return data


def frame_offsets(path: Path) -> list[int]:
    """The offsets of the frames of a log, and the end of the last one."""
    offsets = [0]
    with path.open("rb") as file:
        source = Source(file.fileno())
        while (frame := read_frame(source, offsets[-1])) is not None:
            offsets.append(frame.end)
    return offsets


def keys_file(path: Path, *ids: str) -> Path:
    """Appends new keys to a file of keys, made if it is missing."""
    path.touch(mode=0o600)
    with path.open("a") as file:
        file.writelines(f"{new_key(key_id)}\n" for key_id in ids)
    return path


@contextmanager
def process(
    path: Path, first: int, seed: int, keys: Path | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Starts a process that writes records to a log until it is killed."""
    command = [sys.executable, "-m", "support.log_process", str(path), str(first), str(seed)]
    command += [] if keys is None else [str(keys)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, bufsize=1, cwd=_TESTS
    ) as child:
        try:
            yield child
        finally:
            child.kill()
