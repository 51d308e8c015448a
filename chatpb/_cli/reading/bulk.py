"""Lines of JSON, many of which become rows of a table at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from chatpb._cli.reading.exchange import BODY, CUSTOM_ID, ERROR, REQUEST, RESPONSE, STATUS
from chatpb._cli.reading.source import Block
from chatpb._cli.reading.streams import MadeRows

_ROWS: Final = 16  # that are worth a batch,
_BYTES: Final = 64 << 10  # or fewer rows of that many bytes of JSON
_LONG: Final = 4 << 20  # bytes of lines whose text is let go when there are rows of them
_OTHERS: Final = (CUSTOM_ID, ERROR, STATUS, "choices")


class Run(NamedTuple):
    """Lines of a block that follow one another.

    Attributes:
        rows: Their rows; None if they must be read one by one.
        lines: The lines.
    """

    rows: MadeRows | None
    lines: Block


def runs(block: Block) -> Iterator[Run]:
    """All lines of a block, in order.

    The rows are those of the records that reading the lines one by one makes. The lines that become
    rows are taken out of the block: one of them may be most of what fits into memory.
    """
    from chatpb.table._rows.batches import LineShapes, lines_to_batches  # few commands need pyarrow

    shapes = LineShapes(REQUEST, RESPONSE, BODY, _OTHERS)
    line = start = 0
    for batch, size, stop, end in lines_to_batches(block.text, shapes, _ROWS, _BYTES):
        rows = None if batch is None else MadeRows(batch, size)
        part = block.part(line, start, end)
        if rows is not None and part is block and size >= _LONG:
            block.text = b""  # one line may be most of what fits into memory
        yield Run(rows, part)
        line, start = stop, end
