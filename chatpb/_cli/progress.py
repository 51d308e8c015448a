"""A progress bar for long input."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from chatpb._cli.reading.compressed import Advance
from chatpb._cli.reading.input import STDIN

_LONG: Final = 4 << 20  # bytes; less is read before anybody could look at a bar


@contextmanager
def progress(names: Sequence[str], *, output: str | None = None) -> Iterator[Advance]:
    """Yields a function to call with the number of bytes read.

    A bar is shown on standard error if that is a terminal, the size of the input is known and
    large, and the results do not go to the terminal themselves.

    Args:
        names: The files that are read.
        output: The file that is written; None for little output.
    """
    total = _size(names)
    mixed = output == "-" and sys.stdout.isatty()
    if total < _LONG or mixed or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), DownloadColumn(binary_units=True), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda size: bar.advance(task, size)


def _size(names: Sequence[str]) -> int:
    """The bytes of all files together; 0 if one is not a plain file."""
    if STDIN in names or not all(os.path.isfile(name) for name in names):
        return 0
    return sum(os.path.getsize(name) for name in names)
