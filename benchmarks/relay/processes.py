"""The processes of the benchmark: how they start, and what they cost."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_PATIENCE_S: Final = 60


def run_loop(main: Coroutine[Any, Any, None], *, fast: bool = True) -> None:
    """Runs a coroutine until it ends or the process is told to; with uvloop where there is one.

    Args:
        main: What to run.
        fast: Whether uvloop may be used.
    """
    with contextlib.suppress(ImportError):
        if fast:
            asyncio.set_event_loop_policy(importlib.import_module("uvloop").EventLoopPolicy())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    gc.freeze()
    asyncio.run(main)


@contextlib.contextmanager
def started(
    command: Sequence[str | Path], env: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a process for as long as the context lasts; its standard error goes to a file."""
    with log.open("wb") as errors:
        process = subprocess.Popen(
            list(map(str, command)),
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def listening(process: subprocess.Popen[bytes], log: Path) -> list[str]:
    """The addresses that a process names in its first line, ``listening on HOST:PORT``."""
    assert process.stdout
    line = process.stdout.readline().decode()
    if not line.startswith("listening on "):
        process.wait(10)
        sys.exit(f"expected 'listening on HOST:PORT', got {line!r}\n{_tail(log)}")
    return line.split()[2:]


def wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Waits until a process takes connections."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.2)
    sys.exit(f"nothing listens on port {port}\n{_tail(log)}")


def _tail(log: Path) -> str:
    return "\n".join(log.read_text("utf-8", "replace").splitlines()[-20:])


def environment(**more: str) -> dict[str, str]:
    """The environment without what is meant for the benchmark's own modules."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | more


@dataclass(frozen=True)
class Usage:
    """What a process and its children have used.

    Attributes:
        cpu_s_of: Processor time of each of them.
        main_s: That of the main thread of the process alone.
        rss: Bytes in memory.
    """

    cpu_s_of: tuple[float, ...]
    main_s: float
    rss: int

    @property
    def cpu_s(self) -> float:
        """Processor time."""
        return sum(self.cpu_s_of)

    def since(self, before: Usage) -> Usage:
        """What has been used since then."""
        pairs = zip(self.cpu_s_of, before.cpu_s_of, strict=True)
        cpu = tuple(now - old for now, old in pairs)
        return Usage(cpu, self.main_s - before.main_s, self.rss - before.rss)


class Watched:
    """A process whose use is watched."""

    def __init__(self, pid: int) -> None:
        psutil: Any = importlib.import_module("psutil")
        process = psutil.Process(pid)
        self._main = process
        self._all = [process, *process.children(recursive=True)]

    def usage(self) -> Usage:
        """What has been used since the start."""
        times = [process.cpu_times() for process in self._all]
        main = [t for t in self._main.threads() if t.id == self._main.pid]
        return Usage(
            cpu_s_of=tuple(time.user + time.system for time in times),
            main_s=sum(thread.user_time + thread.system_time for thread in main),
            rss=sum(process.memory_info().rss for process in self._all),
        )

    def forget_peak(self) -> None:
        """Begins anew to watch for the most memory, where the system can do that."""
        with contextlib.suppress(OSError):
            Path(f"/proc/{self._main.pid}/clear_refs").write_text("5")

    def peak(self) -> int:
        """The most bytes that the process itself had in memory, or has if that is unknown."""
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{self._main.pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        return int(self._main.memory_info().rss)
