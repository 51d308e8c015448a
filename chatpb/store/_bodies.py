"""Records as the bodies of rows: compressed with zstd."""

from __future__ import annotations

from typing import Final, NamedTuple

import zstandard

_LEVEL: Final = 6


class Body(NamedTuple):
    """A record as a row has it.

    Attributes:
        dictionary: The number of the dictionary that it was compressed with; None: without.
        data: The compressed record.
    """

    dictionary: int | None
    data: bytes


class DamagedBodyError(Exception):
    """A body that cannot be decompressed; the text says why."""


class Bodies:
    """Compresses records and decompresses bodies. Several threads may do so."""

    def compress(self, record: bytes) -> Body:
        """The body of a record."""
        return Body(None, zstandard.ZstdCompressor(_LEVEL).compress(record))

    def decompress(self, body: Body) -> bytes:
        """The record of a body.

        Raises:
            DamagedBodyError: It is damaged.
        """
        try:
            return zstandard.ZstdDecompressor().decompress(body.data)
        except zstandard.ZstdError as error:
            raise DamagedBodyError(str(error)) from None
