"""A relay that measures what holds its event loop: `python -m support.lag.probe [ARGUMENT...]`.

Two things are measured, in ways that other programs on the same machine do not change:

- the CPU time of the loop's thread in each callback;
- the time by which a callback that is due each millisecond comes late, without the time for which
  the loop's thread waited for a CPU, and as far as the process has used one meanwhile. It is late
  if a callback, or another thread, keeps Python's lock.

For each line on standard input, a line with the greatest of both since the last one is printed.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from asyncio.events import Handle
from typing import Any, Final

EVERY: Final = 0.001
_thread_time, _run = time.thread_time, Handle._run


class _Worst:
    callback = 0.0
    name = ""
    late = 0.0
    during = ""

    def report(self) -> str:
        """What was measured, which begins anew."""
        worst = [self.callback, self.name, self.late, self.during]
        self.callback = self.late = 0.0
        return json.dumps(worst)


worst: Final = _Worst()


def _measured(handle: Any) -> None:
    began = _thread_time()
    _run(handle)
    took = _thread_time() - began
    if took > worst.callback:
        worst.callback, worst.name = took, _name(handle)


def _name(handle: Any) -> str:
    """What a callback belongs to."""
    callback = handle._callback
    task = getattr(callback, "__self__", None)
    if not isinstance(task, asyncio.Task):
        return repr(callback)[:200]
    names: list[str] = []
    step: Any = task.get_coro()
    while step is not None:
        names.append(getattr(step, "__qualname__", None) or type(step).__name__)
        step = getattr(step, "cr_await", None) or getattr(step, "ag_await", None)
    return " > ".join(names)


class _Heart:
    """Beats in the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._statistics = os.open(f"/proc/self/task/{threading.get_native_id()}/schedstat", 0)
        self._beat()

    def _waited(self) -> float:
        """The seconds for which the loop's thread could run but had no CPU."""
        return int(os.pread(self._statistics, 99, 0).split()[1]) / 1e9

    def _beat(self) -> None:
        self._began, self._used = time.monotonic() - self._waited(), time.process_time()
        self._loop.call_later(EVERY, self._late)

    def _late(self) -> None:
        used = time.process_time() - self._used
        late = min(time.monotonic() - self._waited() - self._began - EVERY, used)
        if late > worst.late:
            frames = sys._current_frames()
            here = threading.get_ident()
            worst.late = late
            worst.during = "; ".join(
                " < ".join(_stack(frame)) for thread, frame in frames.items() if thread != here
            )
        self._beat()


def _stack(frame: Any) -> list[str]:
    names: list[str] = []
    while frame is not None and len(names) < 4:
        names.append(f"{frame.f_code.co_qualname}:{frame.f_lineno}")
        frame = frame.f_back
    return names


def _serve_reports() -> None:
    for _ in sys.stdin:
        print("lag " + worst.report(), flush=True)


def main() -> None:
    """Runs the server's command."""
    from chatpb_server.running import cli

    serve = cli._serve

    async def probed(*arguments: Any) -> bool:
        _Heart(asyncio.get_running_loop())
        return await serve(*arguments)

    cli._serve = probed  # type: ignore[assignment]
    Handle._run = _measured  # type: ignore[assignment, method-assign]
    threading.Thread(target=_serve_reports, daemon=True).start()
    sys.exit(cli.run(sys.argv[1:]))


if __name__ == "__main__":
    main()
