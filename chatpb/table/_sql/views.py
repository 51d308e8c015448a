"""Connections to DuckDB with the views of views.sql over the files of tables."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final

import pyarrow as pa

from chatpb._extras import raise_hint
from chatpb.table._delta.stores import filesystem
from chatpb.table._errors import QueryError
from chatpb.table._files.parts import Part
from chatpb.table._rows.columns import SCHEMA
from chatpb.table._sql.interrupts import interruptible
from chatpb.table._sql.places import error_line

try:
    import duckdb

    from chatpb.table._sql.remote import PROTOCOL, Files
except ModuleNotFoundError as missing:
    raise_hint("Dataset.sql", missing, "sql")

#: The views, in the order in which they are explained.
VIEWS: Final = (
    "exchanges", "messages", "tool_calls", "tokens", "alternatives", "chunks", "errors",
)  # fmt: skip
#: The number of a record is that of its file, followed by this number of bits for its row.
ROW_BITS: Final = 32
_GLOB: Final = re.compile(r"[*?\[]")
_TYPES: Final = {
    pa.bool_(): "BOOLEAN",
    pa.int16(): "SMALLINT",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.string(): "VARCHAR",
    pa.binary(): "BLOB",
    pa.timestamp("us", "UTC"): "TIMESTAMP WITH TIME ZONE",
}
_SETTINGS: Final = {
    "TimeZone": "'UTC'",
    # Nothing is downloaded, and nothing is written except what a statement names.
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_persistent_secrets": "false",
    "temp_directory": "''",
}
# Otherwise 'duckdb', where there is no such column: "user <> 'me'" would be true of all records.
_NO_USER: Final = "".join(
    f'CREATE MACRO "{name}"() AS error(\'there is no column {name}; there are caller and'
    " request_user');"
    for name in ("user", "current_user", "session_user", "current_role")
)


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
        DatasetError: A file is missing, or has not the footer that was written; or the table is on
            an object store, and this process is a forked child.
        QueryError: A file is not a Parquet file, or has a column of another type.
    """
    for part in (*parts, *(earlier or ())):
        if part.is_local:  # DuckDB, which reads footers too, compares them with nothing
            part.check_footer()
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
    connection = empty_connection()
    if temp_directory is not None:
        connection.execute("SET temp_directory = " + _quoted(temp_directory))
    if filesystem is not None:
        connection.register_filesystem(Files(filesystem))
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
            text = text.replace(_quoted(PROTOCOL + "://" + part.name), _quoted(part.place))
        text = text.replace(f"filename[{len(PROTOCOL) + 4}:]", "filename")
    return f"{text};\n\n{_views()}"


def empty_connection() -> duckdb.DuckDBPyConnection:
    """A connection with the views over no rows."""
    connection = duckdb.connect()
    for name, value in _SETTINGS.items():
        connection.execute(f"SET {name} = {value}")
    connection.execute(_NO_USER)
    connection.execute(_records(connection, ()))
    connection.execute(_views())
    return connection


@cache
def _views() -> str:
    return Path(__file__).with_name("views.sql").read_text("utf-8")


@cache
def _types() -> dict[str, str]:
    """The columns of a table, with their types in DuckDB."""
    return {field.name: _type(field.type) for field in SCHEMA}


def _type(kind: pa.DataType) -> str:
    """What DuckDB calls a type. To ask it would import pandas, which takes a quarter second."""
    if pa.types.is_dictionary(kind):
        return _type(kind.value_type)
    if pa.types.is_list(kind):
        return f"{_type(kind.value_type)}[]"
    if pa.types.is_struct(kind):
        fields = ", ".join(f"{column_name(each.name)} {_type(each.type)}" for each in kind)
        return f"STRUCT({fields})"
    return _TYPES[kind]


def _bare(kind: str) -> str:
    """A type without quotes: DuckDB puts those names into quotes that it has to."""
    return kind.replace('"', "")


def _described(connection: duckdb.DuckDBPyConnection, relation: str) -> dict[str, str]:
    rows = connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
    return {name: kind for name, kind, *_ in rows}


def _records(
    connection: duckdb.DuckDBPyConnection, files: Sequence[str], *, is_remote: bool = False
) -> str:
    """The statement that creates the relation of the views, which has all columns of a table."""
    prefix = f"{PROTOCOL}://" if is_remote else ""
    if not files:
        columns = ",\n  ".join(
            f"NULL::{kind} AS {column_name(name)}" for name, kind in _types().items()
        )
        key = "NULL::BIGINT AS exchange, NULL::VARCHAR AS file, NULL::BIGINT AS row"
        return f"CREATE OR REPLACE VIEW records AS SELECT\n  {key},\n  {columns}\nWHERE false"
    paths = ",\n  ".join(_quoted(prefix + _GLOB.sub(r"[\g<0>]", name)) for name in files)
    source = (
        f"read_parquet([\n  {paths}\n], union_by_name = true, hive_partitioning = false,"
        " filename = true, file_row_number = true)"
    )
    there = _described(connection, source)
    columns = ",\n  ".join(
        column_name(name)
        if _bare(there.get(name, "")) == _bare(kind)
        else f"{column_name(name) if name in there else 'NULL'}::{kind} AS {column_name(name)}"
        for name, kind in _types().items()
    )
    return (
        "CREATE OR REPLACE VIEW records AS SELECT\n"
        f"  (file_index::BIGINT << {ROW_BITS}) + file_row_number AS exchange,\n"
        f"  filename[{len(prefix) + 1}:] AS file,\n  file_row_number AS row,\n"
        f"  {columns}\nFROM {source}"
    )


def column_name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
