"""Arrow's functions on arrays, by their names.

`pyarrow.compute` makes a wrapper of each of them when it is imported, and so do methods of arrays
such as `take`. That takes as long as writing 5 MB of JSON to a table.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from pyarrow._compute import SetLookupOptions, SortOptions, call_function


def kernel(name: str, *arrays: Any) -> Any:
    """What a function makes of arrays, with its default options."""
    return call_function(name, list(arrays))


def index_in(values: pa.Array, among: pa.Array) -> pa.Array:
    """The place of each value in another array; null if it is not there."""
    return call_function("index_in", [values], SetLookupOptions(value_set=among))


def sorted_by(table: pa.Table, *names: str) -> pa.Table:
    """The rows of a table, sorted by columns of it."""
    keys = [(name, "ascending") for name in names]
    return kernel("take", table, call_function("sort_indices", [table], SortOptions(keys)))
