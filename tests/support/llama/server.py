"""Starts llama.cpp's server, and asks it what it is doing."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from support.limits import TIMEOUT

#: Names the folder of the environment that `make test-llama` installs.
VARIABLE: Final = "CHATPB_LLAMA"
_MODEL: Final = "model.gguf"
_SCRIPT: Final = Path(__file__).with_name("serve.py")
_DECODED: Final = "llamacpp:n_decode_total "


def folder() -> Path | None:
    """The folder of the environment with llama.cpp, if there is one."""
    name = os.environ.get(VARIABLE)
    return Path(name) if name else None


@dataclass(frozen=True)
class Llama:
    """A server that runs.

    Attributes:
        url: Its address, without a path.
    """

    url: str

    def is_idle(self) -> bool:
        """Whether it generates nothing."""
        slots: list[dict[str, Any]] = json.loads(self._get("/slots"))
        return not any(slot["is_processing"] for slot in slots)

    def decoded(self) -> int:
        """How many times it ran the model so far: about once for each token of an answer."""
        lines = self._get("/metrics").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(_DECODED))

    def _get(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=TIMEOUT) as answer:
            return str(answer.read().decode())


@contextmanager
def serving(environment: Path) -> Iterator[Llama]:
    """A server with the model, in a process of its own.

    Args:
        environment: The folder of the environment that it is installed in.
    """
    command = (environment / "bin" / "python", _SCRIPT, environment / _MODEL)
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline().strip()
            assert line.startswith("http://"), process.communicate(timeout=TIMEOUT)
            yield Llama(line)
        finally:
            process.kill()
