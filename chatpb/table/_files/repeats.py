"""How many bytes of rows are texts that were there before, estimated at little cost.

A row group holds a text once, however often it comes: the history of a conversation is in each of
its requests. So rows with many repeats may share a row group that is larger in all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from chatpb.table._rows.kernels import kernel

_SLOTS: Final = 20  # bits
_SHORTEST: Final = 24  # bytes of a text that is counted
_LEAST: Final = 1 << 16  # bytes of a column whose texts are counted
_FACTORS: Final = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x27D4EB2F165667C5)


class Repeats:
    """Remembers texts by their lengths and three words of them: an estimate, which may be wrong."""

    def __init__(self) -> None:
        self._seen: npt.NDArray[np.uint64] | None = None
        self._last: npt.NDArray[np.int32]  # which text of those counted now is in a slot

    def count(self, rows: pa.RecordBatch) -> int:
        """The bytes of texts that were there before, in these rows or in those before them."""
        return sum(map(self._count, _texts(rows)))

    def _count(self, texts: pa.Array) -> int:
        _, offsets, data = texts.buffers()
        ends = np.frombuffer(offsets, np.int32, len(texts) + 1, 4 * texts.offset).astype(np.int64)
        if ends[-1] - ends[0] < _LEAST:
            return 0
        sizes = np.diff(ends)
        long = sizes >= _SHORTEST
        starts, sizes = ends[:-1][long], sizes[long]
        words: npt.NDArray[np.uint64] = np.ndarray(len(data) - 7, np.uint64, data, strides=(1,))
        keys = sizes.astype(np.uint64) * np.uint64(_FACTORS[0])
        places = starts, starts + (sizes - 8) // 2, starts + sizes - 8
        for factor, at in zip(_FACTORS[1:], places, strict=True):
            keys ^= words[at] * np.uint64(factor)
        keys ^= keys >> np.uint64(29)
        keys *= np.uint64(_FACTORS[0])
        slots = keys >> np.uint64(64 - _SLOTS)
        if self._seen is None:
            self._seen = np.zeros(1 << _SLOTS, np.uint64)
            self._last = np.zeros(1 << _SLOTS, np.int32)
        fresh = self._seen[slots] != keys
        self._seen[slots] = keys
        numbers = np.arange(len(keys), dtype=np.int32)
        self._last[slots] = numbers
        later = self._last[slots]
        fresh &= (later == numbers) | (keys[later] != keys)  # of equal ones here, the last
        return int(sizes[~fresh].sum())

    def forget(self) -> None:
        """Begins anew: the next row group has a dictionary of its own."""
        if self._seen is not None:
            self._seen.fill(0)


def _texts(rows: pa.RecordBatch) -> Iterator[pa.Array]:
    todo = list(rows.columns)
    while todo:
        values = todo.pop()
        if values.null_count == len(values):
            continue
        if pa.types.is_list(values.type):
            todo.append(kernel("list_flatten", values))
        elif pa.types.is_struct(values.type):
            todo += values.flatten()
        elif pa.types.is_string(values.type) or pa.types.is_binary(values.type):
            yield values
