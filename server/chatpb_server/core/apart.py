"""Calls in other processes, for work that would hold the lock of this one's interpreter.

A thread leaves the event loop to other calls only where it runs without Python's lock, as the
native implementation does, or gives it up often. The reference does neither: the standard
library's parser holds the lock for as long as a text is long, and so does taking a large tree down.

A process is started when it is first needed, and ends when it is idle for a while. It ends with
this one, whose end of the pipe then closes.
"""

from __future__ import annotations

import atexit
import os
import pickle
import select
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from chatpb import ConversionError

#: How many seconds a process waits for work.
_IDLE: Final = 30.0
_LENGTH: Final = struct.Struct("<Q")
_MOST_READ: Final = 1024 * 1024


class Job:
    """A call in another process.

    Args:
        function: A function of a module, which the other process imports.
        *args: Its arguments. Bytes are sent as they are, everything else is pickled.
        processes: Where it runs. None: in the processes that all such calls share.
    """

    def __init__(
        self, function: Callable[..., Any], *args: Any, processes: Processes | None = None
    ) -> None:
        self._items = (function, *args)
        self._processes = processes or _processes
        self._lock = threading.Lock()
        self._process: _Process | None = None
        self._is_ended = False

    def run(self) -> Any:
        """Calls the function, and blocks until it has returned.

        Raises:
            ConversionError: From the function; or the process was ended, because of `end`, or by
                the kernel because it needs too much memory.
            RuntimeError: The function failed in another way.
        """
        while True:
            process, is_new = self._processes.take()
            with self._lock:
                if self._is_ended:
                    process.close()
                    break
                self._process = process
            try:
                is_result, *items = process.call(self._items)
            except (OSError, EOFError):
                process.close()
                if is_new or self._is_ended:
                    break
                continue  # it had just ended, because it was idle
            except BaseException:
                process.close()
                raise
            finally:
                with self._lock:
                    self._process = None
            self._processes.give_back(process)
            if is_result:
                return items[0] if len(items) == 1 else tuple(items)
            raise items[0]
        raise ConversionError("the process that reads it has ended")

    def end(self) -> None:
        """Ends the call, with its process. It does not block."""
        with self._lock:
            self._is_ended = True
            if self._process is not None:
                self._process.kill()


class _Process:
    """A process that is called from one thread at a time.

    Args:
        idle: How many seconds it waits for work. None: for ever.
    """

    def __init__(self, idle: float | None) -> None:
        # Without -P, a module in the current folder could take the place of this one.
        command = (sys.executable, "-P", "-c", f"import {__name__} as it; it.main({idle})")
        # What it would write about a failure could quote contents.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def call(self, items: Sequence[Any]) -> Sequence[Any]:
        """Sends items, and returns those that come back.

        Raises:
            OSError: It has ended.
            EOFError: It has ended meanwhile.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        _send(self._process.stdin.fileno(), items)
        return _receive(self._process.stdout.fileno())

    def kill(self) -> None:
        """Ends it at once."""
        self._process.kill()

    def close(self) -> None:
        """Ends it at once, and waits until it has ended."""
        self._process.kill()
        with suppress(OSError):
            self._process.communicate()


class Processes:
    """The processes that are idle.

    Args:
        idle: How many seconds a process waits for work. None: for ever.
    """

    def __init__(self, idle: float | None = _IDLE) -> None:
        self._seconds = idle
        self._lock = threading.Lock()
        self._idle: list[_Process] = []
        self._pid = os.getpid()

    def take(self) -> tuple[_Process, bool]:
        """A process, and whether it is new."""
        with self._lock:
            if self._pid != os.getpid():  # they are those of the process that this was forked from
                self._pid, self._idle = os.getpid(), []
            while self._idle:
                process = self._idle.pop()
                if process.is_running:
                    return process, False
        return _Process(self._seconds), True

    def has_idle(self) -> bool:
        """Whether a process is ready."""
        with self._lock:
            return any(process.is_running for process in self._idle)

    def give_back(self, process: _Process) -> None:
        """Keeps a process for the next call."""
        with self._lock:
            self._idle.append(process)

    def close(self) -> None:
        """Ends those that are idle."""
        with self._lock:
            idle, self._idle = self._idle, []
        if self._pid == os.getpid():
            for process in idle:
                process.close()


_processes: Final = Processes()
atexit.register(_processes.close)


def close() -> None:
    """Ends the processes that are idle."""
    _processes.close()


class _Bytes(int):
    """In place of bytes, which follow: their length."""


def _send(file: int, items: Sequence[Any]) -> None:
    """Writes items: those that are bytes as they are, after the pickle of all others."""
    head = pickle.dumps(
        [_Bytes(len(item)) if isinstance(item, bytes) else item for item in items],
        pickle.HIGHEST_PROTOCOL,
    )
    for data in (_LENGTH.pack(len(head)) + head, *(i for i in items if isinstance(i, bytes))):
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(file, rest) :]


def _receive(file: int) -> Sequence[Any]:
    """Reads items.

    Raises:
        EOFError: They end before.
    """
    (length,) = _LENGTH.unpack(_read(file, _LENGTH.size))
    items = pickle.loads(_read(file, length))  # from this program itself
    return [_read(file, item) if isinstance(item, _Bytes) else item for item in items]


def _read(file: int, size: int) -> bytes:
    pieces: list[bytes] = []
    while size:
        piece = os.read(file, min(size, _MOST_READ))
        if not piece:
            raise EOFError
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)  # for what is large, without Python's lock


def _called(function: Callable[..., Any], *args: Any) -> Sequence[Any]:
    """What comes back from a call."""
    try:
        result = function(*args)
    except ConversionError as error:
        return False, error
    except Exception as error:  # its text could quote contents
        return False, RuntimeError(type(error).__qualname__)
    return (True, *result) if type(result) is tuple else (True, result)  # not a named one


def main(idle: float | None) -> None:
    """Does what comes on standard input, until that ends or is idle for so many seconds."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all
    # If memory is short, the kernel is to end this process, and not the relay.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    output = os.dup(1)
    os.dup2(2, 1)
    with suppress(EOFError, BrokenPipeError):
        while select.select([0], [], [], idle)[0]:
            _send(output, _called(*_receive(0)))
