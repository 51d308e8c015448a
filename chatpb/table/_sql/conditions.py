"""Finds the records for which a condition is true."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa

from chatpb.table._errors import QueryError
from chatpb.table._rows.columns import SCHEMA
from chatpb.table._sql.interrupts import interruptible
from chatpb.table._sql.places import error_line
from chatpb.table._sql.statements import check_writes_nothing
from chatpb.table._sql.views import ROW_BITS, column_name, empty_connection

_AT_ONCE: Final = 100_000


class Rows:
    """The views over rows in memory, to find those that match a condition."""

    def __init__(self) -> None:
        self._connection = empty_connection()
        columns = ", ".join(map(column_name, SCHEMA.names))
        self._offer(SCHEMA.empty_table())
        self._connection.execute(
            f"CREATE OR REPLACE VIEW records AS"
            f" SELECT exchange, '' AS file, exchange AS row, {columns} FROM _rows"
        )

    def matching(self, rows: pa.RecordBatch, condition: str) -> np.ndarray[Any, Any]:
        """The numbers of the rows for which a condition is true, ascending.

        Raises:
            QueryError: DuckDB rejects the condition.
        """
        self._offer(pa.Table.from_batches([rows]))
        found = [numbers for _, numbers in matching(self._connection, condition)]
        return np.concatenate(found) if found else np.empty(0, np.int64)

    def _offer(self, rows: pa.Table) -> None:
        numbers = pa.array(np.arange(rows.num_rows, dtype=np.int64))
        self._connection.register("_rows", rows.append_column("exchange", numbers))


def matching(
    connection: duckdb.DuckDBPyConnection, condition: str
) -> Iterator[tuple[int, np.ndarray[Any, Any]]]:
    """Finds the records for which a condition over the view ``exchanges`` is true.

    Args:
        connection: A connection with the views.
        condition: SQL, such as ``model = 'gpt-5' AND total_tokens > 1000``.

    Yields:
        The number of each file that has some, from 0, and the numbers of their rows, ascending.

    Raises:
        QueryError: DuckDB rejects the condition.
    """
    query = f"SELECT exchange FROM exchanges WHERE (\n{condition}\n) ORDER BY exchange"
    try:
        if not condition.strip() or len(connection.extract_statements(query)) != 1:
            raise QueryError("expected one condition, such as model = 'gpt-5'")
        check_writes_nothing(condition)
        result = interruptible(connection, lambda: connection.execute(query))
        last, waiting = -1, list[np.ndarray[Any, Any]]()
        while found := interruptible(connection, lambda: result.fetchmany(_AT_ONCE)):
            numbers = np.array(found, np.int64).ravel()
            files = numbers >> ROW_BITS
            for file in np.unique(files).tolist():
                if waiting and file != last:
                    yield last, np.concatenate(waiting)
                    waiting = []
                last = file
                waiting.append(numbers[files == file] - (file << ROW_BITS))
        if waiting:
            yield last, np.concatenate(waiting)
    except duckdb.Error as error:
        raise QueryError(error_line(error, condition, lines_before=1)) from None
