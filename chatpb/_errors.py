"""The errors of the library, and the forms that others need of an error."""

from __future__ import annotations

TYPE_CHECKING = False  # `import chatpb` does without the module `typing`
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import Any, TypeVar

    _T = TypeVar("_T")


class ChatpbError(Exception):
    """The base class of the errors that chatpb raises for data, files and calls."""


class ConversionError(ChatpbError, ValueError):
    """A value that cannot be converted, and where it is.

    Attributes:
        path: The place in the JSON document, such as ``$.choices[0].logprobs``.
        reason: What is wrong there and what was expected, in lower case.
        offset: The byte offset in the JSON text, or None if there is no text.
        line: The number of the line, from 1, of one document among many; otherwise None.
    """

    def __init__(
        self,
        reason: str,
        path: str = "$",
        offset: int | None = None,
        line: int | None = None,
    ) -> None:
        super().__init__(reason, path, offset, line)
        self.reason = reason
        self.path = path
        self.offset = offset
        self.line = line

    def __str__(self) -> str:
        where = self.path if self.offset is None else f"{self.path} (byte {self.offset})"
        line = "" if self.line is None else f"line {self.line}: "
        return f"{line}{where}: {self.reason}"

    def below(self, segment: str | int) -> ConversionError:
        """The same error, with a path that begins at the container of ``segment``."""
        path = "$" + path_segment(segment) + self.path.removeprefix("$")
        return ConversionError(self.reason, path, self.offset, self.line)


class ArgumentTypeError(ChatpbError, TypeError):
    """An argument of a type that a function does not take."""


class ArgumentValueError(ChatpbError, ValueError):
    """An argument with a value that a function does not take."""


class StateError(ChatpbError, RuntimeError):
    """An object was used after it was closed, or in another event loop than its own."""


def wrong_type(expected: str, got: object) -> ArgumentTypeError:
    """The error for an argument, which is described by its type only: it may be a secret.

    Args:
        expected: What the function takes, such as ``a message``.
        got: The argument.
    """
    kind = type(got).__qualname__
    article = "an" if kind[0] in "aeiouAEIOU" else "a"
    what = f"the class {got.__qualname__}" if isinstance(got, type) else f"{article} {kind}"
    return ArgumentTypeError(f"expected {expected}, got {'None' if got is None else what}")


def binary_of(record: Any) -> bytes:
    """The binary form of a message.

    Raises:
        ArgumentTypeError: It is not a message.
    """
    try:
        serialize = record.SerializeToString
    except AttributeError:
        raise wrong_type("a CompletionRecord or its binary form", record) from None
    data: bytes = serialize()
    return data


def path_of(path: Any) -> Path:
    """The path that an argument names.

    Raises:
        ArgumentTypeError: It is not a path.
    """
    from pathlib import Path

    try:
        return Path(path)
    except TypeError:
        raise wrong_type("a path", path) from None


def iterator_of(items: Iterable[_T], expected: str) -> Iterator[_T]:
    """The items of an argument.

    Args:
        items: The argument.
        expected: What the function takes, such as ``an iterable of chunks``.

    Raises:
        ArgumentTypeError: It is not iterable.
    """
    try:
        return iter(items)
    except TypeError:
        raise wrong_type(expected, items) from None


def path_segment(segment: str | int) -> str:
    """A member name or an array index, as it is written in a path."""
    if isinstance(segment, int):
        return f"[{segment}]"
    if segment.isascii() and segment.isidentifier():
        return f".{segment}"
    quoted = segment.replace("\\", "\\\\").replace("'", "\\'")
    return f"['{quoted.encode('utf-8', 'backslashreplace').decode()}']"


def param_of(path: str) -> str | None:
    """OpenAI's ``param`` for the path of an error; None for the whole document."""
    return path.removeprefix("$").removeprefix(".") or None


def os_error_text(error: OSError) -> str:
    """The system's reason for an error: one line, in lower case, without the name of the file."""
    return " ".join((error.strerror or str(error) or type(error).__name__).lower().split())
