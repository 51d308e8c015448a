"""The forms of other libraries, each with one thread."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pyarrow
import pyarrow.json
import pyarrow.parquet
import zstandard

_LONGEST_LINE = 16 << 20  # DuckDB's default


def compress(level: int, source: Path, target: Path) -> None:
    """Compresses a file with zstd as a whole."""
    compressor = zstandard.ZstdCompressor(level=level, threads=0)
    with source.open("rb") as file, target.open("wb") as out:
        compressor.copy_stream(file, out, size=source.stat().st_size)


def decompress(source: Path, target: Path) -> None:
    """Gives back the file."""
    with source.open("rb") as file, target.open("wb") as out:
        zstandard.ZstdDecompressor().copy_stream(file, out)


def arrow_from_json(source: Path, target: Path) -> None:
    """JSON lines to Parquet with pyarrow, which infers the types."""
    table = pyarrow.json.read_json(
        source, pyarrow.json.ReadOptions(use_threads=False, block_size=_LONGEST_LINE)
    )
    pyarrow.parquet.write_table(table, target, compression="zstd", compression_level=3)


class DuckDb:
    """A connection with one thread."""

    def __init__(self) -> None:
        self._connection = duckdb.connect(config={"threads": 1})

    def from_json(self, source: Path, target: Path) -> None:
        """JSON lines to Parquet; DuckDB infers the types."""
        self._copy(f"FROM {_json(source)}", target, "parquet, COMPRESSION zstd")

    def json_to_json(self, source: Path, target: Path) -> None:
        """Compressed JSON lines, as columns, to JSON lines."""
        self._copy(f"FROM {_json(source)}", target, "json")

    def objects_to_json(self, source: Path, target: Path) -> None:
        """Compressed JSON lines, each as one value that DuckDB checks only, to JSON lines."""
        query = f"SELECT json FROM read_json_objects('{source}')"
        self._copy(query, target, "csv, HEADER false, QUOTE '', ESCAPE '', DELIMITER '\x01'")

    def parquet_to_json(self, source: Path, target: Path) -> None:
        """Parquet to JSON lines."""
        self._copy(f"FROM '{source}'", target, "json")

    def sum_of_json(self, source: Path) -> int:
        """A sum over compressed JSON lines whose types DuckDB infers."""
        return self._sum("usage.total_tokens", _json(source))

    def sum_of_typed_json(self, source: Path) -> int:
        """A sum over compressed JSON lines with a schema that names only the member to read."""
        columns = "{usage: 'STRUCT(total_tokens BIGINT)'}"
        return self._sum("usage.total_tokens", f"read_json('{source}', columns={columns})")

    def sum_of_parquet(self, pattern: str) -> int:
        """A sum over a column of Parquet files."""
        return self._sum("total_tokens", f"'{pattern}'")

    def _copy(self, query: str, target: Path, form: str) -> None:
        self._connection.execute(f"COPY ({query}) TO '{target}' (FORMAT {form})")

    def _sum(self, column: str, source: str) -> int:
        row: Any = self._connection.execute(f"SELECT sum({column}) FROM {source}").fetchone()
        return int(row[0])


def _json(source: Path) -> str:
    return f"read_json_auto('{source}', maximum_object_size={_LONGEST_LINE})"
