"""What bounds recording, and the words for what became of a record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Overload = Literal["drop", "wait"]
Outcome = Literal["written", "truncated", "dropped", "failed"]

#: What became of a record, in metrics. One that is truncated is written, with `TRUNCATED`.
OUTCOMES: Final[tuple[Outcome, ...]] = ("written", "truncated", "dropped", "failed")
#: Labels that begin so are the relay's own.
OWN_LABELS: Final = "chatpb."
#: The label of a record that lacks something for want of room: ``request`` (also one in JSON that
#: nests too deep for the binary form), ``completion``, ``chunks`` (the last ones), ``error``, or
#: several of them with commas.
TRUNCATED: Final = "chatpb.truncated"


@dataclass(frozen=True, slots=True)
class RecordLimits:
    """What bounds recording, in each process.

    Attributes:
        overload: What happens to a record that finds the queue full: ``drop``, or ``wait``, and
            with it the end of its call.
        exchange_bytes: The most bytes that are kept of one exchange. The record of a longer one is
            cut, and has the label `TRUNCATED`.
        running_bytes: The most bytes that are kept of all exchanges that run; likewise.
    """

    overload: Overload = "drop"
    exchange_bytes: int = 64 * 1024 * 1024
    running_bytes: int = 256 * 1024 * 1024
