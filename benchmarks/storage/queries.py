"""Queries of a table of exchanges, and the same exchanges written by many small appends."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from storage.exchanges import PHRASE

if TYPE_CHECKING:
    from chatpb.table import Dataset

#: How many small appends there are before the table is optimized.
APPENDS: Final = 288
PHRASE_QUERY: Final = "a phrase in prompts and answers, Dataset.sql()"
GROUP_QUERY: Final = "tokens of each model, Dataset.sql()"
SCAN_QUERY: Final = "the sum of a column, Dataset.scan()"
_PHRASE_SQL: Final = (
    "select count(*) from exchanges where len(list_filter(messages, lambda message:"
    f" contains(text_of(message), '{PHRASE}'))) > 0"
)
_GROUP_SQL: Final = (
    "select sum(tokens)::bigint from"
    " (select model, sum(total_tokens) as tokens from exchanges group by all)"
)


def _sql(statement: str, table: Path) -> Callable[[], int]:
    import duckdb

    from chatpb.table import Dataset

    duckdb.connect().execute("select 1")  # loads it

    def run() -> int:
        with Dataset(table).sql() as connection:
            connection.execute("SET threads = 1")
            [(result,)] = connection.execute(statement).fetchall()
        return int(result)

    return run


def _scan(table: Path) -> Callable[[], int]:
    from storage.subject import sum_of_tokens

    return partial(sum_of_tokens, table)


QUERIES: Final[dict[str, Callable[[Path], Callable[[], int]]]] = {
    PHRASE_QUERY: partial(_sql, _PHRASE_SQL),
    GROUP_QUERY: partial(_sql, _GROUP_SQL),
    SCAN_QUERY: _scan,
}


def _size(table: Dataset) -> int:
    return sum(part.size or 0 for part in table.files())


def append_all(count: int, source: Path, small: Path, whole: Path) -> tuple[int, int]:
    """Writes exchanges to two tables: by many appends and an optimize, and by one append.

    Returns:
        The bytes of the files of each.
    """
    from chatpb.table import Dataset
    from storage.subject import Table

    Table("Exchange").write(source, whole)
    [*records] = Dataset(whole).records()
    each, at = -(-len(records) // count), iter(records)
    while some := [*islice(at, each)]:
        Dataset(small).append(some)
    Dataset(small).optimize()
    first, second = (_size(Dataset(table)) for table in (small, whole))
    return first, second
