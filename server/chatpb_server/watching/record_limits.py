"""The settings of recording, and the words for what happened to a record."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from chatpb_server.core.setting import Count, Seconds, Setting, Table
from chatpb_server.watching.record_policy import RecordPolicy
from chatpb_server.watching.redacting import RedactTable

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


class _RecordLog(Table):
    title: ClassVar[str] = RecordLimits.title

    directory: Annotated[
        Path | None,
        Setting(
            "Record every exchange (request, answer, times, status) to a log in this directory, for"
            " chatpb.log. The directory is created if needed. All processes write to it.",
            flag="--record",
            value="DIR",
        ),
    ] = None
    keys: Annotated[
        Path | None,
        Setting(
            "Encrypt the records. The file has keys from `chatpb-server key`, the last of which"
            " encrypts; it is read again when it changes. Needs the extra encryption.",
            flag="--record-keys",
            value="FILE",
        ),
    ] = None
    sync: Annotated[
        Literal["never", "interval", "commit"],
        Setting(
            "When the log waits for the disk: never, about once a second, or after each write.",
            flag="--record-sync",
        ),
    ] = "interval"
    labels: Annotated[
        dict[str, str],
        Setting(
            "Labels of every record. The flag can be repeated; in the variable, spaces separate the"
            " labels.",
            flag="--record-label",
        ),
    ] = Field(default_factory=dict)
    file_bytes: Annotated[
        int,
        Field(ge=0),
        Setting(
            "The size at which a new file of the log is begun. 0: no limit.",
            flag="--record-file-bytes",
            unit="bytes",
        ),
    ] = 1024 * 1024 * 1024
    file_seconds: Annotated[
        Seconds,
        Setting(
            "The age at which a new file of the log is begun. 0: no limit.",
            flag="--record-file-seconds",
            unit="seconds",
        ),
    ] = 3600
    queue_bytes: Annotated[
        Count,
        Setting(
            "How many bytes of records can wait to be written, in each process.",
            flag="--record-queue-bytes",
            unit="bytes",
        ),
    ] = 64 * 1024 * 1024


class RecordTable(RecordLimits, RedactTable, RecordPolicy, _RecordLog):
    """Whether and how exchanges are recorded; see `chatpb_server.watching.recording`."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.directory is None and self.model_fields_set - {"directory"}:
            raise ValueError("nothing is recorded without a directory (--record)")
        for label in self.labels:
            if not label:
                raise ValueError("labels: expected a key before the value")
            if label.startswith(OWN_LABELS):
                raise ValueError(f"labels: {label}: keys in {OWN_LABELS} are the relay's own")
        return self
