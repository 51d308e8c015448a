"""Commands on a terminal, as people see them."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from support.forked_process import kept_environ
from support.limits import TIMEOUT, within

_LAST: Final = "Ctrl-C stops it."


@asynccontextmanager
async def relay_on_terminal(*arguments: object) -> AsyncIterator[list[str]]:
    """What a relay shows when it is ready; its logs go elsewhere."""
    ours, theirs = pty.openpty()
    script = Path(sys.executable).with_name("chatpb-server")
    command = [str(script), *map(str, arguments)]
    with subprocess.Popen(
        command, stdout=theirs, stderr=subprocess.DEVNULL, env=kept_environ()
    ) as process:
        os.close(theirs)
        try:
            with os.fdopen(ours, "rb", 0) as terminal:
                yield await within(asyncio.to_thread(_lines, terminal.fileno()))
                process.terminate()
                process.wait(TIMEOUT)
        finally:
            process.kill()


def _lines(terminal: int) -> list[str]:
    data = b""
    while _LAST.encode() not in data:
        data += os.read(terminal, 65536)
    return data.decode().replace("\r\n", "\n").splitlines()


def tried(lines: list[str], program: str) -> str:
    """The command with which a relay can be tried by a program."""
    [command] = [line.strip() for line in lines if line.strip().startswith(f"{program} ")]
    return command


async def shell(command: str, **variables: str) -> tuple[int, str, str]:
    """The exit code, the output and the errors of a command for a shell."""
    done = await within(
        asyncio.to_thread(
            subprocess.run,
            ["sh", "-c", command],
            capture_output=True,
            text=True,
            env={**kept_environ(), **variables},
            timeout=TIMEOUT,
        )
    )
    return done.returncode, done.stdout, done.stderr
