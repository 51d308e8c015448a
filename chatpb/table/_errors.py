"""The errors of tables."""

from __future__ import annotations

import os
import re
from typing import Final

from chatpb._errors import ChatpbError

_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
_ARROW: Final = re.compile(r"\s*↳")
_XML: Final = re.compile(r"<\?xml.*?<Message>(.*?)</Message>.*", re.DOTALL)


def one_line(error: BaseException | None) -> str:
    """The text of an error of others, without colours, line breaks and the XML of object stores."""
    text = _ARROW.sub(":", _COLOUR.sub("", str(error)))
    return " ".join(_XML.sub(r"\1", text).split())


class DatasetError(ChatpbError):
    """A dataset that cannot be read or written.

    Attributes:
        path: The file or directory, or its URI.
        reason: What is wrong with it.
    """

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        self.path = os.fspath(path)
        self.reason = reason
        super().__init__(self.path, reason)

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class DatasetConflictError(DatasetError):
    """A commit that another writer's commit made impossible. Nothing was changed.

    The other one took the same input, or removed or replaced the same files. Read the table again
    to see what is left to do.
    """


class QueryError(ChatpbError, ValueError):
    """SQL that is wrong.

    Attributes:
        reason: What is wrong, in one line, with the place if it is known.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)
