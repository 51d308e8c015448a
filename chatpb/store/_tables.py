"""The tables of the newest layout, for statements. `_migrations` creates them."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Identity,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
)

METADATA: Final = MetaData()

#: One row holds the version, and an identifier that no other database has.
LAYOUT: Final = Table(
    "chatpb_layout",
    METADATA,
    Column("version", Integer, nullable=False),
    Column("id", Text, nullable=False),
)

#: The completions. A number is never given twice, so that it can be a cursor. It also is the order
#: of arrival, see `_numbers`.
COMPLETION: Final = Table(
    "chatpb_completion",
    METADATA,
    Column("number", BigInteger, Identity(), primary_key=True),
    Column("caller", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("created", BigInteger, nullable=False),  # seconds, as the answer has it
    Column("stored_at", BigInteger, nullable=False),  # microseconds
    Column("metadata", Text),  # JSON; null if there are none
    Column("body", LargeBinary, nullable=False),  # see `_bodies`
    Column("dictionary", SmallInteger),  # its number; null if it was compressed without
)

#: The pairs of metadata by their digests, which fit into an index however long the texts are.
PAIR: Final = Table(
    "chatpb_pair",
    METADATA,
    Column("caller", Text, primary_key=True),
    Column("digest", LargeBinary, primary_key=True),
    Column("number", BigInteger, primary_key=True),
)

#: Where deleted completions were, for cursors.
DELETED: Final = Table(
    "chatpb_deleted",
    METADATA,
    Column("caller", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("deleted_at", BigInteger, nullable=False),  # microseconds
)

#: What bodies are compressed with.
DICTIONARY: Final = Table(
    "chatpb_dictionary",
    METADATA,
    Column("number", SmallInteger, primary_key=True, autoincrement=False),
    Column("content", LargeBinary, nullable=False),
)
