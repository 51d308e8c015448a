"""Which input is in a table already.

A log is recognised by the identifier in its header, any other file by its content: the digest of
its first bytes finds it, the digest of all bytes that were read proves it. So a file that was moved
is recognised, and another file with the same beginning is not mistaken for it. Two files with the
same bytes are both read if they come together.
"""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Mapping
from typing import Any, Final

_HEAD: Final = 4096  # bytes that find a file
_BLOCK: Final = 1 << 20
_LOGS: Final = "logs"
_FILES: Final = "files"


class Known:
    """The sources that a dataset has noted. Each is used up when it is met again.

    Args:
        sources: What `Dataset.sources` gives.
    """

    def __init__(self, sources: Mapping[str, Any]) -> None:
        self._logs: dict[str, list[int]] = dict(sources.get(_LOGS, {}))
        self._files: dict[str, list[list[Any]]] = copy.deepcopy(sources.get(_FILES, {}))
        self._met: list[tuple[str, list[Any]]] = []
        self._lengths = {int(key.partition(":")[0]) for key in self._files}

    def sources(self) -> dict[str, Any]:
        """What the dataset should note."""
        files = copy.deepcopy(self._files)
        for key, entry in self._met:
            files.setdefault(key, []).append(entry)
        return {_LOGS: self._logs, _FILES: files}

    def log(self, file_id: str) -> tuple[int, int] | None:
        """Where to continue in a log: the offset of a frame, and the index of a message in it."""
        found = self._logs.get(file_id)
        return None if found is None else (found[0], found[1])

    def take_log(self, file_id: str, offset: int, index: int) -> None:
        """Notes how far a log has been read."""
        self._logs[file_id] = [offset, index]

    def meet(self, path: str, *, whole: bool) -> tuple[int, int] | None:
        """How much of a file is in the table: its lines and bytes; None if nothing is.

        Args:
            path: The file.
            whole: Whether only the same file counts, rather than one that has grown since.
        """
        size = os.path.getsize(path)
        with open(path, "rb") as stream:
            head = stream.read(_HEAD)
        found: dict[int, list[tuple[str, list[Any]]]] = {}
        for length in self._lengths:
            if length <= len(head):
                key = _key(head[:length])
                for entry in self._files.get(key, ()):
                    if entry[0] == size or (entry[0] < size and not whole):
                        found.setdefault(entry[0], []).append((key, entry))
        digests = _digests(path, sorted(found))
        for end in sorted(found, reverse=True):
            for key, entry in found[end]:
                if entry[1] == digests.get(end):
                    self._files[key].remove(entry)
                    if not self._files[key]:
                        del self._files[key]
                    self._met.append((key, entry))
                    return entry[2], end
        return None

    def take(self, path: str, end: int, lines: int) -> None:
        """Notes a file that has been read up to a byte, which comes after that many lines."""
        with open(path, "rb") as stream:
            head = stream.read(min(_HEAD, end))
        self._met.append((_key(head), [end, _digests(path, [end]).get(end, ""), lines]))

    def forget(self) -> None:
        """Takes back the last `meet`, for a file that has grown and is noted again."""
        self._met.pop()


def _key(head: bytes) -> str:
    return f"{len(head)}:{hashlib.sha256(head).hexdigest()[:32]}"


def _digests(path: str, ends: list[int]) -> dict[int, str]:
    """The digests of a file up to each of some offsets, which are in order."""
    digests = {}
    if ends:
        digest = hashlib.sha256()
        at = 0
        with open(path, "rb") as stream:
            for end in ends:
                while at < end and (block := stream.read(min(_BLOCK, end - at))):
                    digest.update(block)
                    at += len(block)
                if at == end:
                    digests[end] = digest.hexdigest()[:32]
    return digests
