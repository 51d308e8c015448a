"""Runs statements, and gives their rows while they are read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

import duckdb
import pyarrow as pa

from chatpb.table._errors import QueryError
from chatpb.table._sql.interrupts import interruptible
from chatpb.table._sql.places import error_line

_ROWS: Final = 10_000
_WITH_ROWS: Final = frozenset({"SELECT", "EXPLAIN", "PRAGMA", "RELATION"})
_WRITING: Final = frozenset({"COPY", "COPY_DATABASE", "EXPORT", "ATTACH"})


@dataclass(frozen=True)
class Result:
    """The rows of a statement, which come while they are read.

    Attributes:
        schema: The columns.
        batches: The rows.
    """

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


def run(connection: duckdb.DuckDBPyConnection, text: str) -> Iterator[Result]:
    """Runs statements one after the other, and yields the results of those that have rows.

    Args:
        connection: A connection with the views.
        text: One statement, or several with semicolons between them.

    Raises:
        QueryError: DuckDB rejects a statement, or it would write a file.
        KeyboardInterrupt: A statement was interrupted, which DuckDB itself reports as an error.
    """
    try:
        found = connection.extract_statements(text)
    except duckdb.Error as error:
        raise QueryError(error_line(error, text)) from None
    if not found:
        raise QueryError("there is no statement")
    for statement in found:
        kind = statement.type.name
        check_writes_nothing(statement.query, kind)
        try:
            if kind not in _WITH_ROWS:
                interruptible(connection, partial(connection.execute, statement))
                continue
            reader = interruptible(connection, partial(_reader, connection, statement))
        except duckdb.Error as error:
            raise _placed(connection, error, statement.query, text) from None
        except RuntimeError as error:
            raise _interruption(error) from None
        yield Result(reader.schema, _read(connection, reader, text))


def _reader(
    connection: duckdb.DuckDBPyConnection, statement: duckdb.Statement
) -> pa.RecordBatchReader:
    return connection.sql(statement.query).to_arrow_reader(_ROWS)


def check_writes_nothing(query: str, kind: str = "") -> None:
    """Refuses statements that write files, also inside of others, such as EXPLAIN ANALYZE COPY.

    What only reads may still read any file: this is no sandbox for SQL of strangers.

    Raises:
        QueryError: It would write a file.
    """
    found = {kind} & _WRITING
    data = query.encode()  # the places are those of bytes
    for at, token in duckdb.tokenize(query):
        if token == duckdb.token_type.keyword:
            word = re.match(rb"\w*", data[at:])
            found |= {word[0].decode().upper()} & _WRITING if word else set()
    if found:
        raise QueryError(
            f"{min(found)} is not allowed: chatpb sql reads tables, and writes only the rows of"
            " queries (--format, -o)"
        )


def _interruption(error: RuntimeError) -> BaseException:
    return KeyboardInterrupt() if "interrupted" in str(error).lower() else error


def _placed(
    connection: duckdb.DuckDBPyConnection, error: Exception, query: str, text: str
) -> QueryError:
    """The error of a statement. Some have a place only if the statement is to be explained."""
    before = text[: max(text.find(query), 0)].count("\n")
    try:
        connection.execute(f"EXPLAIN\n{query}")
    except duckdb.Error as other:
        return QueryError(error_line(other, query, lines_before=1, lines_above=before))
    return QueryError(error_line(error, query, lines_above=before))


def is_complete(text: str) -> bool:
    """Whether what was typed is whole statements: a semicolon ends it, outside of any text."""
    if not text.rstrip().endswith(";"):
        return False
    try:
        duckdb.extract_statements(text)
    except duckdb.Error as error:
        return "unterminated" not in str(error)
    return True


def _read(
    connection: duckdb.DuckDBPyConnection, reader: pa.RecordBatchReader, text: str
) -> Iterator[pa.RecordBatch]:
    try:
        while (batch := interruptible(connection, lambda: next(reader, None))) is not None:
            yield batch
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        raise QueryError(error_line(error, text)) from None
