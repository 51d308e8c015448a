"""One share of the measurements, printed as JSON. `run.py` starts it.

An implementation of chatpb is chosen when it is imported, so each has processes of its own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Final

from convert import peers, probes, subject
from convert.inputs import LARGE, Input, generated, of_files, recorded
from convert.measure import FULL, QUICK, Effort, seconds
from convert.rows import NoModelError, Row, Task, Work

_OF_MANY: Final = (Work.TO_BINARY, Work.FROM_BINARY, Work.READ_LINES, Work.WRITE_LINES)


def main() -> None:
    """Measures what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("share", choices=("peers", "speed", "memory"))
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    effort = QUICK if args.quick else FULL
    json.dump(_share(args.share, args.files, effort), sys.stdout)


def _share(share: str, files: list[Path], effort: Effort) -> dict[str, Any]:
    if share == "memory":
        return {"memory": probes.peak_memory(files[0])}
    sources = [*generated(), *recorded(), *chain.from_iterable(map(of_files, files))]
    if share == "peers":
        sources = [source for source in sources if not source.is_many]
    found = {"cells": list(_cells(sources, share, effort))}
    if share == "peers":
        return found
    large = next(source for source in sources if source.name == LARGE[0])
    enough_cores = (os.cpu_count() or 1) > 1
    return found | {
        "sizes": [probes.sizes(source) for source in sources],
        "thread_gain": probes.thread_gain(large, effort.rounds) if enough_cores else None,
    }


def _cells(sources: Iterable[Input], share: str, effort: Effort) -> Iterator[dict[str, Any]]:
    # Each input has a fresh process: in a heap that others have used, objects lie scattered, and
    # orjson.dumps takes up to twice as long for them; the ratios to it would come out too small.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as pool:
        for cells in pool.map(partial(_cells_of, share=share, effort=effort), sources):
            yield from cells


def _cells_of(source: Input, share: str, effort: Effort) -> list[dict[str, Any]]:
    contenders = peers.rows() if share == "peers" else subject.rows()
    if source.is_many:
        contenders = tuple(row for row in contenders if row.work in _OF_MANY)
    rows = (*subject.references(), *contenders)
    tasks, cells = [], []
    for row in rows:
        task, cell = _prepare(row, source)
        cells.append(cell)
        if task:
            tasks.append(task)
    times = iter(seconds(tasks, effort))
    for cell in cells:
        if cell["status"] == "measured":
            cell["seconds"] = next(times)
    by_name = {cell["row"]: cell.get("seconds") for cell in cells}
    for row, cell in zip(rows, cells, strict=True):
        if "seconds" in cell:
            if reference := by_name.get(row.work.reference):
                cell["ratio"] = cell["seconds"] / reference
            if floor := by_name["simdjson: parse, no objects"]:
                cell["ratio_to_simdjson"] = cell["seconds"] / floor
    return cells


def _prepare(row: Row, source: Input) -> tuple[Task | None, dict[str, Any]]:
    cell = {"row": row.name, "work": row.work, "input": source.name, "status": "measured"}
    try:
        task = row.prepare(source)
        task.call(task.arguments[0])
        return task, {**cell, "keeps": probes.fidelity(row, task, source)}
    except ImportError as error:
        return None, {**cell, "status": "not installed", "reason": str(error)}
    except NoModelError:
        return None, {**cell, "status": "no model"}
    except Exception as error:  # whatever a peer raises, it cannot do this input
        return None, {**cell, "status": "refused", "reason": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    main()
