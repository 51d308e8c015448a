"""TLS: the certificates of the relay, renewed while it runs, and those of its callers."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn, Protocol
from urllib.parse import quote

import grpc

from chatpb_server.access.reload import Reloading, read_bytes

_MAX_NAME = 128
# What errors call the settings: by the key in a file, and the flag, of which a variable is made.
_CERT = "tls.cert (--tls-cert)"
_KEY = "tls.key (--tls-key)"
_CLIENT_CA = "tls.client_ca (--tls-client-ca)"


class TlsError(ValueError):
    """Files that TLS cannot be served with. The text is for the user."""


class PeerContext(Protocol):
    """What `caller_of` needs of a call's context."""

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """What is known about the other end of the connection."""
        ...


def server_credentials(
    certificate: Path, key: Path, client_ca: Path | None = None
) -> grpc.ServerCredentials:
    """Gives the credentials for one port of a server, which follow the files.

    Each new connection is served with the certificate, and checked against the authorities, that
    the files hold then; connections that are open stay. While the files cannot be used, for
    example between the renewal of the certificate and that of its key, those read before stay in
    use, and the log has a warning. With a client CA no session is resumed, since that would skip
    the check of the caller's certificate. Every port needs credentials of its own.

    Args:
        certificate: A file with the server's certificate chain in PEM form, its own first.
        key: A file with its private key in PEM form, not encrypted.
        client_ca: A file with the certificates, in PEM form, of those who sign for the callers.
            Callers then need a certificate (mutual TLS).

    Raises:
        TlsError: The files cannot be read, or cannot be used together.
    """

    def read() -> grpc.ServerCertificateConfiguration:
        return _read(certificate, key, client_ca)

    paths = [path for path in (certificate, key, client_ca) if path is not None]
    files = Reloading(paths, read)
    initial = served = files.get()

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        """What to serve a new connection with, None for no change; in a thread of gRPC."""
        nonlocal served
        latest = files.get()
        # With new credentials, gRPC cannot resume a session of earlier ones: the caller is verified
        # again. gRPC has no other way to forbid that.
        if latest is served and client_ca is None:
            return None
        served = latest
        return latest

    return grpc.dynamic_ssl_server_credentials(
        initial,
        renewed,  # type: ignore[arg-type] # the stubs do not know of None
        require_client_authentication=client_ca is not None,
    )


def check_files(certificate: Path, key: Path, client_ca: Path | None = None) -> None:
    """Checks the files that `server_credentials` and `server_context` take.

    Raises:
        TlsError: The files cannot be read, or cannot be used together.
    """
    _read(certificate, key, client_ca)


def server_context(certificate: Path, key: Path, client_ca: Path | None = None) -> ssl.SSLContext:
    """Gives what `server_credentials` gives, for a port of HTTP.

    Raises:
        TlsError: The files cannot be read, or cannot be used together.
    """

    def read() -> ssl.SSLContext:
        _read(certificate, key, client_ca)
        context = _bare_context()
        context.load_cert_chain(certificate, key)
        if client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(client_ca)
        return context

    files = Reloading([path for path in (certificate, key, client_ca) if path is not None], read)

    def renew(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = files.get()

    if client_ca is None:
        context = files.get()
        context.sni_callback = renew
        return context
    return _Verifying.renewed_by(renew)


class _Verifying(ssl.SSLContext):
    """Verifies the caller of each connection anew.

    Sessions belong to the context that a connection begins with, and OpenSSL does not verify
    certificates again when it resumes one. Python cannot switch off OpenSSL's memory of sessions,
    so each connection begins with a context of its own.
    """

    _renew: Callable[[ssl.SSLObject, str | None, ssl.SSLContext], None]

    @classmethod
    def renewed_by(
        cls, renew: Callable[[ssl.SSLObject, str | None, ssl.SSLContext], None]
    ) -> ssl.SSLContext:
        """A context whose connections switch to another one as soon as the caller has begun."""
        context = cls(ssl.PROTOCOL_TLS_SERVER)
        context._renew = renew
        return context

    def wrap_bio(self, *arguments: Any, **named: Any) -> ssl.SSLObject:
        """What asyncio makes of each connection."""
        context = _bare_context()
        context.verify_mode = ssl.CERT_REQUIRED
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
        context.sni_callback = self._renew
        return context.wrap_bio(*arguments, **named)


def _bare_context() -> ssl.SSLContext:
    """A context without certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _read(
    certificate: Path, key: Path, client_ca: Path | None
) -> grpc.ServerCertificateConfiguration:
    chain = read_bytes(certificate, "certificate", TlsError)
    private_key = read_bytes(key, "private key", TlsError)
    authorities = None
    if client_ca is not None:
        authorities = read_bytes(client_ca, "client CA", TlsError)
        _check_certificates(client_ca, _CLIENT_CA)
    _check_certificates(certificate, _CERT)
    _check_pair(certificate, key)
    return grpc.ssl_server_certificate_configuration([(private_key, chain)], authorities)


def _check_certificates(path: Path, setting: str) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(path)
    except OSError:  # which ssl.SSLError is
        raise TlsError(
            f"{path} is not a complete file of certificates: {setting} expects PEM form,"
            " -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----"
        ) from None


def _check_pair(certificate: Path, key: Path) -> None:
    def refuse() -> NoReturn:  # without it, OpenSSL asks for a password on the terminal
        raise TlsError(
            f"the private key {key} is encrypted: {_KEY} expects one that is not;"
            " `openssl pkey` removes the password"
        )

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=refuse)
    except OSError as error:
        reason = getattr(error, "reason", None) or ""  # a word of OpenSSL, not of the file
        if reason.endswith("MISMATCH") or reason == "NO_CERTIFICATE_ASSIGNED":
            raise TlsError(
                f"the private key {key} does not belong to the first certificate of {certificate}:"
                f" {_CERT} and {_KEY} expect a pair, the server's own certificate first"
            ) from None
        if "_TOO_" in reason:
            raise TlsError(
                f"the certificate {certificate} is too weak ({reason.lower().replace('_', ' ')}):"
                f" {_CERT} expects one with a longer key"
            ) from None
        raise TlsError(
            f"cannot use the private key {key} with {certificate}: {_KEY} expects PEM form,"
            " -----BEGIN PRIVATE KEY----- to -----END PRIVATE KEY-----"
        ) from None


def caller_of(context: PeerContext) -> str:
    """Names the caller after the certificate that it has shown.

    The name is the first subject alternative name of the certificate, or its common name if there
    is none. It is safe in logs, metrics and headers: printable ASCII without spaces and quotes, the
    rest percent-encoded, and at most 128 characters. Different names stay different.

    Returns:
        The name; empty if the caller has shown no certificate, or one without a name.
    """
    properties = context.auth_context()
    for key in ("x509_subject_alternative_name", "x509_common_name"):
        for name in properties.get(key, ()):
            return _printable(name)
    return ""


def _printable(name: bytes) -> str:
    text = quote(name, safe="/:@+*")
    if len(text) <= _MAX_NAME:
        return text
    digest = hashlib.sha256(name).hexdigest()[:32]
    return f"{text[: _MAX_NAME - len(digest) - 1]}#{digest}"
