"""How rows are written to Parquet: what is tried on some of them decides."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet

from chatpb.table._rows.columns import TOKENS_COLUMN
from chatpb.table._rows.kernels import kernel

_PAGE_BYTES: Final = 16 << 20  # long pages compress better
_PAGE_ROWS: Final = "max_rows_per_page"  # newer versions of Arrow have it: 20,000 by default
_HAS_PAGE_ROWS: Final = _PAGE_ROWS in inspect.signature(pa.parquet.ParquetWriter).parameters
_DICTIONARY_BYTES: Final = 1 << 30  # all values of a row group find room
_SAMPLE: Final = 3_000  # values that are tried, and their bytes
_SAMPLE_BYTES: Final = 256 << 10
_COUNTED_BYTES: Final = 8 << 20  # of values among which repeats are counted
_DEFAULT_LEVEL: Final = 3
_TOKENS_LEVEL: Final = 3
_FEW_TOKENS: Final = 1 << 16  # values, of which a high level takes some milliseconds
_FEW_TOKENS_LEVEL: Final = 16
_TEXTS_LEVEL: Final = 6  # of texts, which are most of what is stored, and gain most
_TEXT_LENGTH: Final = 64  # bytes of the middle text, at least: ids are shorter
_COUNTED_LENGTH: Final = 16  # bytes of a value, from which on repeats are worth counting
_LONG: Final = 1 << 20  # bytes of a value that shares little with the beginning of another one
_REPEATED: Final = 0.9  # the share of bytes in different values, below which there is a dictionary
_DICTIONARY: Final = "DICTIONARY"
_PLAIN: Final = "PLAIN"
_SPLIT: Final = "BYTE_STREAM_SPLIT"
_LITTLE: Final = 50  # which part of a text prefixes must save, as they cost memory
_INTEGERS: Final = (_DICTIONARY, "DELTA_BINARY_PACKED")
_PREFIXES: Final = "DELTA_BYTE_ARRAY"  # copies each value once more, to read and to write
_TEXTS: Final = (_DICTIONARY, _PREFIXES, "DELTA_LENGTH_BYTE_ARRAY")

_Leaf = tuple[str, pa.ChunkedArray]


def parquet_options(rows: pa.Table | pa.RecordBatch, *, level: int = 3) -> dict[str, Any]:
    """How rows are written to Parquet, as arguments for `pyarrow.parquet.ParquetWriter`.

    Args:
        rows: The first rows that are written: each column gets the encoding that makes some of its
            values shortest. A text gets a dictionary if enough of all its values are repeats, since
            the answer of one request is in the next.
        level: The level of zstd, from 1 to 22. Texts have 6 at least, unless it is less than
            the default of 3; tokens, which gain nothing by more, have 3 at most, unless there are
            few of them.
    """
    leaves = list(_leaves(rows if isinstance(rows, pa.Table) else pa.table(rows)))
    encodings = _chosen(leaves)
    levels = {}
    for path, values in leaves:
        levels[path] = level
        if path.startswith(f"{TOKENS_COLUMN}."):
            # The numbers of tokens are noise below their first bits, at any level. But those of a
            # short file repeat some of it, which only high levels find.
            is_few = level >= _DEFAULT_LEVEL and len(values) <= _FEW_TOKENS
            levels[path] = _FEW_TOKENS_LEVEL if is_few else min(level, _TOKENS_LEVEL)
        elif level >= _DEFAULT_LEVEL and _is_text(values):
            levels[path] = max(level, _TEXTS_LEVEL)
    pages: dict[str, int] = {"data_page_size": _PAGE_BYTES}
    if _HAS_PAGE_ROWS and not any(encodings[p] == _DICTIONARY for p, v in leaves if _is_text(v)):
        # The places in a dictionary have fewer bits in the first of several pages.
        pages[_PAGE_ROWS] = (1 << 31) - 1
    return {
        "compression": "zstd",
        "compression_level": levels,
        "use_dictionary": [path for path, each in encodings.items() if each == _DICTIONARY],
        "column_encoding": {p: each for p, each in encodings.items() if each != _DICTIONARY},
        **pages,
        "dictionary_pagesize_limit": _DICTIONARY_BYTES,
        # Delta's log has the least and the greatest value of texts too, for the file.
        "write_statistics": [path for path, values in leaves if _is_ordered(path, values)],
        "store_schema": False,  # readers would take dictionaries for another type
    }


def long_prefixed(rows: pa.Table, encodings: Mapping[str, str]) -> bool:
    """Whether the prefixes of a long value would be encoded, which takes memory for two more."""
    return any(
        encodings.get(path) == _PREFIXES and _longest(values) >= _LONG
        for path, values in _leaves(rows)
    )


def _leaves(rows: pa.Table) -> Iterator[_Leaf]:
    """The columns as Parquet has them: their paths, and their values."""
    todo = [(name, rows.column(name)) for name in reversed(rows.schema.names)]
    while todo:
        path, values = todo.pop()
        if pa.types.is_list(values.type):
            todo.append((f"{path}.list.element", kernel("list_flatten", values)))
        elif pa.types.is_struct(values.type):
            names = [field.name for field in values.type]
            inner = zip(names, values.flatten(), strict=True)
            todo += [(f"{path}.{name}", part) for name, part in reversed(list(inner))]
        else:
            yield path, values


def _is_ordered(path: str, values: pa.ChunkedArray) -> bool:
    kind = values.type
    is_number = pa.types.is_integer(kind) or pa.types.is_timestamp(kind)
    return "." not in path and is_number and values.null_count < len(values)


def _is_text(values: pa.ChunkedArray) -> bool:
    if not pa.types.is_string(values.type):
        return False
    return _mean_length(values) >= _TEXT_LENGTH


def _mean_length(values: pa.ChunkedArray) -> float:
    count = len(values) - values.null_count
    return _total(values) / count if count else 0


def _total(values: pa.ChunkedArray) -> int:
    """The bytes of all values together."""
    return sum(int(_ends(chunk)[-1]) for chunk in values.chunks if len(chunk))


def _longest(values: pa.ChunkedArray) -> int:
    """The bytes of the longest value."""
    if not _has_length(values.type):
        return 0
    lengths = (np.diff(_ends(chunk), prepend=0) for chunk in values.chunks if len(chunk))
    return max((int(each.max()) for each in lengths), default=0)


def _is_repeated(values: pa.ChunkedArray) -> bool:
    """Whether enough of the bytes of long values are in values that were there before."""
    if not _has_length(values.type) or _mean_length(values) < _COUNTED_LENGTH:
        return False
    some: list[pa.Array] = []
    size = _COUNTED_BYTES
    for chunk in values.chunks:
        some.append(chunk[: _room(chunk, size)])
        size -= _total(pa.chunked_array(some[-1:]))
        if len(some[-1]) < len(chunk):
            break
    counted = pa.chunked_array(some, values.type)
    unique = pa.chunked_array([kernel("unique", counted)])
    return _total(unique) < _REPEATED * _total(counted)


def _has_length(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_binary(kind))


def _ends(values: pa.Array) -> npt.NDArray[np.int32]:
    """Where each value ends, if the first one begins at 0."""
    offsets = np.frombuffer(values.buffers()[1], np.int32, len(values) + 1, 4 * values.offset)
    found: npt.NDArray[np.int32] = offsets[1:] - offsets[0]
    return found


def _room(values: pa.Array, size: int) -> int:
    """How many of the first values have at most that many bytes together."""
    return int(np.searchsorted(_ends(values), size, "right"))


def _chosen(leaves: list[_Leaf]) -> dict[str, str]:
    """The encoding of each column, by its path: of those that there are, the shortest."""
    chosen: dict[str, str] = {}
    tried: list[tuple[str, str]] = []
    columns: list[pa.Array] = []
    for path, values in leaves:
        encodings = _encodings(path, values.type)
        if values.null_count == len(values):
            chosen[path] = _PLAIN
        elif len(encodings) == 1:
            chosen[path] = encodings[0]
        elif _is_repeated(values):
            chosen[path] = _DICTIONARY
        else:
            longest = _longest(values)
            if longest >= _LONG:
                encodings = tuple(each for each in encodings if each != _PREFIXES)
            if longest >= _SAMPLE_BYTES:  # nothing else of the sample counts
                chosen[path] = encodings[-1]
                continue
            sample = _sample(values)
            padding = pa.nulls(_SAMPLE - len(sample), sample.type)
            for encoding in encodings:
                tried.append((path, encoding))
                columns.append(pa.concat_arrays([sample, padding]))
    sizes: dict[str, int] = {}
    texts = {path for path, values in leaves if _is_text(values)}
    for (path, encoding), size in zip(tried, _sizes(tried, columns), strict=True):
        if encoding == _PREFIXES and path in texts:
            size += size // _LITTLE
        if size < sizes.get(path, size + 1):
            sizes[path] = size
            chosen[path] = encoding
    return chosen


def _sample(values: pa.ChunkedArray) -> pa.Array:
    """The first values that are not null, of a text that is too long the beginning.

    Nothing else is copied: a value may be as large as all others together.
    """
    taken: list[pa.Array] = [pa.nulls(0, values.type)]
    count, size = _SAMPLE, _SAMPLE_BYTES
    for chunk in values.chunks:
        numbers = kernel("indices_nonzero", kernel("is_valid", chunk))[:count]
        if _has_length(values.type) and len(numbers):
            ends = np.cumsum(np.diff(_ends(chunk), prepend=0)[np.from_dlpack(numbers)])
            room = int(np.searchsorted(ends, size, "right"))
            if room < len(numbers):
                taken.append(kernel("take", chunk, numbers[:room]))
                if not sum(map(len, taken)):
                    taken.append(_beginning(chunk.slice(numbers[0].as_py(), 1)))
                break
            size -= int(ends[-1])
        taken.append(kernel("take", chunk, numbers))
        count -= len(numbers)
        if not count:
            break
    return pa.concat_arrays(taken)


def _beginning(values: pa.Array) -> pa.Array:
    import pyarrow.compute as pc  # takes time, see `kernels`

    if pa.types.is_string(values.type):
        return pc.utf8_slice_codeunits(values, 0, _SAMPLE_BYTES)
    return pc.binary_slice(values, 0, _SAMPLE_BYTES)


def _encodings(path: str, kind: pa.DataType) -> tuple[str, ...]:
    # Spark before 4.3 reads BYTE_STREAM_SPLIT in lists only, DuckDB before 2.0 of floats only.
    if pa.types.is_float32(kind) and "." in path:
        return (_SPLIT,)
    if pa.types.is_integer(kind) or pa.types.is_timestamp(kind):
        return _INTEGERS if kind.bit_width >= 32 else (_DICTIONARY,)
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return _TEXTS
    return (_PLAIN,) if pa.types.is_boolean(kind) else (_DICTIONARY,)


def _sizes(tried: list[tuple[str, str]], columns: list[pa.Array]) -> Iterator[int]:
    """The bytes that each column takes, with its encoding."""
    if not columns:
        return
    names = [str(number) for number in range(len(columns))]
    table = pa.Table.from_arrays(columns, names)
    encodings = dict(zip(names, (encoding for _, encoding in tried), strict=True))
    sink = pa.BufferOutputStream()
    with pa.parquet.ParquetWriter(
        sink,
        table.schema,
        compression="zstd",
        use_dictionary=[name for name in names if encodings[name] == _DICTIONARY],
        column_encoding={n: each for n, each in encodings.items() if each != _DICTIONARY},
        dictionary_pagesize_limit=_DICTIONARY_BYTES,
        write_statistics=False,
        store_schema=False,
    ) as writer:
        writer.write_table(table)
    group = pa.parquet.read_metadata(pa.BufferReader(sink.getvalue())).row_group(0)
    for number in range(len(columns)):
        yield group.column(number).total_compressed_size
