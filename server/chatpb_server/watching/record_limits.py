"""What bounds recording, and the words for what happened to a record."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from chatpb_server.core.setting import Setting, Table

Overload = Literal["drop", "wait"]
Outcome = Literal["written", "truncated", "dropped", "failed"]

#: What happened to a record, in metrics. A truncated one is written, with the label `TRUNCATED`.
OUTCOMES: Final[tuple[Outcome, ...]] = ("written", "truncated", "dropped", "failed")
#: The prefix of the labels that the relay itself sets.
OWN_LABELS: Final = "chatpb."
#: The label of a record in which something is missing because it was too large: ``request`` (or its
#: JSON nests too deep for the binary form), ``completion``, ``chunks`` (the last ones), ``error``,
#: or several of them, separated by commas.
TRUNCATED: Final = "chatpb.truncated"


class RecordLimits(Table):
    """What bounds the records of running calls, in each process."""

    title: ClassVar[str] = "Recording"

    overload: Annotated[
        Overload,
        Setting(
            "What happens to a record if the queue is full: it is dropped and counted, or its call"
            " waits.",
            flag="--record-overload",
        ),
    ] = "drop"
    exchange_bytes: Annotated[
        int,
        Field(ge=1, le=128 * 1024 * 1024),
        Setting(
            "How much of one exchange is kept. The record of a longer one is cut, and has the label"
            f" {TRUNCATED}.",
            flag="--record-exchange-bytes",
            unit="bytes",
        ),
    ] = 64 * 1024 * 1024
    running_bytes: Annotated[
        int,
        Field(ge=1),
        Setting(
            "How much is kept of all running exchanges in a process. Beyond that, their records are"
            f" cut, and get the label {TRUNCATED}.",
            flag="--record-running-bytes",
            unit="bytes",
        ),
    ] = 256 * 1024 * 1024
