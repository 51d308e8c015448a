"""Records as the bodies of rows: compressed with zstd, by dictionaries of the database."""

from __future__ import annotations

import threading
from collections.abc import Iterable
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
    """Compresses records and decompresses bodies. Several threads may do so.

    A body is read with the dictionary that it was written with; new ones get the newest.

    Attributes:
        newest: The number of the newest dictionary; None if there is none.
    """

    def __init__(self) -> None:
        self.newest: int | None = None
        self._dictionaries: dict[int, zstandard.ZstdCompressionDict] = {}
        self._own = threading.local()  # a compressor must not be used by two threads at once

    def add(self, number: int, content: bytes) -> None:
        """Adds a dictionary."""
        dictionary = zstandard.ZstdCompressionDict(content)
        dictionary.precompute_compress(_LEVEL)
        self._dictionaries[number] = dictionary
        self.newest = max(number, self.newest or 0)

    def missing(self, numbers: Iterable[int | None]) -> list[int]:
        """Which of the dictionaries were not added."""
        return [each for each in {*numbers} if each is not None and each not in self._dictionaries]

    def compress(self, record: bytes) -> Body:
        """The body of a record."""
        number = self.newest
        made: tuple[int | None, zstandard.ZstdCompressor] | None
        made = getattr(self._own, "compressor", None)
        if made is None or made[0] != number:
            made = self._own.compressor = (number, self._compressor(number))
        return Body(number, made[1].compress(record))

    def decompress(self, body: Body) -> bytes:
        """The record of a body.

        Raises:
            DamagedBodyError: It is damaged, or its dictionary is missing.
        """
        if self.missing([body.dictionary]):
            raise DamagedBodyError(f"the database has no dictionary {body.dictionary}")
        dictionary = None if body.dictionary is None else self._dictionaries[body.dictionary]
        try:
            return zstandard.ZstdDecompressor(dictionary).decompress(body.data)
        except zstandard.ZstdError as error:
            raise DamagedBodyError(str(error)) from None

    def _compressor(self, number: int | None) -> zstandard.ZstdCompressor:
        if number is None:
            return zstandard.ZstdCompressor(_LEVEL)
        dictionary = self._dictionaries[number]
        # The row has the number of the dictionary.
        return zstandard.ZstdCompressor(dict_data=dictionary, level=_LEVEL, write_dict_id=False)
