"""Where the relay listens."""

from __future__ import annotations

import ipaddress
import socket
from typing import NamedTuple


class AddressError(ValueError):
    """An address that cannot be listened on, with a text for the user."""


class Address(NamedTuple):
    """A literal IP address and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """Reads ``HOST:PORT``.

        Args:
            text: An address of the loopback interface, or ``localhost``, which is 127.0.0.1; IPv6
                in brackets. Port 0 asks for a free one.

        Raises:
            AddressError: It is no such address. Anything beyond loopback is refused: there is
                neither TLS nor authentication yet.
        """
        host, colon, port = text.rpartition(":")
        if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:
            raise AddressError(f"expected HOST:PORT with a port from 0 to 65535, got {text!r}")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise AddressError(f"expected brackets around the IPv6 address, got {text!r}")
        try:
            ip = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
        except ValueError:
            raise AddressError(f"expected an IP address or localhost, got {host!r}") from None
        if not ip.is_loopback:
            raise AddressError(
                f"will not listen on {host}: without TLS and authentication, which are not"
                " there yet, only loopback addresses such as 127.0.0.1 are safe"
            )
        return cls(str(ip), int(port))

    def check_free(self) -> None:
        """Makes sure that the address can be bound: gRPC's own answer does not say why not.

        Raises:
            AddressError: It cannot.
        """
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((self.host, self.port))
                probe.listen(1)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise AddressError(f"cannot listen on {self}: {reason}") from None
