"""Where results are written."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, Final

from chatpb._cli.failure import USAGE_ERROR, CliError, cannot_open
from chatpb._cli.reading.input import STDIN

STDOUT: Final = "-"


@contextmanager
def open_output(name: str, inputs: Sequence[str] = (), *, binary: bool) -> Iterator[BinaryIO]:
    """Opens a file to write, or standard output for ``-``.

    Args:
        name: The name of the file.
        inputs: The names of the files that are read at the same time.
        binary: Whether something other than text is written.

    Raises:
        CliError: The file cannot be opened or is an input, or bytes would go to a terminal.
    """
    if name == STDOUT:
        if binary and sys.stdout.isatty():
            raise CliError(
                "binary is not written to a terminal: pass -o FILE, or a pipe", USAGE_ERROR
            )
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    for source in inputs:
        if source != STDIN and _same_file(source, name):
            raise CliError(f"{name}: is both input and output", USAGE_ERROR)
    try:
        stream = open(name, "wb")  # noqa: SIM115 (closed below; errors in the body are not ours)
    except OSError as error:
        raise cannot_open(name, error) from None
    with stream:
        yield stream


def _same_file(source: str, output: str) -> bool:
    """Whether two names belong to one file. The first must exist, before the second is emptied."""
    try:
        found = os.stat(source)
    except OSError as error:
        raise cannot_open(source, error) from None
    try:
        return os.path.samestat(found, os.stat(output))
    except OSError:
        return False
