"""A PostgreSQL server of Debian's package on this machine, in a temporary folder."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg

from support.limits import TIMEOUT

#: Where the server's programs are, as `make test-postgres` sets it.
VARIABLE: Final = "CHATPB_POSTGRES"
_USERS: Final = ("postgres", "nobody")  # it refuses root


class PostgresServer:
    """A server that can be stopped, killed and started again.

    Attributes:
        port: Its port, which it keeps.
    """

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._folder = folder
        self._as_user: dict[str, Any] = {}
        if os.getuid() == 0:
            user = next(each for each in pwd.getpwall() if each.pw_name in _USERS)
            os.chown(folder, user.pw_uid, user.pw_gid)
            self._as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._count = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._run("initdb", "--auth=trust", "--username=chatpb", "--no-sync", "--encoding=UTF8")

    def start(self) -> None:
        """Starts it and waits until it answers."""
        options = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
        self._process = subprocess.Popen(
            [
                self._programs / "postgres",
                *("-D", self._folder / "data", "-p", str(self.port)),
                *(f"--{name}={value}" for name, value in options.items()),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            **self._as_user,
        )
        end = time.monotonic() + TIMEOUT
        while True:
            assert self._process.poll() is None, "the server has ended"
            try:
                self.execute("SELECT 1")
                return
            except (OSError, asyncpg.PostgresError):
                assert time.monotonic() < end, "the server does not answer"
                time.sleep(0.05)

    @property
    def is_running(self) -> bool:
        """Whether it was started and not stopped."""
        return self._process is not None

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Ends it: with SIGINT in order, breaking connections; with SIGKILL as in a crash."""
        if self._process is not None:
            if number == signal.SIGKILL:  # the others notice that the first process is gone
                children = self._children()
            self._process.send_signal(number)
            self._process.wait(TIMEOUT)
            self._process = None
            if number == signal.SIGKILL:
                _wait_for(children)

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Executes a statement on a connection of its own."""

        async def run() -> None:
            connection = await asyncpg.connect(self._url(database), timeout=TIMEOUT)
            await connection.execute(statement)
            await connection.close()

        asyncio.run(run())

    def new_database(self) -> str:
        """The URL of a new database."""
        self._count += 1
        name = f"test_{self._count}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        return self._url(name)

    def _url(self, database: str) -> str:
        return f"postgresql://chatpb@127.0.0.1:{self.port}/{database}"

    def _children(self) -> list[int]:
        assert self._process is not None
        path = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return [int(number) for number in path.read_text().split()]

    def _run(self, program: str, *options: str) -> None:
        subprocess.run(
            [self._programs / program, "-D", self._folder / "data", *options],
            check=True,
            capture_output=True,
            cwd="/",
            **self._as_user,
        )


def _wait_for(processes: list[int]) -> None:
    end = time.monotonic() + TIMEOUT
    while any(Path(f"/proc/{process}").exists() for process in processes):
        assert time.monotonic() < end, "processes of the server do not end"
        time.sleep(0.02)


@contextmanager
def served(programs: str) -> Iterator[PostgresServer]:
    """Runs a server, and removes it at the end.

    Args:
        programs: The folder with `initdb` and `postgres`.
    """
    folder = Path(tempfile.mkdtemp(prefix="chatpb-postgres-"))
    try:
        server = PostgresServer(Path(programs), folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)
