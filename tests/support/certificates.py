"""Certificates for tests: an authority, what it signs, and the credentials made from them."""

from __future__ import annotations

from pathlib import Path

import grpc
from trustme import CA, LeafCert

HOST = "127.0.0.1"


def chain(leaf: LeafCert) -> bytes:
    """A certificate with those that it is signed by, in PEM."""
    return b"".join(pem.bytes() for pem in leaf.cert_chain_pems)


def server_credentials(authority: CA) -> grpc.ServerCredentials:
    """The credentials of a server at HOST."""
    leaf = authority.issue_cert(HOST)
    return grpc.ssl_server_credentials([(leaf.private_key_pem.bytes(), chain(leaf))])


def channel_credentials(authority: CA, leaf: LeafCert | None = None) -> grpc.ChannelCredentials:
    """The credentials of a caller that trusts an authority; `leaf` is its own certificate."""
    root = authority.cert_pem.bytes()
    if leaf is None:
        return grpc.ssl_channel_credentials(root)
    return grpc.ssl_channel_credentials(root, leaf.private_key_pem.bytes(), chain(leaf))


class Certificates:
    """Files of an authority and of a server at HOST.

    Attributes:
        authority: The authority; it signs for the server, and for callers if a test asks it to.
        ca: The file of its certificate.
        certificate: The file of the server's certificate.
        key: The file of the server's private key.
    """

    def __init__(self, folder: Path) -> None:
        self.authority = CA()
        self.ca = folder / "ca.pem"
        self.certificate = folder / "cert.pem"
        self.key = folder / "key.pem"
        self.ca.write_bytes(self.authority.cert_pem.bytes())
        self.renew()

    @property
    def flags(self) -> tuple[object, ...]:
        """The flags with which a relay uses the certificate and its key."""
        return ("--tls-cert", self.certificate, "--tls-key", self.key)

    def renew(self, *names: str) -> None:
        """Replaces the server's certificate and key; the new ones have more names."""
        leaf = self.authority.issue_cert(HOST, *names)
        self.key.write_bytes(leaf.private_key_pem.bytes())
        self.certificate.write_bytes(chain(leaf))
