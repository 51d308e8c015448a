"""Databases of stored completions as input."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from chatpb._cli.reading.streams import Made
from chatpb._extras import raise_hint
from chatpb._known import Known

_BEGINNINGS: Final = ("sqlite://", "postgresql://", "postgres://")


def is_store(name: str) -> bool:
    """Whether input is a database."""
    return name.startswith(_BEGINNINGS)


def new_stored(name: str, known: Known) -> Iterator[Made]:
    """The records of a database, except those that are known already.

    Each is noted there when the next one is asked for: reading may end at any of them.

    Args:
        name: The URL of the database.
        known: Which input was added before.

    Raises:
        ModuleNotFoundError: The extra is not installed.
        StoreError: The database cannot be used.
    """
    try:  # most input is not a database
        from chatpb.store._reading import reader
    except ModuleNotFoundError as missing:
        raise_hint("chatpb.store", missing)
    with reader(name) as stored:
        for number, record in stored.after(known.store(stored.id)):
            yield Made(record, None)
            known.take_store(stored.id, number)
