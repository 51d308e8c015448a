"""One measurement, printed as JSON. `run.py` starts a fresh process for each."""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from itertools import zip_longest
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, Final

import orjson
import pyarrow
import pyarrow.parquet
import zstandard

from storage.forms import BY_NAME, Work
from storage.queries import QUERIES
from storage.rows import SUMS


def main() -> None:
    """Does what the arguments say."""
    pyarrow.set_cpu_count(1)
    pyarrow.set_io_thread_count(1)
    task, *arguments = sys.argv[1:]
    with redirect_stdout(sys.stderr):  # commands print
        found = _TASKS[task](*arguments)
    json.dump(found, sys.stdout)


def measure(work: str, name: str, kind: str, source: str, target: str) -> dict[str, Any]:
    """The time of writing a form or of reading it, and the bytes that this makes; or why not."""
    form = BY_NAME[name]
    prepare = form.writer if work == Work.WRITE else form.reader
    assert prepare
    call, path = prepare(kind), Path(target)
    try:
        found = _timed(lambda: call(Path(source), path))
    except Exception as error:  # whatever it raises, it cannot do this input
        return {"refused": f"{type(error).__name__}: {error}"}
    # Of a table, the files with the records: what its log has belongs to all of them.
    files = [*path.glob("*.parquet")] if path.is_dir() else [path]
    outside = [_outside(file) for file in files if path.is_dir()]
    return found | {
        "bytes": sum(file.stat().st_size for file in files),
        "outside": max(outside, default=None),
    }


def _outside(file: Path) -> int:
    """The bytes of a Parquet file that are outside of its columns."""
    metadata = pyarrow.parquet.read_metadata(file)
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    inside: int = sum(
        group.column(number).total_compressed_size
        for group in groups
        for number in range(group.num_columns)
    )
    return file.stat().st_size - inside


def rows(count: str, lines: str, table: str) -> dict[str, Any]:
    """Makes small rows, as compressed JSON lines and as a table."""
    from storage.subject import Table
    from storage.traffic import short_chats

    compressor = zstandard.ZstdCompressor(level=3, threads=0)
    size = 0
    with open(lines, "wb") as file, compressor.stream_writer(file) as out:

        def written() -> Iterator[bytes]:
            nonlocal size
            for document in short_chats(int(count)):
                size += out.write(document + b"\n")
                yield document

        Table("ChatCompletion").write_lines(written(), Path(table))
    return {"bytes": size}


def sum_rows(name: str, lines: str, table: str) -> dict[str, Any]:
    """The time of a sum over one member of all rows."""
    call = SUMS[name](Path(lines), Path(table))
    result = 0

    def run() -> None:
        nonlocal result
        result = call()

    return _timed(run) | {"sum": result}


def query(name: str, folder: str) -> dict[str, Any]:
    """The time of a query of a table, with the opening of it, in a process that has its modules."""
    call = QUERIES[name](Path(folder))
    result = 0

    def run() -> None:
        nonlocal result
        result = call()

    return _timed(run) | {"result": result}


def appends(count: str, source: str, small: str, whole: str) -> dict[str, Any]:
    """Writes exchanges by that many appends with an optimize after them, and by one append."""
    from storage.queries import append_all

    found = append_all(int(count), Path(source), Path(small), Path(whole))
    return {"small": found[0], "whole": found[1]}


def compare(first: str, second: str) -> dict[str, Any]:
    """How many of two files' lines are not equal as JSON values."""
    with open(first, "rb") as one, open(second, "rb") as other:
        pairs = zip_longest(one, other, fillvalue=b"null")
        return {"unequal": sum(orjson.loads(a) != orjson.loads(b) for a, b in pairs)}


def _timed(call: Callable[[], None]) -> dict[str, Any]:
    wall, cpu = perf_counter(), _processor_time()
    call()
    return {"cpu_s": _processor_time() - cpu, "wall_s": perf_counter() - wall}


def _processor_time() -> float:
    """That of this process, and of those that it started and waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return process_time() + children.ru_utime + children.ru_stime


_TASKS: Final[dict[str, Callable[..., dict[str, Any]]]] = {
    "measure": measure,
    "rows": rows,
    "sum": sum_rows,
    "compare": compare,
    "query": query,
    "appends": appends,
}

if __name__ == "__main__":
    main()
