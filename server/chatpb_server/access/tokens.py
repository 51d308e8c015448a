"""Callers' tokens: who may call, kept as hashes.

A file has one caller in a line, ``NAME sha256:HEX``, and comments from ``#`` to the end of a line.
A name may be in several lines: a caller gets a new token while the old one still works. HEX is
the SHA-256 of the token. Unlike a password it needs neither salt nor a slow hash, because a token
of `new_token` is 256 random bits: the file tells nothing that helps to guess one, so it may be read
by others. Who may write it may call.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from chatpb_server.access.reload import Reloading, read_bytes

#: The header in which Azure's clients send their key.
API_KEY: Final = "api-key"
_PREFIX: Final = "chatpb_"  # makes a token that got somewhere easy to find
_NAME: Final = re.compile(rf"(?!{_PREFIX})[A-Za-z0-9][A-Za-z0-9._@:/+-]{{0,63}}")
_HASH: Final = re.compile(r"sha256:([0-9A-Fa-f]{64})")
_NAME_RULE: Final = (
    "up to 64 letters, digits and . _ @ : / + -, that begins with a letter or digit and not with"
    f" {_PREFIX}"
)


class TokensError(ValueError):
    """A file of tokens, or a caller's name, that cannot be used, with a text for the user.

    The text never repeats what is in the file: it may be a token.
    """


class Tokens:
    """The callers that a file names. The file is read again when it has changed.

    While a changed file cannot be used, the callers read before stay, and the log has a warning. A
    file without a caller cannot be used: it is more likely half-written than intended.

    Raises:
        TokensError: The file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._callers = Reloading([path], lambda: _read(path))

    def name_of(self, token: str) -> str | None:
        """Names the caller whose token it is, in a time that reveals nothing about the tokens.

        Returns:
            The name, or None if the token is unknown.
        """
        digest = _digest(token)
        name = None
        for known, caller in self._callers.get():
            if hmac.compare_digest(known, digest):  # and look at the rest all the same
                name = caller
        return name


def _read(path: Path) -> list[tuple[bytes, str]]:
    text = read_bytes(path, "tokens", TokensError).decode("utf-8-sig", "replace")
    callers: list[tuple[bytes, str]] = []
    lines: dict[bytes, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        fields = line.partition("#")[0].split()
        if not fields:
            continue
        found = _HASH.fullmatch(fields[-1])
        if len(fields) != 2 or not found:
            raise TokensError(
                f"{path}, line {number}: expected NAME sha256:HEX, with 64 digits, as"
                " `chatpb-server token NAME` prints it"
            )
        if not _NAME.fullmatch(fields[0]):
            raise TokensError(f"{path}, line {number}: expected a name of {_NAME_RULE}")
        digest = bytes.fromhex(found[1])
        if digest in lines:
            raise TokensError(
                f"{path}, line {number}: it repeats the token of line {lines[digest]}; give each"
                " line its own, from `chatpb-server token NAME`"
            )
        lines[digest] = number
        callers.append((digest, fields[0]))
    if not callers:
        raise TokensError(f"{path} names no caller: add a line from `chatpb-server token NAME`")
    return callers


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def new_token(name: str) -> tuple[str, str]:
    """Makes a token for a caller.

    Returns:
        The token, which the caller keeps secret, and the line for the file.

    Raises:
        TokensError: The name cannot be in the file.
    """
    if not _NAME.fullmatch(name):
        raise TokensError(f"expected a name of {_NAME_RULE}")
    token = _PREFIX + secrets.token_urlsafe(32)
    return token, f"{name} sha256:{_digest(token).hex()}"


def token_in(metadata: Iterable[tuple[str, str | bytes]] | None) -> str | None:
    """Finds the token in ``authorization: Bearer TOKEN``, or else in ``api-key: TOKEN``.

    Azure's clients send the latter.

    Args:
        metadata: What the caller has sent with the call.

    Returns:
        The token, or None if there is none, or more than one.
    """
    entries = [(key.lower(), value) for key, value in metadata or ()]
    if any(key == "authorization" for key, _ in entries):
        return bearer(entries)
    values = [value for key, value in entries if key == API_KEY]
    return values[0] if len(values) == 1 and isinstance(values[0], str) else None


def bearer(metadata: Iterable[tuple[str, str | bytes]] | None) -> str | None:
    """Finds the token in ``authorization: Bearer TOKEN``.

    Args:
        metadata: What the caller has sent with the call.

    Returns:
        The token, or None if there is none, or more than one authorization.
    """
    values = [value for key, value in metadata or () if key.lower() == "authorization"]
    if len(values) != 1 or not isinstance(values[0], str):
        return None
    match values[0].split():
        case [scheme, token] if scheme.lower() == "bearer":
            return token
    return None
