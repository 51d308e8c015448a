"""The SQL of tables: connections to DuckDB with the views of views.sql.

Needs the extra ``sql``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from chatpb._extras import raise_hint
from chatpb.table._delta.stores import filesystem
from chatpb.table._errors import QueryError
from chatpb.table._files.parts import Part
from chatpb.table._interrupts import interruptible
from chatpb.table._rows.columns import SCHEMA

try:
    import duckdb
    import fsspec
except ModuleNotFoundError as missing:
    raise_hint("Dataset.sql", missing, "sql")

#: The views, in the order in which they are explained.
VIEWS: Final = (
    "exchanges", "messages", "tool_calls", "tokens", "alternatives", "chunks", "errors",
)  # fmt: skip
_PROTOCOL: Final = "chatpb"
_ROW_BITS: Final = 32
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ROWS: Final = 10_000
_WITH_ROWS: Final = frozenset({"SELECT", "EXPLAIN", "PRAGMA", "RELATION"})
_WRITING: Final = frozenset({"COPY", "COPY_DATABASE", "EXPORT", "ATTACH"})
_AT_ONCE: Final = 100_000
_GLOB: Final = re.compile(r"[*?\[]")
_SETTINGS: Final = {
    "TimeZone": "'UTC'",
    # Nothing is downloaded, and nothing is written except what a statement names.
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_persistent_secrets": "false",
    "temp_directory": "''",
}


def over(
    parts: Sequence[Part],
    earlier: Sequence[Part] | None = None,
    *,
    temp_directory: str | None = None,
) -> duckdb.DuckDBPyConnection:
    """Opens a connection with the views over files of one table.

    Args:
        parts: The files.
        earlier: The files of an earlier version, for the views in the schema ``before``.
        temp_directory: As for `connect`.

    Raises:
        DatasetError: The table is on an object store, and this process is a forked child.
        QueryError: A file is not a Parquet file, or has a column of another type.
    """
    files = None
    if parts and parts[0].location.folder is None:
        files = filesystem(parts[0].location)
    connection = connect(list(map(_path, parts)), files, temp_directory=temp_directory)
    if earlier is not None:
        connection.execute("CREATE SCHEMA before; SET schema = 'before'")
        connection.execute(_records(connection, ()))
        connection.execute(_views())
        _offer(connection, list(map(_path, earlier)), is_remote=files is not None)
        connection.execute("SET schema = 'main'")
    return connection


def _path(part: Part) -> str:
    return part.location.local(part.name) or part.name


def connect(
    files: Sequence[str],
    filesystem: pa.fs.FileSystem | None = None,
    *,
    temp_directory: str | None = None,
) -> duckdb.DuckDBPyConnection:
    """Opens a connection with the views over Parquet files.

    Args:
        files: The absolute paths of the files, or their names in the file system.
        filesystem: Where they are. Default: on this machine.
        temp_directory: Where queries that need more than the memory may write. Default: they fail.

    Raises:
        QueryError: A file is not a Parquet file, or has a column of another type.
    """
    connection = _connection()
    if temp_directory is not None:
        connection.execute("SET temp_directory = " + _quoted(temp_directory))
    if filesystem is not None:
        connection.register_filesystem(_Files(filesystem))
    _offer(connection, files, is_remote=filesystem is not None)
    return connection


def _offer(connection: duckdb.DuckDBPyConnection, files: Sequence[str], *, is_remote: bool) -> None:
    try:
        interruptible(
            connection,
            lambda: connection.execute(_records(connection, files, is_remote=is_remote)),
        )
    except duckdb.Error as error:
        raise QueryError(error_line(error)) from None


def statements(parts: Sequence[Part]) -> str:
    """The SQL that creates the views over the files of a table, for any DuckDB.

    Raises:
        QueryError: A file is not a Parquet file, or has a column of another type.
    """
    with over(parts) as connection:
        is_remote = any(part.location.local(part.name) is None for part in parts)
        text = _records(connection, list(map(_path, parts)), is_remote=is_remote)
    if is_remote:
        for part in parts:
            text = text.replace(_quoted(_PROTOCOL + "://" + part.name), _quoted(part.place))
        text = text.replace(f"filename[{len(_PROTOCOL) + 4}:]", "filename")
    return f"{text};\n\n{_views()}"


class Rows:
    """The views over rows in memory, to find those that match a condition."""

    def __init__(self) -> None:
        self._connection = _connection()
        columns = ", ".join(map(_name, SCHEMA.names))
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
        _check_writes_nothing(condition)
        result = interruptible(connection, lambda: connection.execute(query))
        last, waiting = -1, list[np.ndarray[Any, Any]]()
        while found := interruptible(connection, lambda: result.fetchmany(_AT_ONCE)):
            numbers = np.array(found, np.int64).ravel()
            files = numbers >> _ROW_BITS
            for file in np.unique(files).tolist():
                if waiting and file != last:
                    yield last, np.concatenate(waiting)
                    waiting = []
                last = file
                waiting.append(numbers[files == file] - (file << _ROW_BITS))
        if waiting:
            yield last, np.concatenate(waiting)
    except duckdb.Error as error:
        raise QueryError(error_line(error, condition, lines_before=1)) from None


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
        _check_writes_nothing(statement.query, kind)
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


def _check_writes_nothing(query: str, kind: str = "") -> None:
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


def error_line(
    error: Exception, statement: str = "", *, lines_before: int = 0, lines_above: int = 0
) -> str:
    """What DuckDB says of a statement, in one line with the place.

    Args:
        error: DuckDB's error.
        statement: The statement.
        lines_before: How many lines were put before it.
        lines_above: How many lines are above it in the text that it is part of.
    """
    text, _, excerpt = str(error).partition("\n\nLINE ")
    text = "; ".join(filter(None, map(str.strip, text.split("\n"))))
    text = re.sub(r"^[A-Z]\w+(?: [A-Z]\w+)* Error: ", "", text)
    marked = re.match(r"(\d+): (.*)\n( *)\^", excerpt)
    if marked is None:
        return text
    number = int(marked[1]) - lines_before
    lines = statement.split("\n")
    if not 0 < number <= len(lines):
        return "the end comes too early" if "syntax error" in text else text
    column = len(marked[3]) - len(f"LINE {marked[1]}: ")
    if marked[2].startswith("..."):  # DuckDB leaves out the start of a long line
        part = marked[2][3:].removesuffix("...")
        column += max(lines[number - 1].find(part), 0) - 3
    return f"line {number + lines_above}, column {max(column, 0) + 1}: {text}"


def _connection() -> duckdb.DuckDBPyConnection:
    """A connection with the views over no rows."""
    connection = duckdb.connect()
    for name, value in _SETTINGS.items():
        connection.execute(f"SET {name} = {value}")
    connection.execute(_records(connection, ()))
    connection.execute(_views())
    return connection


@cache
def _views() -> str:
    return Path(__file__).with_name("views.sql").read_text("utf-8")


@cache
def _types() -> dict[str, str]:
    """The columns of a table, with their types in DuckDB."""
    with duckdb.connect() as connection:
        connection.register("_rows", SCHEMA.empty_table())
        return _described(connection, "_rows")


def _described(connection: duckdb.DuckDBPyConnection, relation: str) -> dict[str, str]:
    rows = connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
    return {name: kind for name, kind, *_ in rows}


def _records(
    connection: duckdb.DuckDBPyConnection, files: Sequence[str], *, is_remote: bool = False
) -> str:
    """The statement that creates the relation of the views, which has all columns of a table."""
    prefix = f"{_PROTOCOL}://" if is_remote else ""
    if not files:
        columns = ",\n  ".join(f"NULL::{kind} AS {_name(name)}" for name, kind in _types().items())
        key = "NULL::BIGINT AS exchange, NULL::VARCHAR AS file, NULL::BIGINT AS row"
        return f"CREATE OR REPLACE VIEW records AS SELECT\n  {key},\n  {columns}\nWHERE false"
    paths = ",\n  ".join(_quoted(prefix + _GLOB.sub(r"[\g<0>]", name)) for name in files)
    source = (
        f"read_parquet([\n  {paths}\n], union_by_name = true, hive_partitioning = false,"
        " filename = true, file_row_number = true)"
    )
    there = _described(connection, source)
    columns = ",\n  ".join(
        _name(name)
        if there.get(name) == kind
        else f"{_name(name) if name in there else 'NULL'}::{kind} AS {_name(name)}"
        for name, kind in _types().items()
    )
    return (
        "CREATE OR REPLACE VIEW records AS SELECT\n"
        f"  (file_index::BIGINT << {_ROW_BITS}) + file_row_number AS exchange,\n"
        f"  filename[{len(prefix) + 1}:] AS file,\n  file_row_number AS row,\n"
        f"  {columns}\nFROM {source}"
    )


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


class _Files(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """The files of a table on an object store, as DuckDB reads them."""

    protocol = _PROTOCOL
    cachable = False

    def __init__(self, files: pa.fs.FileSystem) -> None:
        super().__init__()
        self._files = files

    def open(self, path: str, mode: str = "rb", **_: Any) -> Any:  # noqa: ARG002
        """Opens a file to read."""
        return self._files.open_input_file(self._strip_protocol(path))

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """The size of a file."""
        path = self._strip_protocol(path)
        return {"name": path, "size": self._files.get_file_info(path).size, "type": "file"}

    def modified(self, path: str) -> datetime:  # noqa: ARG002
        """When a file was written: files of a table never change."""
        return _EPOCH

    def glob(self, path: str, **_: Any) -> list[str]:
        """The file itself: names are no patterns."""
        return [path]
