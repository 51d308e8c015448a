"""Appending to a log."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self

from chatpb._errors import binary_of, path_of
from chatpb._forks import Owner
from chatpb.log._errors import Damage, LogError, PendingFullError
from chatpb.log._files import LogFile, is_encrypted
from chatpb.log._frames import MAX_MESSAGE_BYTES, Encoder
from chatpb.log._futures import Item, Place, Position, Written, fail_all
from chatpb.log._headers import is_header, is_sealed
from chatpb.log._keys import KeyFile, as_keys
from chatpb.log._repair import recover_directory
from chatpb.v1.completion_record_pb2 import CompletionRecord

_logger: Final = logging.getLogger("chatpb.log")
_MAX_FRAME_BYTES: Final = 64 * 1024 * 1024
_COST: Final = 1024  # bytes of memory for a record in addition to its data
_MAX_UNSYNCED: Final = 16 * 1024  # futures that wait for the disk before it is waited for
_NEVER: Final = float("inf")


class Sync(StrEnum):
    """When the writer waits for the disk (fsync), and so what the future of a record means."""

    NEVER = "never"
    """The system has the record: it outlives the process, and not the machine."""
    INTERVAL = "interval"
    """The record is on the disk; many share one wait, up to `sync_seconds` later."""
    COMMIT = "commit"
    """The record is on the disk; each batch is waited for at once."""


class LogWriter:
    """Appends records to a log, from any number of threads.

    A thread of its own gathers records into frames and writes them. A file has one writer at a
    time. In a directory, every writer has files of its own, and their names sort by time.

    Before each frame, it checks that the file is still where its path leads. If the file was
    removed, moved or replaced, the records in it that were not acknowledged fail, unless they can
    still be read. The next ones go to a new file of the directory; without a directory, the writer
    is broken (`is_broken`).

    It belongs to the process that made it. In a forked child, every method raises LogError at once,
    and the futures that were returned before the fork are never done: the child makes a writer of
    its own, in a directory or for another file. The parent's writer goes on.

    Args:
        path: The file, made if it is missing; or a directory that exists.
        sync: When to wait for the disk.
        sync_seconds: How long a record may wait for that, with `Sync.INTERVAL`.
        frame_bytes: How much content makes a frame full. One record may be more.
        frame_seconds: How long a record may wait for its frame to be full.
        level: How hard zstd tries.
        max_bytes: How long a file of a directory may get before the next is begun; None: any.
        max_seconds: How old it may get. One without records does not age.
        max_pending_bytes: How many bytes of records may wait to be written; each record counts
            1 KiB more, for what keeps track of it.
        keys: The file of keys (or its path) whose last key encrypts the records. If that changes,
            the next file of a directory is begun; a single file goes on with another header. None:
            nothing is encrypted.

    Attributes:
        recovered: The damage that was found at the ends of the files, and cut if it was torn.

    Raises:
        LockedError: Another writer has the file open.
        LogKeyError: The file is encrypted, and there are no keys.
        KeyFileError: The file of keys cannot be used.
        LogError: The file is not a log.
        OSError: The file cannot be opened or written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        sync: Sync = Sync.INTERVAL,
        sync_seconds: float = 1.0,
        frame_bytes: int = 256 * 1024,
        frame_seconds: float = 0.2,
        level: int = 3,
        max_bytes: int | None = None,
        max_seconds: float | None = None,
        max_pending_bytes: int = 64 * 1024 * 1024,
        keys: KeyFile | str | os.PathLike[str] | None = None,
    ) -> None:
        if not 0 < frame_bytes <= _MAX_FRAME_BYTES:
            raise ValueError(f"frame_bytes is {frame_bytes}; expected 1 to {_MAX_FRAME_BYTES}")
        given = path_of(path)
        self._directory = given if given.is_dir() else None
        if self._directory is None and (max_bytes is not None or max_seconds is not None):
            raise ValueError(f"{given} is not a directory; max_bytes and max_seconds require one")
        self._sync = Sync(sync)
        self._sync_seconds = sync_seconds
        self._frame_bytes = frame_bytes
        self._frame_seconds = frame_seconds
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds
        self._max_pending_bytes = max_pending_bytes
        self._encoder = Encoder(level)
        self._keys = as_keys(keys)

        lock = self._lock = threading.Lock()
        self._work = threading.Condition(lock)  # there is something to do
        self._room = threading.Condition(lock)  # there is room for more
        self._queue: list[Item] = []
        self._queued_bytes = 0
        self._queued_at = 0.0  # when the first of them came
        self._is_urgent = False  # someone waits for the queue to be written
        self._pending_bytes = 0  # in the queue, or being written
        self._is_closed = False
        self._owner = Owner()
        self._broken: LogError | None = None

        # What follows is the thread's alone.
        self._taken: list[Item] = []
        self._unsynced: list[Written] = []
        self._unsynced_count = 0  # of records
        self._is_dirty = False  # the file has frames that may not be on the disk
        self._synced_at = time.monotonic()
        self._failure: LogError | None = None  # since the last flush

        self.recovered: Sequence[Damage]
        if self._directory is None:
            is_durable = self._sync is not Sync.NEVER
            self._file = LogFile.open(given, self._encoder, is_durable, self._keys)
            self.recovered = (self._file.damage,) if self._file.damage else ()
        else:
            self.recovered = tuple(recover_directory(self._directory))
            if self._keys is None and is_encrypted(self._directory):
                text = "%s: records are written in the clear, and those before are encrypted"
                _logger.warning(text, self._directory)
            self._file = self._create(self._directory)
        self._begun_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="chatpb.log", daemon=True)
        self._thread.start()
        atexit.register(self._close_at_exit)

    @property
    def path(self) -> Path:
        """The file that is being written."""
        return self._file.path

    @property
    def is_broken(self) -> bool:
        """Whether a failure has left it unable to write; `append` then raises that failure."""
        return self._broken is not None

    @property
    def pending_bytes(self) -> int:
        """How many bytes of records wait to be written, as `max_pending_bytes` counts them."""
        return self._pending_bytes

    def append(self, record: CompletionRecord | bytes, *, block: bool = True) -> Future[Position]:
        """Appends a record.

        Args:
            record: The record; bytes are its binary form and are not looked at.
            block: Whether to wait while `max_pending_bytes` are waiting.

        Returns:
            The future of the record's place. It is done as soon as the record is as durable as
            `sync` says. If it cannot be, the future raises LogError. To cancel it changes nothing.
            What is called when it is done runs in the writer's thread, and must not wait for it.

        Raises:
            PendingFullError: There is no room, and `block` is false.
            LogError: The writer is closed or belongs to another process, or an earlier failure has
                left it unable to write.
            ValueError: The record is too long, or it is the header of a log.
            TypeError: It is neither a message nor bytes.
        """
        self._check_owner()
        data = record if isinstance(record, bytes) else binary_of(record)
        size = len(data)
        cost = size + _COST
        if size > MAX_MESSAGE_BYTES:
            raise ValueError(f"a record of {size} bytes; the most is {MAX_MESSAGE_BYTES}")
        if is_header(data) or is_sealed(data):
            raise ValueError("a CompletionRecord with only a log_header is not a record")
        future = Place()
        with self._lock:
            if self._pending_bytes + cost > self._max_pending_bytes:
                self._wait_for_room(cost, block)
            if self._broken is not None or self._is_closed:
                raise self._broken or LogError(self.path, "the writer is closed")
            if not self._queue:
                self._queued_at = time.monotonic()
                self._work.notify()
            self._queue.append((data, future))
            self._pending_bytes += cost
            before = self._queued_bytes
            self._queued_bytes += size
            if before < self._frame_bytes <= self._queued_bytes:
                self._work.notify()
        return future

    def _wait_for_room(self, cost: int, block: bool) -> None:
        # A callback of a future runs in the thread that makes room.
        is_waiting = block and threading.current_thread() is not self._thread
        while self._pending_bytes and self._pending_bytes + cost > self._max_pending_bytes:
            if self._broken is not None or self._is_closed:
                return
            if not is_waiting:
                reason = f"{self._pending_bytes} bytes are waiting to be written"
                raise PendingFullError(self.path, reason)
            self._room.wait()

    def flush(self) -> None:
        """Waits until all records that were appended are on the disk, whatever `sync` says.

        Raises:
            LogError: Records that were appended since the last flush are not in the log, or the
                writer belongs to another process.
        """
        self._check_owner()
        with self._lock:
            if self._is_closed:
                raise LogError(self.path, "the writer is closed")
            if self._broken is not None:
                raise self._broken
            done = self._ask()
        done.result()

    def close(self) -> None:
        """Flushes, and gives the file up. To close again does nothing.

        Raises:
            LogError: Records that were appended since the last flush are not in the log, or the
                writer belongs to another process.
        """
        self._check_owner()
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            done = self._ask()
            self._room.notify_all()
        self._thread.join()
        if self._broken is not None:
            fail_all([(None, done)], self._broken)
        atexit.unregister(self._close_at_exit)
        done.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None or self._owner.is_here:  # else a forked child leaves, with its own error
            self.close()

    def _close_at_exit(self) -> None:
        if self._owner.is_here:
            self.close()

    def _check_owner(self) -> None:
        """Refuses to go on in a forked child, which has no thread that writes.

        The locks are not taken before: the child's copy of one may be locked for ever.
        """
        if not self._owner.is_here:
            raise LogError(self.path, self._owner.refusal("the writer"))

    def _ask(self) -> Future[None]:
        done: Future[None] = Future()
        self._queue.append((None, done))
        self._is_urgent = True
        self._work.notify()
        return done

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        except BaseException as error:  # never: but then nobody may wait for ever
            self._break(LogError(self.path, f"the writer failed: {error!r}"))
            raise
        finally:
            self._file.close()

    def _turn(self) -> bool:
        """Does what is due; false once the writer is closed and nothing is left."""
        items = self._taken = self._take()
        records: list[Item] = []
        size = 0
        for item in items:
            data = item[0]
            if data is None:
                self._write(records, size)
                self._flush(item[1])
                records, size = [], 0
                continue
            if records and size + len(data) > self._frame_bytes:
                self._write(records, size)
                records, size = [], 0
            records.append(item)
            size += len(data)
        self._write(records, size)
        now = time.monotonic()
        if self._sync is Sync.COMMIT or now >= self._sync_due():
            self._wait_for_disk()
        if now >= self._end_of_file():
            self._rotate()
        with self._lock:
            return not self._is_closed or bool(self._queue)

    def _take(self) -> list[Item]:
        """Waits until something is due, and takes what waits to be written."""
        with self._lock:
            while True:
                is_due = self._is_urgent or self._queued_bytes >= self._frame_bytes
                due = min(self._sync_due(), self._end_of_file())
                if self._queue:
                    due = min(due, self._queued_at + self._frame_seconds)
                left = due - time.monotonic()
                if is_due or left <= 0:
                    break
                self._work.wait(None if left == _NEVER else min(left, threading.TIMEOUT_MAX))
            items, self._queue = self._queue, []
            self._queued_bytes = 0
            self._is_urgent = False
            return items

    def _sync_due(self) -> float:
        if not self._unsynced:
            return _NEVER
        is_many = self._unsynced_count >= _MAX_UNSYNCED
        return self._synced_at + (0 if is_many else self._sync_seconds)

    def _end_of_file(self) -> float:
        if self._max_seconds is None or not self._file.has_records or self._broken is not None:
            return _NEVER
        return self._begun_at + self._max_seconds

    def _write(self, items: list[Item], size: int) -> None:
        """Writes one frame."""
        if not items:
            return
        try:
            if self._broken is not None:
                raise self._broken
            self._leave_lost_file()
            self._renew_key()
            frame = self._encoder.encode([data for data, _ in items if data is not None])
            file, offset = self._place(frame)
            file.append(frame, len(items))
        except (OSError, LogError) as error:
            self._not_written(items, error)
        else:
            file.has_records = self._is_dirty = True
            written = Written(file.path, offset, items)
            if self._sync is Sync.NEVER:
                written.acknowledge()
            else:
                self._unsynced.append(written)
                self._unsynced_count += len(items)
        with self._lock:
            self._pending_bytes -= size + _COST * len(items)
            self._room.notify_all()

    def _leave_lost_file(self) -> None:
        """Begins another file, if the file was removed, or moved with or without its directory.

        Records that are in a removed file and were not acknowledged fail.

        Raises:
            LogError: There may be no other file, or it cannot be begun.
            OSError: It is not known where the file is.
        """
        if self._file.is_in_place:
            return
        if not self._file.is_removed:
            self._wait_for_disk()
        lost = self._file
        if self._broken is None:
            self._give_up_file(self._lost())
        if self._broken is not None:
            raise self._broken
        _logger.warning("%s was removed, moved or replaced; records go to %s", lost.path, self.path)

    def _lost(self) -> LogError:
        """Why records in the file may not be in the log."""
        what = "removed" if self._file.is_removed else "moved or replaced"
        reason = f"the file was {what}; {self._unsynced_count} records may not be in the log"
        return LogError(self.path, reason)

    def _give_up_file(self, reason: LogError) -> None:
        """Leaves a file, and fails the records in it that were not acknowledged."""
        waiting = self._take_unsynced()
        if waiting:
            self._failure = reason
        self._abandon(reason)
        for written in waiting:
            fail_all(written.items, reason)

    def _renew_key(self) -> None:
        """Changes to the last key of the file of keys.

        Raises:
            OSError: A single file cannot be written.
        """
        if self._keys is None or self._keys.current == self._file.key:
            return
        if self._directory is not None:
            self._rotate(for_key=True)
        else:
            self._file.renew_key(self._encoder, self._sync is not Sync.NEVER, self._keys)

    def _place(self, frame: bytes) -> tuple[LogFile, int]:
        """The file for a frame, and where in it the frame will begin."""
        file = self._file
        is_full = self._max_bytes and file.has_records and file.grown(frame) > self._max_bytes
        if is_full or time.monotonic() >= self._end_of_file():
            self._rotate()
        return self._file, self._file.size

    def _not_written(self, items: list[Item], error: OSError | LogError) -> None:
        reason = error if isinstance(error, LogError) else self._reason(error, len(items))
        self._failure = reason
        if self._file.is_torn and self._broken is None:
            self._wait_for_disk()
            self._abandon(reason)
        fail_all(items, reason)

    def _reason(self, error: OSError, count: int) -> LogError:
        what = error.strerror or str(error)
        reason = LogError(self.path, f"{what}; {count} records may not be in the log")
        reason.__cause__ = error
        return reason

    def _wait_for_disk(self) -> None:
        """Makes durable what was written."""
        if self._is_dirty and self._broken is None:
            try:
                self._file.sync()
            except OSError as error:
                reason = self._failure = self._reason(error, self._unsynced_count)
                self._give_up_file(self._lost() if self._file.is_removed else reason)
                return
            if self._unsynced and self._file.is_removed:
                self._give_up_file(self._lost())
                return
        self._is_dirty = False
        self._synced_at = time.monotonic()
        for written in self._take_unsynced():
            written.acknowledge()

    def _take_unsynced(self) -> list[Written]:
        waiting, self._unsynced = self._unsynced, []
        self._unsynced_count = 0
        return waiting

    def _flush(self, done: Future[Any]) -> None:
        self._wait_for_disk()
        failure, self._failure = self._failure, None
        if failure is None:
            done.set_result(None)
        else:
            fail_all([(None, done)], failure)

    def _rotate(self, *, for_key: bool = False) -> None:
        """Begins the next file; if that is not possible, goes on with the one that is there."""
        if self._sync is not Sync.NEVER:
            self._wait_for_disk()
        if self._broken is not None or not (self._file.has_records or for_key):
            return
        try:
            self._begin_file()
        except OSError as error:
            _logger.warning("%s: cannot begin the next file: %s", self._directory, error)
            self._begun_at = time.monotonic()

    def _abandon(self, reason: LogError) -> None:
        """Leaves a file that cannot be trusted for another, if there may be another."""
        try:
            self._begin_file()
        except OSError:
            self._break(reason)

    def _begin_file(self) -> None:
        if self._directory is None:
            raise FileNotFoundError("there is no directory for another file")
        file = self._create(self._directory)
        old, self._file = self._file, file
        self._begun_at = time.monotonic()
        self._is_dirty = False
        old.close()

    def _create(self, directory: Path) -> LogFile:
        is_durable = self._sync is not Sync.NEVER
        return LogFile.create(directory, self._encoder, is_durable, self._keys)

    def _break(self, reason: LogError) -> None:
        """Fails all that waits, and all that comes."""
        with self._lock:
            self._broken = reason
            items, self._queue = self._queue, []
            self._room.notify_all()
        for waiting in (self._taken, items, *(written.items for written in self._take_unsynced())):
            fail_all(waiting, reason)
