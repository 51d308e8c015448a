"""The files of Delta's log: which there are, what they name, and how old they are.

What a table contains is read by `snapshot`. This is for what Delta's client does not do: a history
with counts, and the removal of entries that no version needs.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, Final
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet

from chatpb.table._delta import commits
from chatpb.table._delta.diagnosis import LOG
from chatpb.table._delta.entries import parsed
from chatpb.table._delta.listing import Stored, listed, read_bytes, read_parquet, write_bytes
from chatpb.table._delta.location import Location
from chatpb.table._delta.transactions import checkpoints_of
from chatpb.table._errors import DatasetError

_NAME: Final = re.compile(rf"{LOG}/(\d{{20}})\.(.+)")
_COMMIT: Final = "json"
_TMP: Final = ".tmp"  # of Delta's client, and of `write_bytes`
_POINTER: Final = f"{LOG}/_last_checkpoint"


@dataclass(frozen=True)
class Entry:
    """A commit, as the log has it.

    Attributes:
        version: The version that it made.
        info: What the writer noted: when, which operation, and more.
        actions: Everything else, by kind: ``add``, ``remove``, ``txn``, ``metaData`` ...
    """

    version: int
    info: dict[str, Any]
    actions: dict[str, list[dict[str, Any]]]

    def names(self) -> set[str]:
        """The files that it adds or removes."""
        kinds = ("add", "remove", "cdc")
        return {unquote(each["path"]) for kind in kinds for each in self.actions.get(kind, ())}


class Log:
    """The log of a table, as its files are at this moment."""

    def __init__(self, location: Location) -> None:
        self._location = location
        self._files = listed(location, LOG)

    @cached_property
    def _commits(self) -> dict[int, Stored]:
        """The commits that are there, by version, in order, up to the last one without a gap.

        Before a gap there may be what a writer wrote who was killed when it was about to find out
        that `vacuum` had removed the entries.
        """
        found = {}
        for file in self._files:
            match = _NAME.fullmatch(file.name)
            if match is not None and match[2] == _COMMIT:
                found[int(match[1])] = file
        first = max(found, default=0)
        while first - 1 in found:
            first -= 1
        return {version: found[version] for version in sorted(found) if version >= first}

    def version_at(self, moment: float) -> int:
        """The version that was current at a moment; the first that is there, if it came later.

        Where the clock was put back, a version is as new as those before it. Where it was ahead, a
        version is as new as the next one.

        Raises:
            DatasetError: There is no commit.
        """
        if not self._commits:
            raise DatasetError(self._location.place(LOG), "there is no commit in it")
        now = time.time()
        past = {version: file.time for version, file in self._commits.items() if file.time <= now}
        times = dict(zip(past, accumulate(past.values(), max), strict=True))
        following = now
        for version in sorted(self._commits, reverse=True):
            following = times.get(version, following)
            if following <= moment:
                return version
        return min(self._commits)

    def entries(self, limit: int | None = None) -> Iterator[Entry]:
        """The last commits, the newest first."""
        for version in list(reversed(self._commits))[:limit]:
            yield self.entry(version)

    @property
    def versions(self) -> list[int]:
        """The versions of the commits that are there, in order, without a gap."""
        return list(self._commits)

    def place(self, version: int) -> str:
        """The path or URI of a commit."""
        return self._location.place(self._commits[version].name)

    def checkpoints(self) -> dict[int, list[str]]:
        """The names of the files of each whole checkpoint, by version."""
        return checkpoints_of([file.name.removeprefix(f"{LOG}/") for file in self._files])

    def entry(self, version: int) -> Entry:
        """A commit.

        Raises:
            DatasetError: It is damaged.
        """
        name = self._commits[version].name
        info, actions = parsed(read_bytes(self._location, name), self._location.place(name))
        return Entry(version, info, actions)

    def named(self, *, since_version: int = 0, since: float = 0) -> set[str]:
        """The files that commits name, from a version and a time on."""
        names: set[str] = set()
        for version, file in self._commits.items():
            if version >= since_version and file.time >= since:
                names |= self.entry(version).names()
        return names

    def make_checkpoint(self, version: int) -> None:
        """Writes the whole state at a version to the log, so that earlier entries are not needed.

        Delta's client keeps there what it knows of removed files for a week, such as their
        partitions; but `vacuum` has deleted them.
        """
        import pyarrow.compute as pc  # takes time, see `kernels`

        commits.make_checkpoint(self._location, version)
        name = f"{LOG}/{version:020}.checkpoint.parquet"
        state = read_parquet(pa.BufferReader(read_bytes(self._location, name)))
        there = state.filter(pc.invert(pc.is_valid(state.column("remove"))))
        if there.num_rows < state.num_rows:
            out = pa.BufferOutputStream()
            pa.parquet.write_table(there, out, compression="zstd")
            write_bytes(self._location, name, out.getvalue())

    def unfinished(self, moment: float) -> list[Stored]:
        """Commits that are being written, or that killed writers left after a moment."""
        return [file for file in self._files if file.name.endswith(_TMP) and file.time > moment]

    def before(self, version: int, moment: float) -> list[Stored]:
        """The files of the log that only earlier versions need, and what killed writers left.

        Args:
            version: The first version to keep.
            moment: What was left over is kept if it is younger.
        """
        found = []
        for file in self._files:
            match = _NAME.fullmatch(file.name)
            if match is not None:
                is_needless = int(match[1]) < version
            else:
                is_left = file.name != _POINTER and file.name.count("/") == 1
                is_needless = is_left and file.time <= moment
            if is_needless:
                found.append(file)
        return sorted(found, key=lambda file: file.name)  # writers rely on the order
