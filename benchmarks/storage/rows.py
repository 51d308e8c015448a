"""Sums over one member of a million rows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

Sum = Callable[[Path, Path], Callable[[], int]]  # of JSON lines and of a table with the same rows

COUNT: Final = 1_000_000
TABLE_SUM: Final = "DuckDB over the chatpb table"
JSON_SUM: Final = "DuckDB over JSON lines, zstd -3"
TYPED_SUM: Final = "DuckDB, the same, told to read only that"


def _duckdb_table(_: Path, table: Path) -> Callable[[], int]:
    from storage.peers import DuckDb

    return partial(DuckDb().sum_of_parquet, f"{table}/*.parquet")


def _arrow_table(_: Path, table: Path) -> Callable[[], int]:
    from storage.subject import sum_of_tokens

    return partial(sum_of_tokens, table)


def _duckdb_json(lines: Path, _: Path) -> Callable[[], int]:
    from storage.peers import DuckDb

    return partial(DuckDb().sum_of_json, lines)


def _duckdb_typed_json(lines: Path, _: Path) -> Callable[[], int]:
    from storage.peers import DuckDb

    return partial(DuckDb().sum_of_typed_json, lines)


SUMS: Final[dict[str, Sum]] = {
    JSON_SUM: _duckdb_json,
    TYPED_SUM: _duckdb_typed_json,
    TABLE_SUM: _duckdb_table,
    "Dataset.scan of the chatpb table": _arrow_table,
}
