"""File descriptors: enough of them, and one line if there are none left.

Each connection, of a caller or to an upstream, takes one. Without any left, connections wait until
others end; asyncio and gRPC try again once a second.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import sys
from contextlib import suppress
from typing import Final

if sys.platform != "win32":
    import resource

_logger = logging.getLogger(__name__)

#: Those of the runtime, the log of records, and a few more.
_OWN: Final = 128
#: How often, in seconds, it is tried whether there are any left.
_EVERY: Final = 1.0
_OUT: Final = (errno.EMFILE, errno.ENFILE)


def is_out_of_descriptors(error: BaseException | None) -> bool:
    """Whether an error says that there are no file descriptors left."""
    return isinstance(error, OSError) and error.errno in _OUT


def log_out_of_descriptors() -> None:
    """Logs that there are none left. The handler of the log leaves out what is too often."""
    _logger.error(
        "out of file descriptors (the limit is %s): new connections wait; raise the limit"
        " (`ulimit -n`, LimitNOFILE= of systemd), or lower limits.max_connections",
        _limit() or "the system's",
    )


def provide_descriptors(connections: int, calls: int) -> None:
    """Raises the limit of this process as far as is needed and allowed; logs if it stays too low.

    Args:
        connections: How many connections callers can have.
        calls: How many calls can run, each with a connection to an upstream.
    """
    needed = connections + calls + _OWN
    limit = _raised(needed)
    if limit is not None and limit < needed:
        _logger.warning(
            "%d file descriptors are allowed, and limits.max_connections and limits.max_running"
            " need %d: raise the limit (`ulimit -n`, LimitNOFILE= of systemd)",
            limit,
            needed,
        )


def _raised(needed: int) -> int | None:
    """Raises the limit as far as it may be; returns it. None: there is no limit."""
    limit = _limit()
    if sys.platform == "win32" or limit is None or limit >= needed:
        return limit
    with suppress(OSError, ValueError):  # a sandbox can forbid that
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return _limit()


async def watch_descriptors() -> None:
    """Logs, for as long as it runs, if there are none left: gRPC itself does not tell."""
    while True:
        await asyncio.sleep(_EVERY)
        try:
            os.close(os.open(os.devnull, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)))
        except OSError as error:
            if is_out_of_descriptors(error):
                log_out_of_descriptors()


def _limit() -> int | None:
    """The limit; None if there is none."""
    if sys.platform == "win32":
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft
