"""Rows that are so long that the memory for one of them counts.

Such a row is a row group of its own, nothing but the code that works on it has it, and what Arrow
has allocated for it goes back to the system at once. So it takes no more than four times its size.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

import pyarrow as pa

#: The bytes from which on a row is long.
LONG: Final = 16 << 20


def apart(rows: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Rows in pieces, such that long ones are alone."""
    if rows.num_rows < 2 or rows.nbytes < LONG:
        yield rows
    else:
        half = rows.num_rows // 2
        yield from apart(rows.slice(0, half))
        yield from apart(rows.slice(half))


def let_go(
    batches: Iterator[pa.RecordBatch], expected: int | None = None
) -> Iterator[pa.RecordBatch]:
    """Batches with rows that only the caller has. Arrow's iterators keep the last one they gave.

    Args:
        batches: The batches of an iterator of Arrow.
        expected: How many rows they have. Default: that is unknown.

    Raises:
        pyarrow.ArrowInvalid: They have fewer or more. Arrow leaves out pages whose type it does not
            know, as a flipped bit makes them.
    """
    given: list[pa.RecordBatch] = []
    rows = 0
    while True:
        given += islice(batches, 1)
        if not given:
            if expected is not None and rows != expected:
                raise pa.ArrowInvalid(f"it has {rows:,} rows in place of {expected:,}")
            return
        if given[0].nbytes >= LONG:
            given += islice(batches, 1)  # often the end, where Arrow has nothing of it any more
            release()
        while given:
            rows += given[0].num_rows
            if given[0].num_rows:
                yield given.pop(0)
            else:
                del given[0]


def release() -> None:
    """Gives the memory back to the system that Arrow would keep for a while for the next use."""
    pa.default_memory_pool().release_unused()
