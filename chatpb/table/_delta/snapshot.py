"""A table at one version, read from Delta's log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Final, TypeVar
from urllib.parse import unquote

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from chatpb.table._delta.away import in_own_process
from chatpb.table._delta.diagnosis import LOG, damage
from chatpb.table._delta.entries import changed
from chatpb.table._delta.listing import listed
from chatpb.table._delta.location import Location
from chatpb.table._delta.trouble import one_line, refusal
from chatpb.table._errors import DatasetError
from chatpb.table._rows.kernels import sorted_by

_T = TypeVar("_T")
_READS: Final = 20  # while other processes replace files of the log
_READER_FEATURES: Final = frozenset({"timestampNtz", "v2Checkpoint", "vacuumProtocolCheck"})


@dataclass(frozen=True)
class Snapshot:
    """A table at one version.

    Attributes:
        location: Where it is.
        version: The version.
        adds: Its files as Delta describes them, in the order in which they were added.
        columns: Its columns, without those of `partition_by`.
        partition_by: Its partition columns.
        id: The identifier that it got when it was created.
    """

    location: Location
    version: int
    adds: pa.Table = field(repr=False)
    columns: pa.Schema = field(repr=False)
    partition_by: tuple[str, ...]
    id: str

    @cached_property
    def names(self) -> list[str]:
        """The paths of its files, in the table or, of files elsewhere, as URIs."""
        return [unquote(path) for path in self.adds.column("path").to_pylist()]

    def described(self, columns: Sequence[str]) -> list[dict[str, Any]]:
        """What Delta's log has of each file, of these columns of `adds`."""
        found: list[dict[str, Any]] = self.adds.select(
            [name for name in columns if name in self.adds.schema.names]
        ).to_pylist()
        return found


@in_own_process
def load(
    location: Location, version: int | datetime | None = None, *, checked: bool = True
) -> Snapshot | None:
    """Reads a table's log; None if there is no table.

    Args:
        location: Where it is.
        version: Which version, or that of which time. Default: the last one.
        checked: Whether to compare the commits that make up the version with their digests, on a
            disk of this machine.

    Raises:
        DatasetError: The log is damaged, there is no such version, or the table uses a feature of
            Delta that chatpb does not read.
    """

    def read() -> Snapshot | None:
        # First: Delta's client crashes where a commit is nested too deeply.
        last = version if isinstance(version, int) else None
        if (found := changed(location, last, digests=checked)) is not None:
            raise found
        table = _opened(location, version)
        return None if table is None else _snapshot(location, table)

    return while_it_changes(location, read)


def opened(location: Location, version: int | datetime | None = None) -> DeltaTable | None:
    """A table, as Delta's client reads it; None if there is none."""
    return while_it_changes(location, lambda: _opened(location, version))


def while_it_changes(location: Location, read: Callable[[], _T]) -> _T:
    """Reads again after a failure, as long as another process removes or replaces files of the log.

    `vacuum` and checkpoints do, while Delta's client lists the files first and reads them later.
    """
    before: object = None
    for _ in range(_READS):
        try:
            return read()
        except DatasetError as error:
            if refusal(error.__cause__) is not None:
                raise
            now = _files(location)
            if now is None or now == before:
                raise
            before = now
    return read()


def _files(location: Location) -> object:
    """What changes with each file of the log that is written or removed; None if unknown."""
    try:
        return sorted((each.name, each.size, each.time) for each in listed(location, LOG)) or None
    except DatasetError:
        return None


def _opened(location: Location, version: int | datetime | None = None) -> DeltaTable | None:
    with delta_errors(location, "cannot be opened"):
        try:
            if isinstance(version, datetime):
                table = DeltaTable(location.delta_uri, None, options_of(location))
                table.load_as_version(version)
                return table
            return DeltaTable(location.delta_uri, version, options_of(location))
        except DeltaError as error:
            if version is None and _absent(location):
                return None
            if refusal(error) is not None:
                raise
            if (found := damage(location)) is not None:
                raise found from error
            last = None if version is None else opened(location)
            if last is not None and isinstance(version, int):
                reason = _missing(version, last.version(), error)
                raise DatasetError(location.uri, reason) from error
            if isinstance(error, TableNotFoundError):
                return None
            raise error


def _missing(version: int, last: int, error: DeltaError) -> str:
    """Why a version of a table whose log is not damaged cannot be opened."""
    if version > last:
        return f"there is no version {version}, only {last}"
    if isinstance(error, TableNotFoundError):
        return gone(version)
    return f"version {version} cannot be opened: {one_line(error)}"


def gone(version: int) -> str:
    """The reason of the error that a version is not there any more."""
    return f"there is no version {version} any more: it was removed by vacuum"


def removed(version: int) -> str:
    """The reason of the conflict that `vacuum` removes what something is made of."""
    return f"version {version} was removed while something was made of it"


def _absent(location: Location) -> bool:
    return location.folder is not None and not (location.folder / LOG).is_dir()


def arrow_table(found: Any) -> pa.Table:
    """What Delta's client returns, as a table. `pyarrow.table` imports pandas if it is there."""
    return pa.RecordBatchReader.from_stream(found).read_all()


def options_of(location: Location) -> dict[str, str] | None:
    return dict(location.options) or None


def _snapshot(location: Location, table: DeltaTable) -> Snapshot:
    with delta_errors(location, "cannot be opened"):
        protocol = table.protocol()
        unknown = sorted(set(protocol.reader_features or ()) - _READER_FEATURES)
        if unknown == ["deletionVectors"] and not _has_deletion_vectors(table):
            unknown = []
        if unknown or (protocol.min_reader_version == 2):
            what = ", ".join(unknown) or "columnMapping"
            raise DatasetError(location.uri, f"chatpb does not read tables with {what}{_WAY_OUT}")
        adds = arrow_table(table.get_add_actions())
        metadata = table.metadata()
        partition_by = tuple(metadata.partition_columns)
        schema = pa.schema(table.schema().to_arrow())
    adds = sorted_by(adds, "modification_time", "path")
    columns = pa.schema([each for each in schema if each.name not in partition_by])
    return Snapshot(location, table.version(), adds, columns, partition_by, str(metadata.id))


def _has_deletion_vectors(table: DeltaTable) -> bool:
    try:
        return bool(arrow_table(table.deletion_vectors()).num_rows)
    except DeltaError:
        return True


_WAY_OUT: Final = (
    "; let the tool that wrote it rewrite the files without it (for deletionVectors, Spark's"
    " REORG TABLE ... APPLY (PURGE))"
)


class delta_errors:  # noqa: N801
    """Turns Delta's errors into those of tables."""

    def __init__(self, location: Location, what: str) -> None:
        self._location = location
        self._what = what

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, DeltaError | OSError | pa.ArrowException) or _is_deltas(error):
            reason = f"{self._what}: {one_line(error)}"
            raise DatasetError(self._location.uri, reason) from error


def _is_deltas(error: BaseException | None) -> bool:
    """Whether Delta's client raised a ValueError; those of others are mistakes of this package."""
    if not isinstance(error, ValueError):
        return False
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = "" if trace is None else trace.tb_frame.f_globals.get("__name__", "")
    return str(module).partition(".")[0] == "deltalake"
