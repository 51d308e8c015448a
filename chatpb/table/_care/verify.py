"""Checks whether the files of a table are what was written."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from chatpb._errors import ConversionError
from chatpb.table._errors import DatasetError, one_line
from chatpb.table._files.file_writer import digests
from chatpb.table._files.parts import Part
from chatpb.table._rows.batches import from_batch

_PIECE: Final = 8 << 20  # bytes that are read at once


@dataclass(frozen=True, slots=True)
class Verified:
    """What `Dataset.verify` found.

    Attributes:
        files: How many files were read.
        records: How many records they have.
        table_bytes: The bytes of the files.
        without_digest: How many files others wrote, so that there is no digest to compare with.
        damaged: The errors of files that are missing or damaged.
    """

    files: int
    records: int
    table_bytes: int
    without_digest: int
    damaged: tuple[DatasetError, ...]


def verify(parts: Iterable[Part], advance: Callable[[int], object]) -> Verified:
    """Reads files whole, see `Dataset.verify`."""
    files = records = size = without = 0
    damaged: list[DatasetError] = []
    for part in parts:
        files += 1
        expected = digests(part.name)
        without += expected is None
        try:
            if expected is not None and _digest(part, advance) != expected[0]:
                raise DatasetError(part.place, "damaged: its bytes are not what was written")
            found = _records(part)
            if part.rows is not None and found != part.rows:
                reason = f"damaged: it has {found:,} records, not {part.rows:,} as the log says"
                raise DatasetError(part.place, reason)
        except DatasetError as error:
            damaged.append(error)
            continue
        records += found
        size += part.size or 0
    return Verified(files, records, size, without, tuple(damaged))


def _digest(part: Part, advance: Callable[[int], object]) -> str:
    digest = hashlib.sha256()
    try:
        with part.open() as stream:
            while piece := stream.read(_PIECE):
                digest.update(piece)
                advance(len(piece))
    except FileNotFoundError:
        raise DatasetError(part.place, "missing") from None
    except OSError as error:
        raise DatasetError(part.place, f"cannot be read: {one_line(error)}") from None
    return digest.hexdigest()[:32]


def _records(part: Part) -> int:
    count = 0
    for batch in part.rows_stored():
        try:
            count += len(from_batch(batch))
        except ConversionError as error:
            place = f"row {count} and following"
            raise DatasetError(part.place, f"damaged: {place}: {error}") from None
    return count
