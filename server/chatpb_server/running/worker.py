"""One of several processes that serve the same ports. See `chatpb_server.running.workers`."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from contextlib import suppress

from chatpb_server.access.address import AddressError
from chatpb_server.running.build import Served, relaying
from chatpb_server.running.config import ConfigError
from chatpb_server.running.garbage import spare_what_stays
from chatpb_server.running.settings import Settings
from chatpb_server.running.workers import LIMIT, NOW, READY, STOP
from chatpb_server.watching.logs import configure_logging

_logger = logging.getLogger(__name__)


async def _serve_as_worker() -> int:
    """Serves with the settings from the supervisor; returns the exit code."""
    channel = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    reader, writer = await asyncio.open_connection(sock=channel, limit=LIMIT)
    settings = Settings.model_validate_json(await reader.readline())
    configure_logging(settings.log.format, settings.log.level)
    stopping = asyncio.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_number, stopping.set)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the supervisor handles it for all
    renewals: asyncio.Queue[Settings] = asyncio.Queue()
    serving = asyncio.ensure_future(_serve(settings, writer, stopping, renewals))
    obeying = asyncio.ensure_future(_obey(reader, stopping, serving, renewals))
    try:
        await serving
    except asyncio.CancelledError:
        return 1
    except (AddressError, ConfigError) as error:
        sys.stderr.write(f"chatpb-server: {error}\n")
        return 1
    finally:
        obeying.cancel()
        writer.transport.abort()
    return 0


async def _serve(
    settings: Settings,
    writer: asyncio.StreamWriter,
    stopping: asyncio.Event,
    renewals: asyncio.Queue[Settings],
) -> None:
    async with relaying(settings, as_worker=True) as served:
        spare_what_stays()
        writer.write(READY)
        renewing = asyncio.ensure_future(_renew(served, renewals))
        await stopping.wait()
        renewing.cancel()


async def _renew(served: Served, renewals: asyncio.Queue[Settings]) -> None:
    while True:
        settings = await renewals.get()
        try:
            await served.renew(settings)
        except ConfigError as error:  # changed since the supervisor checked it
            _logger.error("the settings stay as they are: %s", "; ".join(error.mistakes))
        else:
            configure_logging(settings.log.format, settings.log.level)


async def _obey(
    reader: asyncio.StreamReader,
    stopping: asyncio.Event,
    serving: asyncio.Future[None],
    renewals: asyncio.Queue[Settings],
) -> None:
    with suppress(ConnectionError):
        while order := await reader.readline():
            if order not in (STOP, NOW):
                renewals.put_nowait(Settings.model_validate_json(order))
                continue
            stopping.set()
            if order == NOW:
                serving.cancel()
    stopping.set()  # the supervisor has ended


if __name__ == "__main__":
    sys.exit(asyncio.run(_serve_as_worker()))
