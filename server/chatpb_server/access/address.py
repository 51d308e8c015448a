"""Where the relay listens."""

from __future__ import annotations

import ipaddress
import socket
from typing import NamedTuple

from chatpb._errors import os_error_text
from chatpb._rpc.loopback import is_loopback


class AddressError(ValueError):
    """An address that cannot be listened on. The text is for the user."""


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
            text: An IP address, IPv6 in brackets, or ``localhost``, which is 127.0.0.1. Port 0
                asks for a free one.

        Raises:
            AddressError: The text is not such an address.
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
        return cls(str(ip), int(port))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)

    def check_free(self) -> None:
        """Makes sure that the address can be bound: gRPC's own error does not give the reason.

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
            raise self.listen_error(error) from None

    def listen_error(self, error: OSError | None = None) -> AddressError:
        """The error for an address that cannot be bound.

        Args:
            error: The system's error, if there is one.
        """
        reason = f": {os_error_text(error)}" if error is not None else ""
        return AddressError(f"cannot listen on {self}{reason}")


def check_exposure(address: Address, *, tls: bool, authentication: bool, insecure: bool) -> None:
    """Makes sure that an address which others can reach has TLS and authenticates callers.

    Args:
        address: Where to listen. Loopback is always safe.
        tls: Whether there is TLS.
        authentication: Whether callers need a token, or a certificate.
        insecure: Whether the user allows it to be unsafe.

    Raises:
        AddressError: It is neither safe nor allowed to be unsafe.
    """
    if address.is_loopback or insecure or (tls and authentication):
        return
    ways = {
        "TLS (tls.cert and tls.key; --tls-cert and --tls-key)": tls,
        "authentication (tokens or tls.client_ca; --tokens or --tls-client-ca)": authentication,
    }
    missing = " and ".join(way for way, given in ways.items() if not given)
    raise AddressError(
        f"will not listen on {address.host}, beyond loopback, without {missing}; if something in"
        " front of the relay provides that, set insecure_listen = true (--insecure-listen)"
    )
