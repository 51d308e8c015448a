"""The command ``ls``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from chatpb._cli.log_keys import LogKeys
from chatpb._cli.options import keys_option, storage_option
from chatpb._cli.tally import columns

if TYPE_CHECKING:
    from chatpb._cli.stored.files import LogFile
    from chatpb.table import Part

_TIMES: Final = ("start_time", "created")  # the columns that date a record, the best first


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@keys_option
@storage_option
def command(paths: tuple[str, ...], keys: LogKeys | None) -> None:
    """List the files of tables and logs.

    Prints for each file the number of its records and bytes, the times of the first and the last
    record, and its name. The time is when the request arrived; if no record has that, when the
    completion was created.

    \b
      chatpb ls table
      chatpb ls table /var/log/chatpb

    Reads only the ends of the files of a table, but a log from beginning to end. The times of a log
    that is encrypted are shown with its keys; its records are counted without them.
    """  # noqa: D301 (\b is click's mark of lines that keep their breaks)
    from chatpb._cli.stored.files import LogFile, opened

    rows = [["records", "bytes", "first", "last", "file"]]
    total = [0, 0]
    for file in opened(paths, keys):
        found = _of_log(file) if isinstance(file, LogFile) else _of_part(file)
        size = file.size or 0
        total[0] += found.records
        total[1] += size
        span = [_shown(found.first), _shown(found.last)]
        rows.append([f"{found.records:,}", f"{size:,}", *span, file.place])
    if len(rows) > 2:
        rows.append([f"{total[0]:,}", f"{total[1]:,}", "", "", "total"])
    click.echo(columns(rows, left=(2, 3, 4)))


@dataclass
class _Found:
    records: int = 0
    first: datetime | None = None
    last: datetime | None = None

    def add(self, time: datetime) -> None:
        self.first = time if self.first is None else min(self.first, time)
        self.last = time if self.last is None else max(self.last, time)


def _of_part(part: Part) -> _Found:
    from chatpb._cli.stored.files import column_chunks

    metadata = part.metadata
    for name in _TIMES:
        found = _Found(metadata.num_rows)
        for chunk in column_chunks(part):
            statistics = chunk.statistics
            if chunk.path_in_schema == name and statistics is not None and statistics.has_min_max:
                for value in (statistics.min, statistics.max):
                    if (time := _time(value)) is not None:
                        found.add(time)
        if found.first is not None:
            break
    return found


def _of_log(log: LogFile) -> _Found:
    from chatpb.log import LogKeyError

    try:
        return _times_of_log(log)
    except LogKeyError:
        if log.keys is not None:
            raise
        return _Found(log.record_count())


def _times_of_log(log: LogFile) -> _Found:
    from chatpb.v1 import CompletionRecord

    started, created = _Found(), _Found()
    for data in log.records():
        record = CompletionRecord.FromString(data)
        started.records += 1
        created.records += 1
        if record.HasField("start_time_unix_us"):
            time = _time(record.start_time_unix_us / 1e6)
            if time is not None:
                started.add(time)
        whole = record.chunks[0] if record.chunks else record.completion
        if whole.created and (time := _time(whole.created)) is not None:
            created.add(time)
    return started if started.first is not None else created


def _time(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, ValueError, OSError):
        return None  # the server uses other units than seconds


def _shown(time: datetime | None) -> str:
    return "-" if time is None else time.strftime("%Y-%m-%dT%H:%M:%SZ")
