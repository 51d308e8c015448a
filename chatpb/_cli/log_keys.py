"""The file of keys that a command is given."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chatpb.log import KeyFile


class LogKeys:
    """A file of keys, which is opened when the first log needs it.

    All logs of a command share it, since a pipe can be read only once.

    Args:
        name: The file.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    @functools.cached_property
    def file(self) -> KeyFile:
        """The keys.

        Raises:
            KeyFileError: The file cannot be used.
        """
        from chatpb.log import KeyFile

        return KeyFile(self._name)
