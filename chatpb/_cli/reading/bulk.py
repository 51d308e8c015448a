"""Completions in JSON lines, many of which become rows of a table at once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Final

from chatpb._cli.reading.kinds import is_named
from chatpb._cli.reading.source import Block
from chatpb._cli.reading.streams import MadeRows
from chatpb._errors import ConversionError
from chatpb._record import members
from chatpb.v1 import ChatCompletion

if TYPE_CHECKING:
    import pyarrow as pa

_FEWEST: Final = 16  # lines that are worth a batch of rows
_WORD: Final = re.compile(rb'"object"\s*:\s*"chat\.completion"').search
_OTHERS: Final = (b'"delta"', b'"messages"')  # in what is not a completion


def runs(block: Block) -> Iterator[tuple[bool, int, int]]:
    """Runs of lines that are most likely completions, or are not, with their indexes.

    The former are those that `kinds.converted` would find to be completions.
    """
    others = [word for word in _OTHERS if word in block.text]
    likely = (
        _WORD(line) is not None and not any(word in line for word in others) for line in block.lines
    )
    start = 0
    for is_likely, run in groupby(likely):
        stop = start + sum(1 for _ in run)
        yield is_likely, start, stop
        start = stop


def rows_of(lines: list[bytes]) -> MadeRows | None:
    """The rows of lines that may be completions.

    The result is the same as of the records that `kinds.converted` makes of them one by one.

    Args:
        lines: The lines, without white space around them.

    Returns:
        The rows; None if a line is something else, or is not JSON.
    """
    if len(lines) < _FEWEST:
        return None
    from chatpb.table import json_to_batch  # few commands need pyarrow

    try:
        rows = json_to_batch(lines)
    except ConversionError:
        return None
    if not all(map(_is_completion, _remainders(rows))):
        return None
    return MadeRows(rows, sum(map(len, lines)))


def _remainders(rows: pa.RecordBatch) -> set[bytes]:
    """What records have besides what is in the other columns: the same for most of them."""
    return set(rows.column("record").unique().to_pylist())


def _is_completion(remainder: bytes) -> bool:
    return all(kind is not ChatCompletion or is_named(data) for _, kind, data in members(remainder))
