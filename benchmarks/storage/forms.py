"""What is measured: the work that a fresh process does once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Final


class Work(StrEnum):
    """What is done with an input."""

    WRITE = "write"
    READ = "read"


@dataclass(frozen=True)
class Form:
    """A form of storage.

    Modules are imported, and connections opened, when a reader or a writer gets ready.

    Attributes:
        name: What the tables call it.
        ending: That of its files; readers of the same form have the same.
        writer: For a kind of lines, what makes the form of them; None if another does.
        reader: For a kind of lines, what makes them of the form; None if nothing does.
        is_slow: Whether it is written in the first round only.
        takes_exchanges: Whether it stores objects with a request and a response.
    """

    name: str
    ending: str
    writer: Callable[[str], Callable[[Path, Path], None]] | None = None
    reader: Callable[[str], Callable[[Path, Path], None]] | None = None
    is_slow: bool = False
    takes_exchanges: bool = True


def _zstd(level: int, _: str) -> Callable[[Path, Path], None]:
    from storage.peers import compress

    return partial(compress, level)


def _unzstd(_: str) -> Callable[[Path, Path], None]:
    from storage.peers import decompress

    return decompress


def _arrow(_: str) -> Callable[[Path, Path], None]:
    from storage.peers import arrow_from_json

    return arrow_from_json


def _duckdb(method: str, _: str) -> Callable[[Path, Path], None]:
    from storage.peers import DuckDb

    bound: Callable[[Path, Path], None] = getattr(DuckDb(), method)
    return bound


def _chatpb(name: str, method: str, kind: str, **more: int) -> Callable[[Path, Path], None]:
    from storage import subject

    bound: Callable[[Path, Path], None] = getattr(getattr(subject, name)(kind, **more), method)
    return bound


TABLE: Final = "chatpb table"
TABLE_19: Final = "chatpb table, zstd -19"
COMPACT: Final = "chatpb compact, with its start"
LOG: Final = "chatpb log"
ZSTD_3: Final = "JSON lines, zstd -3"
ZSTD_19: Final = "JSON lines, zstd -19"
DUCKDB: Final = "DuckDB over JSON lines, zstd -3"
FORMS: Final = (
    Form(ZSTD_19, "19.jsonl.zst", partial(_zstd, 19), _unzstd, is_slow=True),
    Form(ZSTD_3, "3.jsonl.zst", partial(_zstd, 3), _unzstd),
    Form("Parquet from JSON, pyarrow", "arrow.parquet", _arrow),
    Form(
        "Parquet from JSON, DuckDB",
        "duckdb.parquet",
        partial(_duckdb, "from_json"),
        partial(_duckdb, "parquet_to_json"),
    ),
    Form(DUCKDB, "3.jsonl.zst", reader=partial(_duckdb, "json_to_json")),
    Form(
        "DuckDB, the same as whole objects",
        "3.jsonl.zst",
        reader=partial(_duckdb, "objects_to_json"),
    ),
    Form(
        "delimited protobuf, zstd -3",
        "delimited.zst",
        partial(_chatpb, "Delimited", "write"),
        partial(_chatpb, "Delimited", "read"),
        takes_exchanges=False,
    ),
    Form(
        LOG,
        "log.chatpb.zst",
        partial(_chatpb, "Log", "write"),
        partial(_chatpb, "Log", "read"),
        takes_exchanges=False,
    ),
    Form(TABLE, "table", partial(_chatpb, "Table", "write"), partial(_chatpb, "Table", "read")),
    Form(COMPACT, "command.table", partial(_chatpb, "Command", "write")),
    Form(
        TABLE_19,
        "19.table",
        partial(_chatpb, "Table", "write", level=19),
        partial(_chatpb, "Table", "read"),
        is_slow=True,
    ),
)
BY_NAME: Final = {form.name: form for form in FORMS}
