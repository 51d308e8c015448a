"""Forks relays and upstreams from a process that has imported all that they need.

A start takes a hundredth of a second of CPU time, and not two thirds of a second. The process
is this file, run as a script with a Unix socket as its standard input. It serves one test process,
and ends with it.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

Program = Literal["relay", "upstream"]
_MOST: Final = 1024 * 1024
#: Of the numbers that are sent, in bytes.
_WIDTH: Final = 16


class Started(NamedTuple):
    """A process that was forked.

    Attributes:
        pid: Its id.
        ending: Yields its exit code as text, and then ends.
    """

    pid: int
    ending: socket.socket


class ForkServer:
    """The client's side, for use from any thread."""

    def __init__(self, environ: dict[str, str]) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = (sys.executable, "-P", __file__)
        with theirs:
            self._process = subprocess.Popen(
                command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, env=environ
            )
        atexit.register(self._close)

    def start(
        self, program: Program, arguments: list[str], environ: dict[str, str], files: list[int]
    ) -> Started:
        """Starts a process.

        Args:
            program: What it runs.
            arguments: Its arguments.
            environ: Its environment.
            files: Its standard input, output and error.
        """
        request = json.dumps([program, arguments, environ, os.getcwd()]).encode()
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._socket, [request], [*files, theirs.fileno()])
        pid = ours.recv(_WIDTH, socket.MSG_WAITALL)
        assert pid, "the fork server has ended"
        return Started(int(pid), ours)

    def _close(self) -> None:
        self._socket.close()
        self._process.wait()


class _Request(NamedTuple):
    program: Program
    arguments: list[str]
    environ: dict[str, str]
    folder: str
    files: list[int]


def _serve(requests: socket.socket) -> _Request | None:
    """Forks for each request. Returns it in the child; None when no more can come."""
    running: dict[int, tuple[int, socket.socket]] = {}
    poll = select.poll()
    poll.register(requests, select.POLLIN)
    while True:
        for file, _ in poll.poll():
            if file in running:
                pid, ending = running.pop(file)
                poll.unregister(file)
                os.close(file)
                _, status = os.waitpid(pid, 0)
                with ending:
                    _tell(ending, os.waitstatus_to_exitcode(status))
                continue
            data, files, _, _ = socket.recv_fds(requests, _MOST, 4)
            if not data:
                for pid, _ in running.values():
                    os.kill(pid, signal.SIGKILL)
                return None
            ending = socket.socket(fileno=files.pop())
            pid = os.fork()
            if pid == 0:
                ending.close()
                for file, (_, other) in running.items():
                    os.close(file)
                    other.close()
                program, arguments, environ, folder = json.loads(data)
                return _Request(program, arguments, environ, folder, files)
            for file in files:
                os.close(file)
            file = os.pidfd_open(pid)
            running[file] = pid, ending
            poll.register(file, select.POLLIN)
            _tell(ending, pid)


def _tell(connection: socket.socket, number: int) -> None:
    with suppress(OSError):  # nobody waits for it
        connection.sendall(f"{number:{_WIDTH}}".encode())


def _main() -> Any:
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # as the relay does
    from chatpb_server.running import cli, main
    from chatpb_server.watching import recording

    sys.path.append(str(Path(__file__).parents[1]))
    from support.http_upstream import __main__ as upstream

    sys.path.pop()
    assert cli
    assert recording
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=os.dup(0)) as requests:
        request = _serve(requests)
    if request is None:
        return None
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(request.environ)
    os.chdir(request.folder)
    for number, file in enumerate(request.files):
        os.dup2(file, number)
        os.close(file)
    if request.program == "upstream":
        return upstream.run(*map(int, request.arguments))
    sys.argv = ["chatpb-server", *request.arguments]
    return main.main()


if __name__ == "__main__":
    sys.exit(_main())
