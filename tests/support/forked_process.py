"""A forked relay process (see `support.fork_server`), used as asyncio's processes are."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio import StreamReader, StreamReaderProtocol
from asyncio.subprocess import Process
from functools import cache
from typing import Any

from support.fork_server import ForkServer, Started


def kept_environ() -> dict[str, str]:
    """The environment without settings of relays."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CHATPB_SERVER_", "OPENAI_", "OTEL_", "PROMETHEUS_"))
        and not name.lower().endswith("_proxy")
    }


@cache
def _server() -> ForkServer:
    return ForkServer(kept_environ())


async def forked(arguments: list[str], environ: dict[str, str]) -> Process:
    """Starts a relay."""
    (output, output_end), (errors, errors_end) = os.pipe(), os.pipe()
    try:
        started = await asyncio.to_thread(
            lambda: _server().start(arguments, environ, output_end, errors_end)
        )
    finally:
        os.close(output_end)
        os.close(errors_end)
    return _Forked(started, await _read(output), await _read(errors))


async def _read(file: int) -> StreamReader:
    reader = StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: StreamReaderProtocol(reader), os.fdopen(file, "rb", 0)
    )
    return reader


class _Forked(Process):
    """A child of the fork server, which reports how it ends."""

    def __init__(self, started: Started, output: StreamReader, errors: StreamReader) -> None:
        self.pid, self.stdin, self.stdout, self.stderr = started.pid, None, output, errors
        self._output, self._errors = output, errors
        self._code: int | None = None
        self._ending = asyncio.ensure_future(self._end(started))

    async def _end(self, started: Started) -> int:
        reader, writer = await asyncio.open_connection(sock=started.ending)
        self._code = int(await reader.read())
        writer.close()
        return self._code

    @property
    def returncode(self) -> int | None:
        """The exit code, once it is known."""
        return self._code

    async def wait(self) -> int:
        """Waits for the end; returns the exit code."""
        return await asyncio.shield(self._ending)

    async def communicate(self, _: Any = None) -> tuple[bytes, bytes]:
        """Waits for the end; returns what is left of the output and the errors."""
        output, errors, _ = await asyncio.gather(
            self._output.read(), self._errors.read(), self._ending
        )
        return output, errors

    def send_signal(self, number: int) -> None:
        """Sends a signal.

        Raises:
            ProcessLookupError: It has ended.
        """
        if self._code is not None:
            raise ProcessLookupError
        os.kill(self.pid, number)

    def terminate(self) -> None:
        """Sends SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Sends SIGKILL."""
        self.send_signal(signal.SIGKILL)
