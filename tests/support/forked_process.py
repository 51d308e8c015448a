"""A forked process (see `support.fork_server`), used as asyncio's processes are."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from asyncio import StreamReader, StreamReaderProtocol, StreamWriter
from asyncio.subprocess import Process
from functools import cache
from typing import Any

from support.fork_server import ForkServer, Program, Started


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


async def forked(
    program: Program, arguments: list[str], environ: dict[str, str], *, limit: int = 65536
) -> Process:
    """Starts a process.

    Args:
        program: What it runs. A relay has no standard input, and an upstream writes its errors to
            that of this process.
        arguments: Its arguments.
        environ: Its environment.
        limit: How many bytes a line of its output may have.
    """
    is_relay = program == "relay"
    ours, theirs = socket.socketpair()
    output, output_end = os.pipe()
    errors, errors_end = os.pipe() if is_relay else (None, os.dup(2))
    files = [theirs.fileno(), output_end, errors_end]
    try:
        started = await asyncio.to_thread(
            lambda: _server().start(program, arguments, environ, files)
        )
    finally:
        theirs.close()
        os.close(output_end)
        os.close(errors_end)
    if is_relay:
        ours.close()
    return _Forked(
        started,
        None if is_relay else (await asyncio.open_connection(sock=ours))[1],
        await _read(output, limit),
        None if errors is None else await _read(errors, limit),
    )


async def _read(file: int, limit: int) -> StreamReader:
    reader = StreamReader(limit)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: StreamReaderProtocol(reader), os.fdopen(file, "rb", 0)
    )
    return reader


class _Forked(Process):
    """A child of the fork server, which reports how it ends."""

    def __init__(
        self,
        started: Started,
        stdin: StreamWriter | None,
        stdout: StreamReader,
        stderr: StreamReader | None,
    ) -> None:
        self.pid, self.stdin, self.stdout, self.stderr = started.pid, stdin, stdout, stderr
        self._code: int | None = None
        self._ending = asyncio.ensure_future(self._end(started))

    async def _end(self, started: Started) -> int:
        reader, writer = await asyncio.open_connection(sock=started.ending)
        self._code = int(await reader.read())
        writer.close()
        if self.stdin is not None:
            self.stdin.close()
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
        assert self.stdout is not None
        assert self.stderr is not None
        output, errors, _ = await asyncio.gather(
            self.stdout.read(), self.stderr.read(), self._ending
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
