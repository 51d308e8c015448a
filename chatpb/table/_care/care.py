"""What keeps a table in order: the part of `Dataset` that replaces, deletes and brings back."""

from __future__ import annotations

from abc import abstractmethod
from datetime import timedelta
from typing import TYPE_CHECKING

from chatpb.table._care import delete as _delete
from chatpb.table._care import history as _history
from chatpb.table._care import optimize as _optimize
from chatpb.table._care import vacuum as _vacuum
from chatpb.table._care.delete import Deleted
from chatpb.table._care.history import Commit
from chatpb.table._care.optimize import Optimized
from chatpb.table._care.vacuum import Vacuumed
from chatpb.table._delta.location import Location
from chatpb.table._errors import DatasetError

if TYPE_CHECKING:
    import pyarrow.compute as pc


class Care:
    """Methods of `Dataset`."""

    _location: Location
    _version: int | None

    @property
    @abstractmethod
    def uri(self) -> str:
        """Where it is, as it was given."""

    def optimize(
        self,
        *,
        file_bytes: int = 256 << 20,
        level: int = 3,
        everything: bool = False,
        more_than: int | None = None,
    ) -> Optimized:
        """Puts the records of small files into large ones.

        Readers, and writers that add records, go on meanwhile. If another writer deletes records of
        the same files, they are read again. Memory holds one row group, about; each new file is
        committed by itself, so a process that ends early loses only its unfinished file.

        Args:
            file_bytes: The size of a file. Files of half of it and more stay as they are.
            level: The level of zstd, from 1 to 22.
            everything: Whether to write large files again too, such as for another level.
            more_than: Do nothing unless there are more than that many small files. Files that are
                larger than all smaller ones together do not count, and stay as they are: so it
                costs little to call this after each addition.

        Raises:
            DatasetConflictError: Other writers replaced the same files, again and again.
            DatasetError: A file cannot be read or written. No record is lost or repeated.
        """
        self._check_writable()
        return _optimize.optimize(
            self._location,
            target=file_bytes,
            level=level,
            everything=everything,
            least=more_than,
        )

    def delete(
        self, condition: str | pc.Expression, *, level: int = 3, vacuum: bool = False
    ) -> Deleted:
        """Deletes the records that match a condition, in one commit.

        Writes only the files again that contain some of them. Files that other writers add
        meanwhile are examined too.

        Args:
            condition: In SQL, over the view `exchanges` (docs/queries.md), such as
                ``caller = 'alice'``; or an expression over the columns, as for `scan`.
            level: The level of zstd, from 1 to 22, of the files that are written again.
            vacuum: Whether to remove all earlier versions too, so that no file of the table
                contains what was deleted, nor does its log. See `Deleted.vacuumed`.

        Raises:
            DatasetConflictError: Other writers replaced the same files, again and again.
            DatasetError: A file cannot be read or written. The table is as it was.
            QueryError: The condition is wrong.
        """
        self._check_writable()
        if isinstance(condition, str):
            matching = _delete.by_sql(condition)
        else:
            matching = _delete.by_expression(condition)
        return _delete.delete(self._location, matching, level=level, forget=vacuum)

    def history(self, limit: int | None = None) -> list[Commit]:
        """The commits that the log still has, the newest first.

        Args:
            limit: How many, at most.

        Raises:
            DatasetError: There is no table, or a file of its log is damaged.
        """
        return _history.history(self._location, limit)

    def restore(self, version: int) -> int:
        """Makes the table what it was at a version, in a new commit.

        What was taken of which input is restored too, so later input can be added again.

        Args:
            version: The version.

        Returns:
            The version of the new commit.

        Raises:
            DatasetError: There is no such version, or files of it have been removed by `vacuum`.
        """
        self._check_writable()
        return _history.restore(self._location, version)

    def vacuum(self, older: timedelta = timedelta(days=7), *, dry_run: bool = False) -> Vacuumed:
        """Removes the files that only versions need that were replaced before.

        The version that was current at that time, and all later ones, can still be read. The files
        of the log that describe earlier ones are removed too. Files that no version contains, such
        as killed writers leave, are kept until they are that old, and for an hour at least.

        Args:
            older: How long ago. Readers of earlier versions fail, as do those that began before it.
            dry_run: Whether to remove nothing.

        Raises:
            DatasetError: There is no table, or a file cannot be removed.
        """
        self._check_writable()
        return _vacuum.vacuum(self._location, older.total_seconds(), dry_run=dry_run)

    def _check_writable(self) -> None:
        if self._version is not None:
            raise DatasetError(self.uri, "cannot be changed at an older version")
