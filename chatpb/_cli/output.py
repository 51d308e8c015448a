"""Where results are written."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import BinaryIO, Final, Self

from chatpb._cli.failure import USAGE_ERROR, CliError, cannot_open
from chatpb._cli.reading.input import STDIN

STDOUT: Final = "-"
_LONG: Final = 1 << 20


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


class Lines:
    """Writes lines to a file, or to several files of a limited size.

    The second file of ``x.jsonl`` is ``x-00002.jsonl``; the first one is ``x-00001.jsonl`` if sizes
    are limited. A line that is longer than the limit has a file of its own.

    Args:
        name: The name of the file, or ``-`` for standard output.
        max_bytes: The most bytes in one file, if they are limited.
        max_lines: The most lines in one file, if `max_bytes` is given.

    Attributes:
        files: How many files there are.
    """

    def __init__(
        self, name: str, max_bytes: int | None = None, max_lines: int | None = None
    ) -> None:
        self.files = 0
        self._name = name
        self._max_bytes = max_bytes
        self._max_lines = max_lines
        self._bytes = 0
        self._lines = 0
        self._stack = ExitStack()
        self._out: BinaryIO | None = None

    def __enter__(self) -> Self:
        self._next()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def write(self, line: bytes) -> None:
        """Writes a line, which has no line break at its end.

        Raises:
            CliError: Another file cannot be opened.
        """
        size = len(line) + 1
        if self._max_bytes is not None and self._lines and self._is_full(size):
            self._next()
        assert self._out is not None
        write_line(self._out, line)
        self._bytes += size
        self._lines += 1

    def _is_full(self, size: int) -> bool:
        assert self._max_bytes is not None
        has_lines = self._max_lines is not None and self._lines >= self._max_lines
        return has_lines or self._bytes + size > self._max_bytes

    def _next(self) -> None:
        self._stack.close()
        self.files += 1
        self._bytes = self._lines = 0
        name = self._name
        if self._max_bytes is not None:
            stem, ending = os.path.splitext(name)
            name = f"{stem}-{self.files:05}{ending}"
        self._out = self._stack.enter_context(open_output(name, binary=False))


def write_line(out: BinaryIO, line: bytes) -> None:
    """Writes a line and a line break. A long line is not copied."""
    if len(line) < _LONG:
        out.write(line + b"\n")
    else:
        out.write(line)
        out.write(b"\n")


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
