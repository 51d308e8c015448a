"""Lines of JSON, many of which become rows of a table at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from chatpb._cli.reading.exchange import BODY, CUSTOM_ID, ERROR, REQUEST, RESPONSE, STATUS
from chatpb._cli.reading.source import Block
from chatpb._cli.reading.streams import MadeRows

_FEWEST: Final = 16  # lines that are worth a batch of rows
_OTHERS: Final = (CUSTOM_ID, ERROR, STATUS, "choices")


class Run(NamedTuple):
    """Lines of a block that follow one another.

    Attributes:
        rows: Their rows; None if they must be read one by one.
        start: The index of the first line.
        stop: The index of the first line after them.
    """

    rows: MadeRows | None
    start: int
    stop: int


def runs(block: Block) -> Iterator[Run]:
    """All lines of a block, in order.

    The rows are those of the records that reading the lines one by one makes.
    """
    from chatpb.table._rows.batches import LineShapes, lines_to_batches  # few commands need pyarrow

    shapes = LineShapes(REQUEST, RESPONSE, BODY, _OTHERS)
    start = 0
    for batch, stop in lines_to_batches(block.lines, shapes, _FEWEST):
        size = sum(map(len, block.lines[start:stop]))
        yield Run(None if batch is None else MadeRows(batch, size), start, stop)
        start = stop
