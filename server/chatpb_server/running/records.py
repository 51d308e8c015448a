"""Opens the log of records that the settings name."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from chatpb._errors import os_error_text
from chatpb._extras import install_command, package_of
from chatpb_server.running.config import ConfigError
from chatpb_server.watching.record_limits import Outcome, RecordTable
from chatpb_server.watching.record_policy import Kept
from chatpb_server.watching.redacting import Failure, RedactError, Redaction, spec_of

if TYPE_CHECKING:
    from chatpb_server.watching.recording import LogRecorder

RecordCounts = tuple[
    Callable[[Outcome], None] | None,
    Callable[[Kept], None] | None,
    Callable[[Failure], None] | None,
]
"""What counts records by their outcome, exchanges by what was kept, and failed redactions."""

_logger = logging.getLogger(__name__)
_silent = logging.Logger(__name__)
_silent.addHandler(logging.NullHandler())


def unrecordable(directory: Path, keys: Path | None) -> Iterator[str]:
    """Yields why records cannot be written to a directory, which may not exist yet."""
    try:
        from chatpb.log import KeyFile, KeyFileError  # they have their own extra
    except ModuleNotFoundError as error:
        yield f"record: needs {package_of(error)}: {install_command('log')}"
    else:
        try:
            if keys is not None:
                KeyFile(keys, logger=_silent)  # it warns when the log is opened
        except (KeyFileError, ModuleNotFoundError) as error:
            yield f"record: keys: {error}"
    place = directory
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        yield f"record: {place} is not a directory"
    elif not os.access(place, os.W_OK | os.X_OK):
        yield f"record: cannot write to the directory {place}"


def started_redaction(table: RecordTable) -> Redaction | None:
    """What redacts records, if the settings say so; its process runs.

    Raises:
        ConfigError: It cannot be used.
    """
    redaction = None
    try:
        spec = spec_of(table)
        if spec is None:
            return None
        redaction = Redaction(spec, table.redact_seconds)
        redaction.start()
    except RedactError as error:
        if redaction is not None:
            redaction.close()
        raise ConfigError(f"record: {error}") from None
    return redaction


def open_recorder(table: RecordTable, counts: RecordCounts) -> LogRecorder:
    """Opens the log of records.

    Args:
        table: The settings.
        counts: What counts.

    Raises:
        ConfigError: It cannot be opened.
    """
    from chatpb.log import KeyFile, LogError, LogWriter, Sync
    from chatpb_server.watching.recording import LogRecorder

    directory = table.directory
    assert directory is not None

    keys: KeyFile | None = None

    def open_writer() -> LogWriter:
        # Only the owner of the process can read what callers asked.
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return LogWriter(
            directory,
            sync=Sync(table.sync),
            max_bytes=table.file_bytes or None,
            max_seconds=table.file_seconds or None,
            max_pending_bytes=table.queue_bytes,
            keys=keys,
        )

    count, count_kept, count_failure = counts
    redaction = started_redaction(table)
    try:
        if table.keys is not None:
            keys = KeyFile(table.keys, logger=_logger)
        return LogRecorder(
            open_writer,
            table,
            policy=table,
            redaction=redaction,
            labels=table.labels,
            count=count,
            count_kept=count_kept,
            count_failure=count_failure,
        )
    except OSError as error:
        reason = os_error_text(error)
        raise ConfigError(f"record: cannot write to the directory {directory}: {reason}") from None
    except LogError as error:
        raise ConfigError(f"record: {error}") from None
