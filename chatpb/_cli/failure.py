"""How errors are reported: in one line, and with an exit code."""

from __future__ import annotations

import re
from typing import Final

from chatpb._errors import ConversionError, os_error_text

DATA_ERROR: Final = 1  # the data is wrong, or differs
USAGE_ERROR: Final = 2  # the command line is wrong, or names a file that cannot be opened
CALL_FAILED: Final = 64  # plus the number of the call's gRPC status, as grpcurl exits
INTERRUPTED: Final = 130  # as shells report SIGINT
BROKEN_PIPE: Final = 141  # as shells report SIGPIPE

_ARGUMENT: Final = re.compile(r"pass (\w+)=True")


class CliError(Exception):
    """A mistake in the data or on the command line.

    Attributes:
        text: What is wrong, and where.
        code: The exit code.
    """

    def __init__(self, text: str, code: int = DATA_ERROR) -> None:
        super().__init__(text)
        self.text = text
        self.code = code


def at(place: str, error: ConversionError) -> CliError:
    """A converter's error, with the file, line or event where it occurred."""
    return CliError(f"{place}: {reason(error)}")


def reason(error: ConversionError) -> str:
    """The text of a converter's error, which names options instead of arguments."""
    return _ARGUMENT.sub(lambda match: "pass --" + match[1].replace("_", "-"), str(error))


def cannot_open(name: str, error: OSError) -> CliError:
    """The error of a file that cannot be opened."""
    return CliError(f"{name}: {os_error_text(error)}", USAGE_ERROR)


def one_line(text: str) -> str:
    """A text with its line breaks and runs of white space as single spaces; see `printable`."""
    return printable(" ".join(text.split()))


def printable(text: str) -> str:
    """A text of somebody else, without what would move the cursor of a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
