"""Values that are read from files, and again when the files change."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from chatpb import _reloading
from chatpb._errors import os_error_text
from chatpb._reloading import read_all_again

__all__ = ["Reloading", "read_all_again", "read_bytes"]

_Value = TypeVar("_Value")
_logger = logging.getLogger(__name__)


class Reloading(_reloading.Reloading[_Value]):
    """As in the library, with the server's log."""

    def __init__(self, paths: Sequence[Path], read: Callable[[], _Value]) -> None:
        super().__init__(paths, read, _logger)


def read_bytes(path: Path, what: str, error: Callable[[str], ValueError]) -> bytes:
    """Reads a file.

    Args:
        path: Where it is.
        what: What it holds, for the text of the error, such as ``certificate``.
        error: The type of the error.

    Raises:
        ValueError: Of the type `error`: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as failure:
        reason = os_error_text(failure)
        raise error(f"cannot read the {what} {path}: {reason}") from None
