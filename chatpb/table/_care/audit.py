"""Checks Delta's log: entries by the digests of commits, checkpoints by the entries before them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

import pyarrow as pa

from chatpb.table._delta.diagnosis import LOG
from chatpb.table._delta.entries import check, restored
from chatpb.table._delta.listing import AbsentError, read_bytes, read_parquet
from chatpb.table._delta.location import Location
from chatpb.table._delta.log import Entry, Log
from chatpb.table._delta.snapshot import while_it_changes
from chatpb.table._delta.trouble import one_line
from chatpb.table._errors import DatasetError

_METADATA: Final = ("id", "schemaString", "partitionColumns", "configuration")
_MAPS: Final = ("partitionValues", "configuration")


@dataclass
class _State:
    """What a table consists of at a version, by the log.

    Attributes:
        files: What is noted of each file, as a hash.
        taken: The app transactions.
        metadata: The schema and the properties, as a hash; None: unknown.
    """

    files: dict[str, int] = field(default_factory=dict)
    taken: dict[str, int] = field(default_factory=dict)
    metadata: int | None = None

    def take(self, actions: Mapping[str, list[dict[str, Any]]]) -> None:
        """Takes the actions of a commit or of a checkpoint."""
        for each in actions.get("remove", ()):
            self.files.pop(unquote(each["path"]), None)
        for each in actions.get("add", ()):
            self.files[unquote(each["path"])] = _noted(each)
        self.taken.update((each["appId"], each["version"]) for each in actions.get("txn", ()))
        for each in actions.get("metaData", ()):
            self.metadata = hash(repr([_value(each, name) for name in _METADATA]))

    def difference(self, other: _State) -> str | None:
        """What is not the same, if anything."""
        for what, ours, theirs in (
            ("file", self.files, other.files),
            ("app transaction", self.taken, other.taken),
        ):
            names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
            if names:
                return f"{what} {min(names)}"
        is_known = self.metadata is not None and other.metadata is not None
        return "the schema" if is_known and self.metadata != other.metadata else None


def _noted(add: Mapping[str, Any]) -> int:
    return hash(repr([_value(add, name) for name in ("size", "modificationTime", *_MAPS, "stats")]))


def _value(action: Mapping[str, Any], name: str) -> Any:
    """A member of an action; a checkpoint has maps as pairs."""
    value = action.get(name)
    return sorted(dict(value or ()).items()) if name in _MAPS else value


def log_damage(location: Location) -> tuple[DatasetError, ...]:
    """The errors of the files of a log, see `Dataset.verify`.

    Raises:
        DatasetError: The log cannot be read.
    """
    return while_it_changes(location, lambda: tuple(_found(location)))


def _found(location: Location) -> list[DatasetError]:
    log = Log(location)
    errors: list[DatasetError] = []
    entries: dict[int, Entry] = {}
    for version in log.versions:
        try:
            entries[version] = read = log.entry(version)
            check(log.place(version), read.info, read.actions)
        except AbsentError:
            raise
        except DatasetError as error:
            errors.append(error)
    wanted = {restored(entry.info) for entry in entries.values()}
    checkpoints = log.checkpoints()
    first = min(log.versions, default=0)
    state = _State() if first == 0 else None
    then: dict[int, set[str]] = {}
    for version in range(max(first - 1, 0), max(log.versions, default=-1) + 1):
        entry = entries.get(version)
        if entry is None:
            state = None
        elif state is not None:
            state.take(entry.actions)
            names = then.get(restored(entry.info))
            if names is not None and names != state.files.keys():
                reason = (
                    f"damaged: its files are not those of version {restored(entry.info)}, which it"
                    " restored"
                )
                errors.append(DatasetError(log.place(version), reason))
        if version in checkpoints:
            try:
                state = _compared(location, checkpoints[version], state)
            except AbsentError:
                raise
            except DatasetError as error:
                errors.append(error)
        if state is not None and version in wanted:
            then[version] = set(state.files)
    return errors


def _compared(location: Location, names: list[str], expected: _State | None) -> _State:
    """The state that a checkpoint has.

    Raises:
        DatasetError: It is not what the log says, or cannot be read.
    """
    found = _State()
    for name in names:
        place = location.place(f"{LOG}/{name}")
        try:
            stream = pa.BufferReader(read_bytes(location, f"{LOG}/{name}"))
            rows = read_parquet(stream, columns=["add", "txn", "metaData"]).to_pylist()
            for row in rows:
                found.take({kind: [action] for kind, action in row.items() if action is not None})
        except (pa.ArrowException, ValueError, LookupError, TypeError) as error:
            raise DatasetError(place, f"damaged: {one_line(error)}") from None
    difference = None if expected is None else expected.difference(found)
    if difference is not None:
        raise DatasetError(place, f"damaged: it differs from the log: {difference}")
    return found
