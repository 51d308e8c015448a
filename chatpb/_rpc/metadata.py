"""The metadata of a call: what can be sent, and how it is looked up."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from chatpb._errors import ArgumentValueError, wrong_type

Metadata = Iterable[tuple[str, str | bytes]]
NO_METADATA: Final[Mapping[str, str | bytes]] = MappingProxyType({})

#: The key of metadata for the query of a caller's URL, which goes on to the upstream.
QUERY_KEY: Final = "chatpb-http-query"

_KEY: Final = re.compile(r"[0-9a-z_.-]+")
_VALUE: Final = re.compile(r"[\x20-\x7e]*")


def checked(metadata: Metadata) -> list[tuple[str, str | bytes]]:
    """The metadata with keys in lower case. gRPC's own errors name neither the key nor the value.

    Raises:
        ArgumentValueError: The metadata cannot be sent. The error names the key, but not the value,
            which may be a secret.
        ArgumentTypeError: It is not a series of pairs of a str and a str or bytes.
    """
    pairs = [(key.lower(), value) for key, value in _pairs(metadata)]
    for key, value in pairs:
        if not _KEY.fullmatch(key):
            raise ArgumentValueError(
                f"expected letters, digits, '_', '.' or '-' in a key, got {key!r}"
            )
        if key.endswith("-bin"):
            if not isinstance(value, bytes):
                raise ArgumentValueError(f"expected bytes as the value of {key!r}")
        elif not _VALUE.fullmatch(value if isinstance(value, str) else value.decode("latin-1")):
            raise ArgumentValueError(f"expected printable ASCII as the value of {key!r}")
    return pairs


def _pairs(metadata: Metadata) -> Iterator[tuple[str, str | bytes]]:
    if isinstance(metadata, Mapping | str | bytes) or not isinstance(metadata, Iterable):
        raise wrong_type("metadata as pairs of a key and a value", metadata)
    for pair in metadata:
        if not isinstance(pair, Sequence) or isinstance(pair, str | bytes) or len(pair) != 2:
            raise wrong_type("metadata as pairs of a key and a value", pair)
        key, value = pair
        if not isinstance(key, str):
            raise wrong_type("a str as a key of metadata", key)
        if not isinstance(value, str | bytes):
            raise wrong_type(f"a str or bytes as the value of {key!r}", value)
        yield key, value


def mapping(metadata: Iterable[tuple[str, str | bytes]] | None) -> dict[str, str | bytes]:
    """The metadata as a dict. If a key is repeated, the last one wins."""
    return {key: value for key, value in metadata or ()}  # noqa: C416 (dict() takes the first)
