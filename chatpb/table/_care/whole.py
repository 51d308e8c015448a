"""Checks whether the bytes of a file are what was written."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

from chatpb.table._delta.trouble import one_line
from chatpb.table._errors import DatasetError
from chatpb.table._files.file_writer import digests
from chatpb.table._files.parts import Part

_PIECE: Final = 8 << 20  # bytes that are read at once


def check_digest(part: Part, advance: Callable[[int], object] = int) -> bool:
    """Compares all bytes of a file with the digest in its name; False if it has none.

    Raises:
        DatasetError: It is missing, damaged, or cannot be read.
    """
    expected = digests(part.name)
    if expected is not None and _digest(part, advance) != expected[0]:
        raise DatasetError(part.place, "damaged: its bytes are not what was written")
    return expected is not None


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
