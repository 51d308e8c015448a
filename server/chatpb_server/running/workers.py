"""Several processes on one port: the workers that serve, and their supervisor.

The standard input of a worker is one end of a socket pair. The supervisor sends the settings over
it, and later ``stop`` or ``now``; the worker sends ``ready``. If the other end closes, the
supervisor has ended, for whatever reason, and the worker stops. A signal stops a worker too, but
never at once: a terminal or a service manager may send the same signal to all processes.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Final

from chatpb_server.access.address import Address
from chatpb_server.running.build import Served, check_renewal
from chatpb_server.running.settings import Settings
from chatpb_server.watching.metrics_server import SharedMetrics, serve_metrics, shared_metrics

_logger = logging.getLogger(__name__)

READY: Final = b"ready\n"
STOP: Final = b"stop\n"
NOW: Final = b"now\n"

#: A worker that ran for this many seconds did not fail because of its start.
_LONG: Final = 60.0
_FIRST_DELAY: Final = 0.1
_MOST_DELAY: Final = 30.0
#: How many seconds a worker can take to end, after its last call.
_MARGIN: Final = 10.0
#: How many seconds it can take to end at once.
_NOW_MARGIN: Final = 2.0
#: The longest message with settings, in bytes.
LIMIT: Final = 16 * 1024 * 1024


class WorkerError(Exception):
    """Workers that do not start. They have reported the reason themselves."""


async def supervise(settings: Settings, on_ready: Callable[[Served], None]) -> bool:
    """Serves with several processes until a signal ends them.

    A process that ends is replaced. SIGTERM or SIGINT ends all processes after their running calls
    have finished, a second signal at once.

    Args:
        settings: The settings.
        on_ready: Called once, when all processes are ready.

    Returns:
        Whether the running calls could finish. False if there was a second signal.

    Raises:
        AddressError: An address cannot be listened on.
        WorkerError: The processes do not start.
    """
    with ExitStack() as stack:
        address = stack.enter_context(_reserved(Address.parse(settings.listen)))
        shared = metrics = None
        if settings.metrics.listen:
            shared = stack.enter_context(shared_metrics())
            server = serve_metrics(Address.parse(settings.metrics.listen), shared.registry)
            stack.callback(server.close)
            metrics = server.address
        http = None
        if settings.http.listen:
            http = stack.enter_context(_reserved(Address.parse(settings.http.listen)))
        supervisor = _Supervisor(settings, shared, address, http)
        served = Served(address, metrics, http, supervisor.renew)
        return await supervisor.run(lambda: on_ready(served))


@contextmanager
def _reserved(address: Address) -> Iterator[Address]:
    """Reserves an address for the workers, without accepting connections.

    Yields:
        The address, with the real port.

    Raises:
        AddressError: Another process has it.
    """
    address.check_free()
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            holder.bind((address.host, address.port))
        except OSError as error:  # taken after the check
            raise address.listen_error(error) from None
        # Needed above if connections have just ended. If it stayed on, other processes could bind
        # the same address.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        yield address._replace(port=holder.getsockname()[1])


class _Supervisor:
    """Starts workers, and replaces those that end.

    Args:
        settings: The settings of the workers.
        shared: Their metrics. None: there are none.
        address: Where they listen, in place of the settings' address, which can have port 0.
        http: Where they serve the HTTP API.
    """

    def __init__(
        self,
        settings: Settings,
        shared: SharedMetrics | None,
        address: Address,
        http: Address | None,
    ) -> None:
        self._address = address
        self._http = http
        self._settings = self._addressed(settings)
        self._shared = shared
        self._stopping = asyncio.Event()
        self._ended_at_once = False
        self._ready = [asyncio.Event() for _ in range(settings.workers)]
        self._announcing: asyncio.Task[None] | None = None
        self._processes: dict[Process, asyncio.StreamWriter] = {}

    async def run(self, on_ready: Callable[[], None]) -> bool:
        """Runs until a signal ends it; see `supervise`."""
        loop = asyncio.get_running_loop()
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signal_number, self._stop)
        try:
            async with asyncio.TaskGroup() as group:
                for event in self._ready:
                    group.create_task(self._keep(event))
                self._announcing = group.create_task(_when_all(self._ready, on_ready))
        except* WorkerError:
            raise WorkerError("the workers do not start") from None
        return not self._ended_at_once

    async def renew(self, settings: Settings) -> None:
        """Changes the settings of all workers, once they are checked.

        Raises:
            ConfigError: Something that they name cannot be used.
        """
        await asyncio.to_thread(check_renewal, settings)
        self._settings = self._addressed(settings)
        self._order(_line(self._settings))

    def _addressed(self, settings: Settings) -> Settings:
        """The settings with the addresses that are reserved."""
        listen = None if self._http is None else str(self._http)
        http = settings.http.model_copy(update={"listen": listen})
        return settings.model_copy(update={"listen": str(self._address), "http": http})

    def _stop(self) -> None:
        """Handles a signal."""
        if self._stopping.is_set():
            self._ended_at_once = True
        self._stopping.set()
        if self._announcing is not None:
            self._announcing.cancel()
        self._order(NOW if self._ended_at_once else STOP)
        margin = _NOW_MARGIN if self._ended_at_once else self._settings.grace + _MARGIN
        asyncio.get_running_loop().call_later(margin, self._kill)

    def _order(self, order: bytes) -> None:
        for writer in self._processes.values():
            writer.write(order)

    def _kill(self) -> None:
        for process in self._processes:
            with suppress(ProcessLookupError):
                process.kill()

    async def _keep(self, ready: asyncio.Event) -> None:
        """Keeps one worker running.

        Raises:
            WorkerError: The first one ended before it was ready.
        """
        delay = 0.0
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._stopping.wait()
                    return
            started = time.monotonic()
            pid, code = await self._work(ready)
            if self._stopping.is_set():
                return
            if not ready.is_set():
                raise WorkerError
            is_new = time.monotonic() - started < _LONG
            delay = min(_MOST_DELAY, delay * 2) if is_new and delay else _FIRST_DELAY
            _logger.error("worker %d %s; the next one starts in %g s", pid, _ending(code), delay)

    async def _work(self, ready: asyncio.Event) -> tuple[int, int]:
        """Runs one worker until it ends; returns its id and exit code."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "chatpb_server.running.worker"),
                stdin=theirs.fileno(),
                process_group=0,  # a terminal's signals come through the supervisor
            )
        try:
            reader, writer = await asyncio.open_connection(sock=ours)
            writer.write(_line(self._settings))
            self._processes[process] = writer
            if self._stopping.is_set():
                writer.write(NOW if self._ended_at_once else STOP)
            with suppress(ConnectionError):
                if await reader.readline() == READY:
                    ready.set()
                    count = sum(event.is_set() for event in self._ready)
                    _logger.info(
                        "worker %d is ready (%d of %d)", process.pid, count, len(self._ready)
                    )
            return process.pid, await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            if process in self._processes:
                self._processes.pop(process).transport.abort()
            if self._shared is not None:
                self._shared.forget(process.pid)


async def _when_all(events: list[asyncio.Event], then: Callable[[], None]) -> None:
    for event in events:
        await event.wait()
    then()


def _line(settings: Settings) -> bytes:
    return settings.model_dump_json(exclude_unset=True).encode() + b"\n"


def _ending(code: int) -> str:
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
