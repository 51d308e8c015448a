"""The files that a command names, opened and read one after the other."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from chatpb._cli.failure import USAGE_ERROR, CliError, at, cannot_open, reason
from chatpb._cli.reading.compressed import Advance
from chatpb._cli.reading.kinds import is_json
from chatpb._cli.reading.sniff import Format
from chatpb._cli.reading.source import MAX_BYTES, STDIN_NAME, Record, Source
from chatpb._errors import ConversionError

STDIN: Final = "-"
_IN_TABLE: Final = "_delta_log"  # every directory that is a table has one; it is not input


@dataclass(frozen=True, slots=True)
class Reading:
    """How input is read.

    Attributes:
        form: Its format, or None to find out.
        limit: The largest size of one message, line or event, in bytes.
        allow_nan: Whether NaN and infinities are kept.
    """

    form: Format | None = None
    limit: int = MAX_BYTES
    allow_nan: bool = False


_DEFAULT: Final = Reading()


@contextmanager
def open_source(
    name: str,
    reading: Reading = _DEFAULT,
    advance: Advance = lambda _: None,
    *,
    binary: Format = Format.BINARY,
    skipped: tuple[int, int] = (0, 0),
) -> Iterator[Source]:
    """Opens a file, or standard input for ``-``.

    Args:
        name: The name of the file.
        reading: How it is read.
        advance: As for `Source`.
        binary: As for `Source`.
        skipped: As for `Source`. The bytes are skipped here.

    Raises:
        CliError: The file cannot be opened.
    """
    form, limit = reading.form, reading.limit
    if name == STDIN:
        yield Source(STDIN_NAME, sys.stdin.buffer, form, limit, advance, binary)  # type: ignore[arg-type]
        return
    try:
        stream = open(name, "rb")  # noqa: SIM115 (closed below; errors in the body are not ours)
    except OSError as error:
        raise cannot_open(name, error) from None
    with stream:
        stream.seek(skipped[1])
        yield Source(name, stream, form, limit, advance, binary, skipped)


def read_all(names: Sequence[str], reading: Reading, advance: Advance) -> Iterator[Record]:
    """The records of all files.

    Raises:
        CliError: A file cannot be opened or read.
    """
    for name in names:
        with open_source(name, reading, advance) as source:
            yield from source.records()


def some(records: Iterator[Record], names: Sequence[str]) -> Iterator[Record]:
    """Records, of which there must be one.

    Raises:
        CliError: There is none.
    """
    first = next(records, None)
    if first is None:
        raise CliError(f"{', '.join(names)}: no message in it")
    yield first
    yield from records


def explained(record: Record, error: ConversionError) -> CliError:
    """A converter's error, with a hint if the file is something else than it was read as."""
    failure = at(record.place, error)
    if record.source.format is Format.BINARY:
        failure.text += "; if it is a stream of length-delimited messages, pass --format delimited"
    elif record.source.format is Format.JSON and not is_json(record.data):
        failure.text = f"{record.place}: not JSON: {reason(error)}"
    return failure


def nothing_in(names: Sequence[str]) -> str:
    """The error for directories that have no file that `walk` finds."""
    return f"{', '.join(names)}: no file in it that can be read"


def walk(names: Sequence[str], endings: tuple[str, ...]) -> Iterator[str]:
    """The named files, and in named directories all files below that have one of the endings.

    Raises:
        CliError: There is no such file.
    """
    for name in names:
        if name != STDIN and not os.path.exists(name):
            raise CliError(f"{name}: no such file or directory", USAGE_ERROR)
        if not os.path.isdir(name):
            yield name
            continue
        for folder, folders, members in os.walk(name):
            folders[:] = sorted(each for each in folders if each != _IN_TABLE)
            for member in sorted(members):
                if member.endswith(endings):
                    yield os.path.join(folder, member)
