"""What needs more than a stopwatch: two threads, peak memory, and whether JSON comes back."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any

import chatpb
from convert.inputs import Input
from convert.rows import Row, Task
from convert.subject import binary

_STATUS = Path("/proc/self/status")


def thread_gain(source: Input, rounds: int, seconds: float = 0.15) -> float:
    """The throughput of two threads in relation to that of one, by the best of the rounds."""

    def convert(passes: int) -> None:
        for _ in range(passes):
            chatpb.json_to_binary(source.documents[0])

    start = perf_counter()
    convert(3)
    passes = max(1, round(3 * seconds / (perf_counter() - start)))
    one, two = [], []
    for _ in range(rounds):
        one.append(_with_threads(1, convert, passes))
        two.append(_with_threads(2, convert, passes))
    return 2 * min(one) / min(two)


def _with_threads(count: int, convert: Any, passes: int) -> float:
    barrier = threading.Barrier(count + 1)

    def body() -> None:
        barrier.wait()
        convert(passes)

    threads = [threading.Thread(target=body) for _ in range(count)]
    for thread in threads:
        thread.start()
    barrier.wait()
    start = perf_counter()
    for thread in threads:
        thread.join()
    return perf_counter() - start


def peak_memory(document: Path) -> dict[str, float] | None:
    """The most memory that a conversion holds beyond its input and output, in bytes of the JSON.

    The process must have done nothing large before. None where the system does not tell.
    """
    if not _STATUS.exists():
        return None
    warm = b'{"choices":[{"index":0,"logprobs":{"content":[]}}]}'
    chatpb.binary_to_json(chatpb.json_to_binary(warm))
    text = document.read_bytes()
    size = len(text)
    before = _reset_peak()
    data = chatpb.json_to_binary(text)
    reading = _memory("VmHWM") - before - len(data)
    del text
    before = _reset_peak()
    text = chatpb.binary_to_json(data)
    writing = _memory("VmHWM") - before - len(text)
    return {"json_to_binary": reading / size, "binary_to_json": writing / size, "json_bytes": size}


def _reset_peak() -> int:
    with suppress(OSError):  # then an earlier peak may count: the figure is too high, not too low
        Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def _memory(name: str) -> int:
    lines = _STATUS.read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))


def fidelity(row: Row, task: Task, source: Input) -> str:
    """What is left of the JSON once a row has written it again."""
    if not row.work.gives_json:
        return ""
    grade = "all"
    for argument, document in zip(task.arguments, source.documents, strict=True):
        given, wanted = json.loads(task.call(argument)), json.loads(document)
        if given != wanted:
            grade = "not empty"
            if _filled(given) != _filled(wanted):
                return "changed"
    return grade


def _filled(value: Any) -> Any:
    """The value without members that are null, zero, false or empty."""
    if isinstance(value, list):
        return [_filled(item) for item in value]
    if isinstance(value, dict):
        return {key: kept for key, item in value.items() if (kept := _filled(item))}
    return value


def sizes(source: Input) -> dict[str, Any]:
    """The bytes of an input in both forms."""
    in_binary = sum(map(len, binary(source)))
    return {
        "input": source.name,
        "about": source.about,
        "is_many": source.is_many,
        "texts": len(source.documents),
        "json_bytes": source.size,
        "binary_bytes": in_binary,
        "ratio": in_binary / source.size,
    }
