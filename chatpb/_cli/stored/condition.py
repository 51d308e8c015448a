"""Which records are wanted: a condition in SQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from chatpb._cli.failure import USAGE_ERROR, CliError
from chatpb.table import SCHEMA, Part, QueryError
from chatpb.table._sql.conditions import Rows, matching
from chatpb.table._sql.views import over


class Condition:
    """A condition over the view ``exchanges``, such as ``model = 'gpt-5' AND total_tokens > 9``.

    Args:
        text: The condition.

    Raises:
        CliError: It is not SQL, or names a column that does not exist.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._rows = Rows()
        self.among(pa.RecordBatch.from_pylist([], SCHEMA))  # finds most mistakes

    def among(self, rows: pa.RecordBatch) -> np.ndarray[Any, Any]:
        """The numbers of the rows that match, ascending.

        Raises:
            CliError: The condition fails for a row.
        """
        try:
            return self._rows.matching(rows, self._text)
        except QueryError as error:
            raise _wrong(error) from None

    def within(self, parts: Sequence[Part]) -> Iterator[tuple[int, np.ndarray[Any, Any]]]:
        """The records of files that match, see `chatpb.table._sql.conditions.matching`.

        Raises:
            CliError: The condition fails for a row.
            DatasetError: A file cannot be read.
        """
        with over(parts) as connection:
            try:
                yield from matching(connection, self._text)
            except QueryError as error:
                raise _wrong(error) from None


def saying(pattern: str) -> str:
    """The condition that a regular expression matches somewhere in a message."""
    quoted = pattern.replace("'", "''")
    return f"says(messages, '{quoted}')"


def _wrong(error: QueryError) -> CliError:
    return CliError(f"condition: {error}", USAGE_ERROR)
