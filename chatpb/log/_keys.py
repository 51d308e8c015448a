"""The keys of encrypted logs: a file of them, which is read again when it has changed.

A line has one key, ``ID aes256:HEX``, and comments from ``#`` to the end of a line. The last one
encrypts, so to append a line is to change the key; all of them decrypt.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from chatpb._errors import os_error_text, path_of
from chatpb._extras import install_command, package_of
from chatpb._reloading import Reloading
from chatpb.log._errors import KeyFileError, LogKeyError

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ID_RULE: Final = "up to 64 letters, digits and . _ -, that begins with a letter or digit"
_KEY: Final = re.compile(r"aes256:([0-9A-Fa-f]{64})")
_OTHERS: Final = stat.S_IRWXO

_logger: Final = logging.getLogger("chatpb.log")


class LogKey(NamedTuple):
    """A key.

    Attributes:
        id: Its name, which headers of logs mention.
        secret: 32 random bytes.
    """

    id: str
    secret: bytes

    def __repr__(self) -> str:
        return f"<the key {self.id}>"


class KeyFile:
    """The keys that a file names. The file is read again when it has changed; a pipe, only once.

    A line is ``ID aes256:HEX``, as `new_key` makes it. The last one encrypts what is written from
    then on. While a changed file cannot be used, the keys read before stay, and the log has a
    warning; there is one, too, if every user of the machine can read the file.

    Args:
        path: The file.
        logger: Where warnings go.

    Raises:
        KeyFileError: The file cannot be used.
        ModuleNotFoundError: The package `cryptography` is missing.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, logger: logging.Logger | None = None
    ) -> None:
        try:
            import cryptography  # noqa: F401 (it has its own extra)
        except ModuleNotFoundError as error:
            package = package_of(error)
            hint = f"encrypted logs need {package}: {install_command('encryption')}"
            raise ModuleNotFoundError(hint, name=package) from error
        self.path: Final = path_of(path)
        self._logger = logger or _logger
        self._piped: dict[str, LogKey] | None = None  # what was read from a pipe
        self._keys = Reloading([self.path], self._read, self._logger)

    @property
    def current(self) -> LogKey:
        """The key that encrypts."""
        return list(self._keys.get().values())[-1]

    @property
    def ids(self) -> tuple[str, ...]:
        """The names of the keys, in the order of the file."""
        return tuple(self._keys.get())

    def get(self, key_id: str) -> LogKey | None:
        """A key by its name."""
        return self._keys.get().get(key_id)

    def _read(self) -> dict[str, LogKey]:
        if self._piped is not None:
            return self._piped
        try:
            with self.path.open("rb") as stream:
                data = stream.read()
                mode = os.fstat(stream.fileno()).st_mode
        except OSError as error:
            raise KeyFileError(self.path, f"cannot be read: {os_error_text(error)}") from None
        if stat.S_ISREG(mode) and mode & _OTHERS:
            text = "%s has keys, and every user of the machine has access to it (chmod 600)"
            self._logger.warning(text, self.path)
        keys = _parsed(self.path, data.decode("utf-8-sig", "replace"))
        if stat.S_ISFIFO(mode):
            self._piped = keys
        return keys

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    def __reduce__(self) -> tuple[type[KeyFile], tuple[Path]]:
        return type(self), (self.path,)  # a pickle has no keys: they are read where it is loaded


def as_keys(keys: KeyFile | str | os.PathLike[str] | None) -> KeyFile | None:
    """The keys of an argument that may be the name of their file."""
    return keys if keys is None or isinstance(keys, KeyFile) else KeyFile(keys)


def key_of(keys: KeyFile | None, key_id: str, path: Path) -> LogKey:
    """The key with which a part of a log is encrypted.

    Raises:
        LogKeyError: It is not there.
    """
    if keys is None:
        reason = f"encrypted with the key {key_id!r}; pass the file that has it: keys=FILE"
        raise LogKeyError(path, reason, key_id)
    key = keys.get(key_id)
    if key is None:
        reason = f"encrypted with the key {key_id!r}, which {keys.path} does not have;"
        raise LogKeyError(path, f"{reason} add the line of that key", key_id)
    return key


def new_key(key_id: str | None = None) -> str:
    """The line of a new key, for a file of keys.

    Args:
        key_id: Its name, which is not secret. None: today's date and four random letters.

    Raises:
        ValueError: The name cannot be in the file.
    """
    if key_id is None:
        key_id = f"{datetime.now(UTC):%Y%m%d}-{secrets.token_hex(2)}"
    if not _ID.fullmatch(key_id):
        raise ValueError(f"expected a name of {_ID_RULE}")
    return f"{key_id} aes256:{secrets.token_hex(32)}"


def _parsed(path: Path, text: str) -> dict[str, LogKey]:
    """The keys of a file. No error repeats what is in it."""
    keys: dict[str, LogKey] = {}
    secrets_seen: set[bytes] = set()
    for number, line in enumerate(text.split("\n"), 1):
        fields = line.partition("#")[0].split()
        if not fields:
            continue
        found = _KEY.fullmatch(fields[-1])
        if len(fields) != 2 or not found:
            expected = "expected ID aes256:HEX, with 64 digits, as `chatpb-server key` prints it"
            raise KeyFileError(path, f"line {number}: {expected}")
        if not _ID.fullmatch(fields[0]):
            raise KeyFileError(path, f"line {number}: expected a name of {_ID_RULE}")
        secret = bytes.fromhex(found[1])
        if fields[0] in keys or secret in secrets_seen:
            what = "name" if fields[0] in keys else "key"
            raise KeyFileError(path, f"line {number}: it repeats the {what} of an earlier line")
        keys[fields[0]] = LogKey(fields[0], secret)
        secrets_seen.add(secret)
    if not keys:
        raise KeyFileError(path, "it has no key: add a line from `chatpb-server key`")
    return keys
