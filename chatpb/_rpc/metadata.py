"""The metadata of a call: what can be sent, and how it is looked up."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

Metadata = Iterable[tuple[str, str | bytes]]
NO_METADATA: Final[Mapping[str, str | bytes]] = MappingProxyType({})

_KEY: Final = re.compile(r"[0-9a-z_.-]+")
_VALUE: Final = re.compile(r"[\x20-\x7e]*")


def checked(metadata: Metadata) -> list[tuple[str, str | bytes]]:
    """The metadata with keys in lower case. gRPC's own errors name neither the key nor the value.

    Raises:
        ValueError: The metadata cannot be sent. The error names the key, but not the value, which
            may be a secret.
    """
    pairs = [(key.lower(), value) for key, value in metadata]
    for key, value in pairs:
        if not _KEY.fullmatch(key):
            raise ValueError(f"expected letters, digits, '_', '.' or '-' in a key, got {key!r}")
        if key.endswith("-bin"):
            if not isinstance(value, bytes):
                raise ValueError(f"expected bytes as the value of {key!r}")
        elif not _VALUE.fullmatch(value if isinstance(value, str) else value.decode("latin-1")):
            raise ValueError(f"expected printable ASCII as the value of {key!r}")
    return pairs


def mapping(metadata: Iterable[tuple[str, str | bytes]] | None) -> dict[str, str | bytes]:
    """The metadata as a dict. If a key is repeated, the last one wins."""
    return {key: value for key, value in metadata or ()}  # noqa: C416 (dict() takes the first)
