"""The commits of a log: what they contain, and whether that is what was written."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, TypeAlias

from chatpb.table._delta.changes import MARK, NOTE
from chatpb.table._delta.diagnosis import LOG
from chatpb.table._delta.digest import DIGEST, digest
from chatpb.table._delta.location import Location
from chatpb.table._delta.trouble import one_line
from chatpb.table._errors import DatasetError

Actions: TypeAlias = dict[str, list[dict[str, Any]]]

_COMMIT: Final = re.compile(r"(\d{20})\.json")
_CHECKPOINT: Final = re.compile(r"(\d{20})\.checkpoint(\..+)?\.parquet")
_MOST: Final = 10_000
_whole: set[tuple[str, int, int]] = set()  # entries that were read, by size and time


def parsed(content: bytes, place: str) -> tuple[dict[str, Any], Actions]:
    """What the writer of a commit noted, and its actions by kind.

    Raises:
        DatasetError: It is damaged.
    """
    actions: Actions = {}
    try:
        for line in filter(bytes.strip, content.splitlines()):  # others leave lines empty
            for kind, action in json.loads(line).items():
                if action is not None:  # as others write the kinds that a line does not have
                    actions.setdefault(kind, []).append(dict(action))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DatasetError(place, f"damaged: {one_line(error)}") from None
    if not actions:
        raise DatasetError(place, "damaged: it is empty")
    return actions.pop("commitInfo", [{}])[0], actions


def note_of(info: Mapping[str, Any]) -> Mapping[str, Any]:
    """What chatpb noted of a commit."""
    note = info.get(NOTE)
    return note if isinstance(note, dict) else {}


def restored(info: Mapping[str, Any]) -> int:
    """The version that a commit restored; -1 if it did something else."""
    note = note_of(info)
    version = note.get("version")
    return version if note.get("operation") == "restore" and isinstance(version, int) else -1


def check(place: str, info: Mapping[str, Any], actions: Actions) -> None:
    """Compares a commit with its digest, if chatpb made it.

    Raises:
        DatasetError: It is damaged.
    """
    note = note_of(info)
    if restored(info) >= 0 or note.get("operation") == "add columns":
        return  # Delta's client makes the actions
    expected = note.get(DIGEST)
    try:
        if expected is None:
            if any(str(each["appId"]).startswith(MARK) for each in actions.get("txn", ())):
                raise DatasetError(place, "damaged: it has no digest")
            return
        found = digest(actions)
    except (LookupError, TypeError, AttributeError) as error:
        raise DatasetError(place, f"damaged: {one_line(error)}") from None
    if found != expected:
        raise DatasetError(place, "damaged: its actions are not what was written")


def changed(
    location: Location, version: int | None = None, *, digests: bool = True
) -> DatasetError | None:
    """The error of the first commit that is not what was written; None if all are whole.

    Only those that make up a version are read: what Delta's client takes for others would give
    wrong records. Object stores compare what they keep with checksums of their own.

    Args:
        location: Where the table is.
        version: The version. Default: the last one.
        digests: Whether to compare them with their digests. Otherwise, only those are found that
            are empty, which Delta's client overlooks, or no JSON, on which it may crash.
    """
    if location.folder is None or not (location.folder / LOG).is_dir():
        return None
    folder = location.folder / LOG
    entries: dict[int, os.DirEntry[str]] = {}
    first = 0
    with os.scandir(folder) as found:
        for entry in found:
            if (match := _COMMIT.fullmatch(entry.name)) is not None:
                entries[int(match[1])] = entry
            elif (match := _CHECKPOINT.fullmatch(entry.name)) is not None:
                last = int(match[1])
                if version is None or last <= version:
                    first = max(first, last + 1)
    for number in sorted(entries):
        if number >= first and (version is None or number <= version):
            with suppress(FileNotFoundError):
                place = location.place(f"{LOG}/{entries[number].name}")
                if not entries[number].stat().st_size:  # as a power cut leaves it
                    return DatasetError(place, "damaged: it is empty")
                error = _damage(entries[number], place, digests=digests)
                if error is not None:
                    return error
    return None


def _damage(entry: os.DirEntry[str], place: str, *, digests: bool) -> DatasetError | None:
    status = entry.stat()
    known = (os.path.abspath(entry.path), status.st_size, status.st_mtime_ns)
    if known in _whole:
        return None
    try:
        with open(entry.path, "rb") as stream:
            info, actions = parsed(stream.read(), place)
        if not digests:
            return None
        check(place, info, actions)
    except DatasetError as error:
        return error
    if len(_whole) >= _MOST:
        _whole.clear()
    _whole.add(known)
    return None
