"""How many bytes of requests the process holds, in total and for each connection."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Self

from chatpb_server.core.gate import MemoryLimitError


class Budget:
    """Bounds the bytes of all requests that are arriving, waiting or being answered.

    It never waits. Requests that waited for room with a part of their bytes could wait for each
    other until their time is up.

    Args:
        total: How many bytes all requests can hold.
        each: How many those of one connection can hold.
    """

    def __init__(self, total: int, each: int) -> None:
        self._total = total
        self._each = each
        self._held = 0
        self._by_connection: dict[Hashable, int] = {}

    @property
    def most(self) -> int:
        """How many bytes one request can hold."""
        return min(self._total, self._each)

    @property
    def held(self) -> int:
        """How many bytes are held now."""
        return self._held

    def share(self, connection: Hashable) -> Share:
        """What one request holds: nothing yet.

        Args:
            connection: What its connection is known by.
        """
        return Share(self, connection)

    def _fits(self, connection: Hashable, more: int) -> bool:
        mine = self._by_connection.get(connection, 0)
        return self._held + more <= self._total and mine + more <= self._each

    def _add(self, connection: Hashable, more: int) -> None:
        self._held += more
        if mine := self._by_connection.get(connection, 0) + more:
            self._by_connection[connection] = mine
        else:
            self._by_connection.pop(connection, None)


class Share:
    """The bytes that one request holds, until the end of the context. See `Budget.share`."""

    __slots__ = ("_budget", "_bytes", "_connection")

    def __init__(self, budget: Budget, connection: Hashable) -> None:
        self._budget = budget
        self._connection = connection
        self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.give_back()

    def check(self, more: int) -> None:
        """Checks that there would be room for more bytes now.

        Raises:
            MemoryLimitError: There is not.
        """
        if not self._budget._fits(self._connection, more):
            raise MemoryLimitError

    def take(self, more: int) -> None:
        """Holds more bytes.

        Raises:
            MemoryLimitError: There is no room for them. The request holds what it held before.
        """
        self.check(more)
        self.hold(more)

    def hold(self, more: int) -> None:
        """Holds more bytes even if there is no room: they are in memory already."""
        self._bytes += more
        self._budget._add(self._connection, more)

    def give_back(self) -> None:
        """Holds nothing any more."""
        self._budget._add(self._connection, -self._bytes)
        self._bytes = 0
