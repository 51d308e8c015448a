"""What exchanges are kept in while they run, as they see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from chatpb_server.core.call import Call
from chatpb_server.core.keeping import Keep
from chatpb_server.watching.record_limits import RecordLimits

if TYPE_CHECKING:
    from chatpb_server.watching.exchange import Exchange
    from chatpb_server.watching.redacting import Redaction


class Keeper(Protocol):
    """What exchanges are kept in.

    Attributes:
        held: How many bytes all running exchanges hold.
    """

    held: int

    @property
    def limits(self) -> RecordLimits:
        """What bounds exchanges."""
        ...

    @property
    def labels(self) -> dict[str, str]:
        """The labels of every record."""
        ...

    @property
    def label_fields(self) -> bytes:
        """The same, as fields of a record."""
        ...

    @property
    def redaction(self) -> Redaction | None:
        """What redacts the records of which all is kept."""
        ...

    def keep_of(self, call: Call) -> Keep:
        """How much is kept of a call."""
        ...

    async def take(self, exchange: Exchange) -> None:
        """Takes an exchange that is over."""
        ...
