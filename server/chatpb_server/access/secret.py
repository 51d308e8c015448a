"""Secrets that the relay holds, and what a header can contain."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from chatpb_server.access.reload import Reloading, read_bytes

_SECRET: Final = re.compile(r"[!-~]([ -~]*[!-~])?")
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110: token
_HEADER_VALUE: Final = re.compile(r"[\t -~]*")
_METADATA_KEY: Final = re.compile(r"(?!grpc-)[a-z0-9_.-]+(?<!-bin)")
#: The headers of a request that the relay itself, or HTTP, sets.
OWN_HEADERS: Final = frozenset(
    ("connection", "content-length", "content-type", "host", "te", "transfer-encoding")
)


class SecretError(ValueError):
    """A secret that cannot be used. The text is for the user and does not contain it."""


class HeaderError(ValueError):
    """A header that cannot be sent. The text does not contain its value."""


class Secret:
    """A value that only `reveal` gives: neither `repr` nor `str` nor an error contains it.

    It is one line of printable ASCII, and so cannot split a header. Secrets come from the
    environment or a file, never from the command line, which every user of the machine can read.
    """

    def __init__(self, source: str, get: Callable[[], str]) -> None:
        self._source = source
        self._get = get

    @classmethod
    def from_env(cls, variable: str, environ: Mapping[str, str] = os.environ) -> Secret:
        """Takes a secret from an environment variable, as it is now.

        Raises:
            SecretError: It is not set, empty, or not one line of printable ASCII.
        """
        source = f"the environment variable {variable}"
        if variable not in environ:
            raise SecretError(f"{source} is not set: it must contain a secret")
        value = _check(environ[variable], source)
        return cls(source, lambda: value)

    @classmethod
    def from_file(cls, path: Path) -> Secret:
        """Takes a secret from a file, and again when the file has changed.

        While a changed file cannot be used, the secret read before stays, and the log has a
        warning.

        Raises:
            SecretError: The file cannot be read, is empty, or not one line of printable ASCII.
        """

        def read() -> str:
            data = read_bytes(path, "secret", SecretError)
            return _check(data.decode("utf-8", "replace"), str(path))

        return cls(str(path), Reloading([path], read).get)

    def reveal(self) -> str:
        """The secret itself, as it is now, without a line's end."""
        return self._get()

    def __repr__(self) -> str:
        return f"<secret from {self._source}>"


def _check(text: str, source: str) -> str:
    value = text.rstrip("\r\n")
    if not value:
        raise SecretError(f"{source} is empty: it must contain a secret")
    if not _SECRET.fullmatch(value):
        raise SecretError(
            f"{source} must contain a secret of one line, in printable ASCII, with no space before"
            " or after it"
        )
    return value


def check_header(name: str, value: str) -> None:
    """Makes sure that a header is one header, whoever reads it.

    Raises:
        HeaderError: The name is not a token as HTTP has it, or the value has other than printable
            ASCII and tabs: a line's end, or what some software takes for one.
    """
    if not _HEADER_NAME.fullmatch(name):
        raise HeaderError("expected a header's name of letters, digits and !#$%&'*+-.^_`|~")
    if not _HEADER_VALUE.fullmatch(value):
        raise HeaderError(f"expected printable ASCII as the value of the header {name}")


def is_metadata_key(name: str) -> bool:
    """Whether a name can be the key of gRPC metadata whose values are text."""
    return _METADATA_KEY.fullmatch(name) is not None
