"""Objects that belong to one event loop, as gRPC's channels for asyncio do."""

from __future__ import annotations

import asyncio

from chatpb._errors import StateError


class Home:
    """The event loop that an object belongs to.

    Args:
        what: What the object is, such as "the client".
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._loop: asyncio.AbstractEventLoop | None = None

    def enter(self) -> None:
        """Makes the running event loop the object's own, unless it has one.

        Raises:
            StateError: The running event loop is another one, or none is running.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise StateError(f"{self._what} needs a running event loop") from None
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise StateError(
                f"{self._what} belongs to the event loop of its first use, which is not this one"
            )
