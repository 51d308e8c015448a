"""The credentials of a channel with TLS, made from files."""

from __future__ import annotations

import ssl
from pathlib import Path

import grpc


def channel_credentials(
    ca: Path | None = None, cert: Path | None = None, key: Path | None = None
) -> grpc.ChannelCredentials:
    """Reads the files of TLS.

    Args:
        ca: Certificates of the authorities to trust, in PEM form. None: those of the file that
            OpenSSL finds, for instance by the variable SSL_CERT_FILE, or else gRPC's own.
        cert: The certificate chain to show to the server, in PEM form.
        key: Its private key; None: it is in the file of the certificate.

    Raises:
        OSError: A file cannot be read, or does not hold what it should (`ssl.SSLError`).
    """
    # gRPC does not report what it cannot read.
    context = ssl.create_default_context(cafile=ca)
    if cert is not None:
        context.load_cert_chain(cert, key)
    trusted = ca or ssl.get_default_verify_paths().cafile
    return grpc.ssl_channel_credentials(
        None if trusted is None else Path(trusted).read_bytes(),
        None if cert is None else (key or cert).read_bytes(),
        None if cert is None else cert.read_bytes(),
    )
