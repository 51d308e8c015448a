"""How rows are written to Parquet: what is tried on some of them decides."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet

from chatpb.table._columns import TOKENS_COLUMN

_PAGE_BYTES: Final = 4 << 20  # long pages compress better
_DICTIONARY_BYTES: Final = 64 << 20  # all tokens of a row group find room
_SAMPLE: Final = 3_000  # values that are tried
_TOKENS_LEVEL: Final = 3
_LIST: Final = ".list.element"
_DICTIONARY: Final = "DICTIONARY"
_SPLIT: Final = "BYTE_STREAM_SPLIT"
_INTEGERS: Final = (_DICTIONARY, "DELTA_BINARY_PACKED", _SPLIT)
_TEXTS: Final = (_DICTIONARY, "DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY")


def parquet_options(batch: pa.RecordBatch, *, level: int = 3) -> dict[str, Any]:
    """How rows are written to Parquet, as arguments for `pyarrow.parquet.ParquetWriter`.

    Args:
        batch: Rows like those that are to be written: each column gets the encoding that makes its
            first values shortest.
        level: The level of zstd, from 1 to 22; for tokens, which gain nothing by more, 3 at most.
    """
    leaves = list(_leaves(batch))
    encodings = _chosen(leaves)
    levels, with_statistics = {}, []
    for path, _ in leaves:
        is_of_tokens = path.startswith(f"{TOKENS_COLUMN}.")
        # The numbers of tokens are noise below their first bits, at any level.
        levels[path] = min(level, _TOKENS_LEVEL) if is_of_tokens else level
        if not is_of_tokens:
            with_statistics.append(path)
    return {
        "compression": "zstd",
        "compression_level": levels,
        "use_dictionary": [path for path, each in encodings.items() if each == _DICTIONARY],
        "column_encoding": {p: each for p, each in encodings.items() if each != _DICTIONARY},
        "data_page_size": _PAGE_BYTES,
        "dictionary_pagesize_limit": _DICTIONARY_BYTES,
        "write_statistics": with_statistics,
        "store_schema": False,  # readers would take dictionaries for another type
    }


def _leaves(batch: pa.RecordBatch) -> Iterator[tuple[str, pa.Array]]:
    """The columns as Parquet has them: their paths, and their values."""
    todo = [(name, batch.column(name)) for name in reversed(batch.schema.names)]
    while todo:
        path, values = todo.pop()
        if pa.types.is_map(values.type):
            todo.append((f"{path}.key_value.value", values.items))
            todo.append((f"{path}.key_value.key", values.keys))
        elif pa.types.is_list(values.type):
            todo.append((f"{path}{_LIST}", values.flatten()))
        elif pa.types.is_struct(values.type):
            names = [field.name for field in values.type]
            inner = zip(names, values.flatten(), strict=True)
            todo += [(f"{path}.{name}", part) for name, part in reversed(list(inner))]
        else:
            yield path, values


def _chosen(leaves: list[tuple[str, pa.Array]]) -> dict[str, str]:
    """The encoding of each column, by its path: of those that there are, the shortest."""
    chosen: dict[str, str] = {}
    tried: list[tuple[str, str]] = []
    columns: list[pa.Array] = []
    for path, values in leaves:
        encodings = _encodings(values.type)
        if _LIST not in path:  # Spark before 4.3 reads it only inside lists
            encodings = tuple(each for each in encodings if each != _SPLIT)
        sample = values.drop_null()[:_SAMPLE]
        if len(encodings) == 1 or not len(sample):
            chosen[path] = encodings[0]
            continue
        padding = pa.nulls(_SAMPLE - len(sample), sample.type)
        for encoding in encodings:
            tried.append((path, encoding))
            columns.append(pa.concat_arrays([sample, padding]))
    sizes: dict[str, int] = {}
    for (path, encoding), size in zip(tried, _sizes(tried, columns), strict=True):
        if size < sizes.get(path, size + 1):
            sizes[path] = size
            chosen[path] = encoding
    return chosen


def _encodings(kind: pa.DataType) -> tuple[str, ...]:
    if pa.types.is_float32(kind):
        return (_SPLIT,)
    if pa.types.is_integer(kind) or pa.types.is_timestamp(kind):
        return _INTEGERS if kind.bit_width >= 32 else (_DICTIONARY,)
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return _TEXTS
    return ("PLAIN",) if pa.types.is_boolean(kind) else (_DICTIONARY,)


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
