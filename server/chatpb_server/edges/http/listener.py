"""Accepts the connections of the HTTP edge, and bounds their number."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from ssl import SSLContext
from typing import Any, Final

from chatpb_server.access.address import Address

#: How many connections the system holds until they are accepted.
_BACKLOG: Final = 1024
#: How many seconds to wait if the process has no room for one more file.
_PAUSE: Final = 1.0
#: How many refused connections stay open for a moment, so that their callers get the answer.
_MAX_REFUSED: Final = 100
_REFUSED_SECONDS: Final = 1.0
_MAX_PIECES: Final = 64
#: How many connections are accepted before others get their turn.
_BURST: Final = 16


class Listener:
    """Listens at an address.

    Args:
        make: Makes the protocol of a connection.
        most: How many connections there may be at once.
        make_room: Closes an idle connection; False if there is none.
        refusal: Gives what a connection gets that is one too many, unless it has TLS.
        handshake_seconds: How long a TLS handshake may take. None: as long as asyncio lets it.
    """

    def __init__(
        self,
        make: Callable[[], asyncio.Protocol],
        *,
        most: int,
        make_room: Callable[[], bool],
        refusal: Callable[[], bytes],
        handshake_seconds: float | None,
    ) -> None:
        self._make = make
        self._most = most
        self._make_room = make_room
        self._refusal = refusal
        self._handshake_seconds = handshake_seconds
        self._ssl_context: SSLContext | None = None
        self._socket: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._opening: set[asyncio.Task[None]] = set()
        self._refused = 0
        self._open = 0

    def start(self, address: Address, ssl_context: SSLContext | None, *, share_port: bool) -> int:
        """Listens.

        Args:
            address: Where; port 0 asks for a free one.
            ssl_context: For TLS. None: none.
            share_port: Whether other processes may listen there too.

        Returns:
            The port.

        Raises:
            AddressError: The address cannot be listened on.
        """
        if not share_port:
            address.check_free()
        self._ssl_context = ssl_context
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        try:
            self._socket = socket.create_server(
                (address.host, address.port),
                family=family,
                backlog=_BACKLOG,
                reuse_port=share_port,
            )
        except OSError as error:
            raise address.listen_error(error) from None
        self._socket.setblocking(False)
        self._accepting = asyncio.create_task(self._accept(self._socket))
        port: int = self._socket.getsockname()[1]
        return port

    async def stop(self) -> None:
        """Accepts no more connections. Those that were accepted are opened."""
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.wait((self._accepting,))
            self._accepting = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    @property
    def open(self) -> int:
        """How many connections are open."""
        return self._open

    def closed(self) -> None:
        """One of the connections is closed."""
        self._open -= 1

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        count = 0
        while True:
            try:
                accepted, _ = await loop.sock_accept(listening)
            except ConnectionError:  # it went before it was accepted
                continue
            except OSError as error:
                message = "cannot accept a connection"
                loop.call_exception_handler({"message": message, "exception": error})
                await asyncio.sleep(_PAUSE)
                continue
            if self._open < self._most or self._make_room():
                self._open += 1
                opening = self._serve(accepted)
            else:
                opening = self._refuse(accepted)
            task = asyncio.create_task(opening)
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
            count += 1
            if count % _BURST == 0:  # accepting what is there does not leave the loop to others
                await asyncio.sleep(0)

    async def _serve(self, accepted: socket.socket) -> None:
        how: dict[str, Any] = {}
        if self._ssl_context is not None:
            seconds = self._handshake_seconds
            how = {"ssl": self._ssl_context, "ssl_handshake_timeout": seconds}
        try:
            await asyncio.get_running_loop().connect_accepted_socket(self._make, accepted, **how)
        except OSError:  # the handshake failed, or took too long
            self.closed()

    async def _refuse(self, accepted: socket.socket) -> None:
        with accepted:
            if self._ssl_context is not None or self._refused >= _MAX_REFUSED:
                return
            self._refused += 1
            loop = asyncio.get_running_loop()
            with suppress(OSError):
                async with asyncio.timeout(_REFUSED_SECONDS):
                    await loop.sock_sendall(accepted, self._refusal())
                    accepted.shutdown(socket.SHUT_WR)
                    # If it were closed with a request unread, the caller might not get the answer.
                    for _ in range(_MAX_PIECES):
                        if not await loop.sock_recv(accepted, 65536):
                            break
            self._refused -= 1
