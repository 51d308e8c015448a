"""The versions of a table: what made them, and how to go back to one."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from chatpb.table._care.rewrite import loaded
from chatpb.table._delta import commits
from chatpb.table._delta.changes import MARK, NOTE
from chatpb.table._delta.digest import WRITER
from chatpb.table._delta.entries import changed
from chatpb.table._delta.location import Location
from chatpb.table._delta.log import Entry, Log
from chatpb.table._delta.state import VACUUM
from chatpb.table._delta.transactions import transactions
from chatpb.table._errors import DatasetError

_TAKEN: Final = "chatpb:"
_PROGRAMS: Final = {  # as they name themselves, and as people do
    r"^delta-rs:py-(\S+)$": r"delta-rs \1 (Python)",
    r"^delta-rs:(\d\S*)$": r"delta-rs \1",
    r"\bApache-Spark/(\S+)": r"Spark \1",
    r" Delta-Lake/(\S+)": r", Delta Lake \1",
}


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit of a table.

    Attributes:
        version: The version that it made.
        time: When, in UTC; None if the writer did not say.
        operation: What it did, such as ``append``, ``optimize``, ``delete``, or, of a commit that
            chatpb did not make, what its writer calls it.
        files_added: How many files it added.
        files_removed: How many files it removed.
        records: How many records came, or, below zero, went. None: unknown.
        engine: The program that wrote it, with its version, such as ``chatpb 0.1.0``.
    """

    version: int
    time: datetime | None
    operation: str
    files_added: int
    files_removed: int
    records: int | None
    engine: str


def history(location: Location, limit: int | None = None) -> list[Commit]:
    """See `Dataset.history`."""
    loaded(location, checked=False)
    return [_commit(entry) for entry in Log(location).entries(limit)]


def _commit(entry: Entry) -> Commit:
    info = entry.info
    adds, removes = entry.actions.get("add", []), entry.actions.get("remove", [])
    note = info.get(NOTE)
    note = note if isinstance(note, dict) else {}
    milliseconds = info.get("timestamp")
    time = None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)
    operation = note.get("operation")
    if operation is None:
        operation = str(info.get("operation", "unknown")).lower()
        if operation in ("write", "create table") and adds and not removes:
            operation = "append"
    return Commit(
        entry.version,
        time,
        str(operation),
        len(adds),
        len(removes),
        _records(note, adds, removes),
        _program(note, str(info.get("engineInfo", "unknown"))),
    )


def _program(note: dict[str, Any], engine: str) -> str:
    """The program that made a commit. Delta's client names only itself."""
    if isinstance(note.get(WRITER), str):
        return str(note[WRITER])
    for pattern, text in _PROGRAMS.items():
        engine = re.sub(pattern, text, engine)
    return engine


def _records(
    note: dict[str, Any], adds: list[dict[str, Any]], removes: list[dict[str, Any]]
) -> int | None:
    if not any(each.get("dataChange", True) for each in adds + removes):
        return 0
    if note.get("operation") == "delete":
        return -int(note.get("rows", 0))
    if removes:
        return None
    counts = [json.loads(each.get("stats") or "{}").get("numRecords") for each in adds]
    return None if None in counts else sum(counts)


def restore(location: Location, version: int) -> int:
    """See `Dataset.restore`."""
    last = loaded(location, checked=False)
    if version > last.version:
        raise DatasetError(location.uri, f"there is no version {version}, only {last.version}")
    if version == last.version:
        raise DatasetError(location.uri, f"version {version} is the current one already")
    loaded(location, version)
    now = transactions(location, last.version, _TAKEN)
    then = transactions(location, version, _TAKEN)
    differing = {
        name: then.get(name, 0)
        for name, at in now.items()
        if at != then.get(name, 0) and not name.startswith((MARK, VACUUM))
    }
    made = commits.restore(
        location, version, differing, {NOTE: {"operation": "restore", "version": version}}
    )
    if changed(location) is not None:  # it is not read again
        commits.make_checkpoint(location, made)
    return made
