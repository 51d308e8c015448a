"""Whether a commit belongs to a table: after an answer was lost, and after a success too."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Final

from chatpb.table._delta.diagnosis import LOG
from chatpb.table._delta.listing import AbsentError, read_bytes
from chatpb.table._delta.location import Location
from chatpb.table._delta.stores import filesystem
from chatpb.table._errors import DatasetError

_POINTER: Final = f"{LOG}/_last_checkpoint"


def entry(version: int) -> str:
    """The name of the file of a commit."""
    return f"{LOG}/{version:020}.json"


def may_be_passed(location: Location, version: int) -> bool:
    """Whether `vacuum` may have removed an entry of the log right before it was written anew.

    Readers begin at a later checkpoint then, so the commit does not belong to the table. `vacuum`
    writes that checkpoint first.
    """
    try:
        last = json.loads(read_bytes(location, _POINTER))["version"]
        return bool(last >= version)
    except AbsentError:
        return False
    except (DatasetError, ValueError, LookupError, TypeError):
        return True


def found_in(location: Location, first: int, last: int, app_id: str, number: int) -> bool | None:
    """Whether an app transaction is in one of some entries of the log.

    Args:
        location: Where the table is.
        first: The version of the first entry.
        last: That of the last.
        app_id: The ID of the transaction.
        number: Its number.

    Returns:
        None if it is in none of the entries, but some of them are not there any more.

    Raises:
        DatasetError: An entry cannot be read.
    """
    is_whole = True
    for version in range(first, last + 1):
        try:
            if _has(read_bytes(location, entry(version)), app_id, number):
                return True
        except AbsentError:
            is_whole = False
    return False if is_whole else None


def noted_in(location: Location, first: int, last: int) -> set[str] | None:
    """The IDs of the app transactions in some entries of the log; None if not all are there.

    Args:
        location: Where the table is.
        first: The version of the first entry.
        last: That of the last.

    Raises:
        DatasetError: An entry cannot be read.
    """
    found: set[str] = set()
    for version in range(first, last + 1):
        try:
            content = read_bytes(location, entry(version))
        except AbsentError:
            return None
        for line in content.splitlines():
            if b'"txn"' in line:
                with suppress(ValueError, LookupError, TypeError):
                    found.add(str(json.loads(line)["txn"]["appId"]))
    return found


def _has(content: bytes, app_id: str, number: int) -> bool:
    for line in content.splitlines():
        if b'"txn"' in line:
            with suppress(ValueError, AttributeError):
                noted = json.loads(line).get("txn") or {}
                if (noted.get("appId"), noted.get("version")) == (app_id, number):
                    return True
    return False


def remove_passed(location: Location, version: int, app_id: str, number: int) -> None:
    """Removes an entry that does not belong to the table, if it is the one that was written."""
    with suppress(DatasetError, OSError):
        if _has(read_bytes(location, entry(version)), app_id, number):
            path = location.local(entry(version))
            if path is not None:
                os.unlink(path)
            else:
                filesystem(location).delete_file(entry(version))
