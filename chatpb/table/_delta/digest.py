"""The digest of a commit, and the program that made it: what chatpb notes about its commits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any, Final
from urllib.parse import unquote

from chatpb.table._delta.changes import NOTE, Changes

#: In the note of a commit.
WRITER: Final = "writer"
DIGEST: Final = "digest"


def noted(changes: Changes, transactions: Mapping[str, int]) -> dict[str, Any]:
    """The metadata of a commit, with the digest of its actions.

    Args:
        changes: What it changes.
        transactions: Its app transactions.
    """
    actions: dict[str, list[dict[str, Any]]] = {
        "add": [
            {
                "path": file.name,
                "size": file.size,
                "partitionValues": dict(file.partition),
                "modificationTime": file.time,
                "dataChange": changes.data_change,
                "stats": file.stats,
            }
            for file in changes.adds
        ],
        "remove": [{"path": name, "dataChange": changes.data_change} for name in changes.removes],
        "txn": [{"appId": name, "version": at} for name, at in transactions.items()],
    }
    return signed(changes.metadata, {DIGEST: digest(actions)})


def signed(metadata: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of a commit, with the program that makes it."""
    note = metadata.get(NOTE)
    note = dict(note) if isinstance(note, Mapping) else {}
    return {**metadata, NOTE: {**note, WRITER: f"chatpb {version('chatpb')}", **more}}


def digest(actions: Mapping[str, Iterable[Mapping[str, Any]]]) -> str:
    """The first 32 hexadecimal digits of the SHA-256 of the actions of a commit.

    Each action is a line of JSON, an array of the values of some of its members; the lines are
    sorted.

    Args:
        actions: The actions, by kind.
    """
    lines = [
        *(
            [
                "add",
                _plain(each["path"]),
                each["size"],
                sorted(each["partitionValues"].items()),
                each["modificationTime"],
                each["dataChange"],
                each.get("stats"),
            ]
            for each in actions.get("add", ())
        ),
        *(
            ["remove", _plain(each["path"]), each["dataChange"]]
            for each in actions.get("remove", ())
        ),
        *(["txn", each["appId"], each["version"]] for each in actions.get("txn", ())),
    ]
    texts = sorted(json.dumps(line, separators=(",", ":")) for line in lines)
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:32]


def _plain(path: str) -> str:
    """A path without percent signs, which some writers write once and some twice."""
    while (plain := unquote(path)) != path:
        path = plain
    return path
