"""TLS and mutual TLS: real servers, with certificates made here."""

from __future__ import annotations

import asyncio
import gc
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from grpc import StatusCode, aio
from trustme import CA, KeyType, LeafCert

from chatpb_server.access.tls import TlsError, caller_of, server_credentials
from support.calls import OWN_CONNECTION
from support.certificates import HOST, chain, channel_credentials
from support.files import link, replace
from support.limits import TIMEOUT

WHO = "/test.Service/Who"


class Files:
    """The files of a server in a folder.

    Attributes:
        ca: Who signs for the server.
        client_ca: Who signs for the callers.
    """

    def __init__(self, folder: Path) -> None:
        self.ca = CA()
        self.client_ca = CA()
        self.certificate = folder / "tls.crt"
        self.key = folder / "tls.key"
        self.authorities = folder / "ca.crt"
        self.put(self.issue("first"))
        replace(self.authorities, self.client_ca.cert_pem.bytes())

    def issue(self, name: str) -> LeafCert:
        """A certificate for the server, with the common name."""
        return self.ca.issue_cert(HOST, common_name=name)

    def put(self, leaf: LeafCert) -> None:
        """Renews the certificate and its key."""
        replace(self.certificate, chain(leaf))
        replace(self.key, leaf.private_key_pem.bytes())


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """The files of a server whose certificate has the common name ``first``."""
    return Files(tmp_path)


@asynccontextmanager
async def answering(bind: Callable[[aio.Server], int]) -> AsyncIterator[int]:
    """The port of a server that answers with the caller's name."""

    async def who(_: bytes, context: Any) -> bytes:
        return caller_of(context).encode()

    server = aio.server()
    method: Any = grpc.unary_unary_rpc_method_handler(who)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("test.Service", {"Who": method}),)
    )
    port = bind(server)
    gc.collect()  # the server alone keeps the credentials
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


@asynccontextmanager
async def served(certificate: Path, key: Path, client_ca: Path | None = None) -> AsyncIterator[int]:
    """The same, with TLS."""

    def bind(server: aio.Server) -> int:
        credentials = server_credentials(certificate, key, client_ca)
        return server.add_secure_port(f"{HOST}:0", credentials)

    async with answering(bind) as port:
        yield port


def channel(port: int, ca: CA, leaf: LeafCert | None = None) -> aio.Channel:
    """A channel that trusts `ca` and presents `leaf`."""
    return aio.secure_channel(f"{HOST}:{port}", channel_credentials(ca, leaf), OWN_CONNECTION)


async def ask(channel: aio.Channel) -> str:
    """The name under which the server knows the caller."""
    method: Any = channel.unary_unary(WHO)
    answer: bytes = await method(b"", timeout=TIMEOUT)
    return answer.decode()


async def name_for(port: int, ca: CA, leaf: LeafCert | None = None) -> str:
    """The same, over a new connection."""
    async with channel(port, ca, leaf) as opened:
        return await ask(opened)


async def failure(port: int, ca: CA, leaf: LeafCert | None = None) -> StatusCode:
    """How a call over a new connection fails."""
    with pytest.raises(aio.AioRpcError) as caught:
        await name_for(port, ca, leaf)
    return caught.value.code()


async def shown(port: int, ca: CA) -> str:
    """The common name in the certificate that a new connection is served with."""
    context = ssl.create_default_context(cadata=ca.cert_pem.bytes().decode())
    context.set_alpn_protocols(["h2"])
    async with asyncio.timeout(TIMEOUT):
        _, writer = await asyncio.open_connection(HOST, port, ssl=context)
        certificate = writer.get_extra_info("peercert")
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()
    return str(dict(pair for [pair] in certificate["subject"])["commonName"])


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [
        (record.levelname, record.getMessage())
        for record in caplog.records
        if record.name.startswith("chatpb_server")
    ]


async def test_tls(files: Files) -> None:
    async with served(files.certificate, files.key) as port:
        assert "" == await name_for(port, files.ca)
        assert "first" == await shown(port, files.ca)
        assert StatusCode.UNAVAILABLE == await failure(port, CA())  # which the caller trusts
        async with aio.insecure_channel(f"{HOST}:{port}", OWN_CONNECTION) as plain:
            with pytest.raises(aio.AioRpcError) as caught:
                await ask(plain)
            assert StatusCode.UNAVAILABLE == caught.value.code()


async def test_mutual_tls(files: Files) -> None:
    async with served(files.certificate, files.key, files.authorities) as port:
        leaf = files.client_ca.issue_cert("alice.example")
        assert "alice.example" == await name_for(port, files.ca, leaf)
        assert StatusCode.UNAVAILABLE == await failure(port, files.ca)
        stranger = CA().issue_cert("alice.example")
        assert StatusCode.UNAVAILABLE == await failure(port, files.ca, stranger)


LONG = ".".join(["a" * 60] * 4)


@pytest.mark.parametrize(
    ("identities", "common_name", "expected"),
    [
        pytest.param(["b.example", "a.example"], "c", "b.example", id="the first"),
        pytest.param(["a@b.example"], "c", "a@b.example", id="mail"),
        pytest.param(["10.0.0.1"], "c", "10.0.0.1", id="IP"),
        pytest.param(["2001:db8::1"], "c", "2001:db8::1", id="IPv6"),
        pytest.param(["*.example"], "c", "*.example", id="wildcard"),
        pytest.param([], "bob", "bob", id="common name"),
        pytest.param([], 'é "x"\r\n%0A#', "%C3%A9%20%22x%22%0D%0A%250A%23", id="encoded"),
        pytest.param(
            [LONG],
            "c",
            f"{LONG[:95]}#4bea83b2fb00ac36a891ec73a9ebcd32",
            id="long",
        ),
    ],
)
async def test_names_of_callers(
    files: Files, identities: Sequence[str], common_name: str, expected: str
) -> None:
    leaf = files.client_ca.issue_cert(*identities, common_name=common_name)
    async with served(files.certificate, files.key, files.authorities) as port:
        assert expected == await name_for(port, files.ca, leaf)


async def test_without_tls_nobody_has_a_name() -> None:
    async with (
        answering(lambda server: server.add_insecure_port(f"{HOST}:0")) as port,
        aio.insecure_channel(f"{HOST}:{port}", OWN_CONNECTION) as plain,
    ):
        assert "" == await ask(plain)


async def test_a_renewed_certificate_serves_new_connections(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "chatpb_server")
    async with (
        served(files.certificate, files.key) as port,
        channel(port, files.ca) as opened,
    ):
        assert "" == await ask(opened)
        assert "first" == await shown(port, files.ca)
        files.put(files.issue("second"))
        assert "second" == await shown(port, files.ca)
        assert "second" == await shown(port, files.ca)
        files.ca = CA()
        files.put(files.issue("third"))
        assert "third" == await shown(port, files.ca)
        assert "" == await name_for(port, files.ca)
        assert "" == await ask(opened)  # its connection stays
    assert [("INFO", f"read {files.certificate} and {files.key} again")] * 2 == said(caplog)


async def test_renewal_by_a_symbolic_link(tmp_path: Path) -> None:
    """As Kubernetes swaps the files of a secret."""
    ca = CA()
    for name in ("first", "second"):
        leaf = ca.issue_cert(HOST, common_name=name)
        (tmp_path / name).mkdir()
        replace(tmp_path / name / "tls.crt", chain(leaf))
        replace(tmp_path / name / "tls.key", leaf.private_key_pem.bytes())
    link(tmp_path / "..data", "first")
    for name in ("tls.crt", "tls.key"):
        link(tmp_path / name, f"..data/{name}")
    async with served(tmp_path / "tls.crt", tmp_path / "tls.key") as port:
        assert "first" == await shown(port, ca)
        link(tmp_path / "..data", "second")
        assert "second" == await shown(port, ca)


async def test_a_renewed_client_ca(files: Files) -> None:
    async with served(files.certificate, files.key, files.authorities) as port:
        old = files.client_ca.issue_cert("old.example")
        new_ca = CA()
        new = new_ca.issue_cert("new.example")
        assert "old.example" == await name_for(port, files.ca, old)
        assert StatusCode.UNAVAILABLE == await failure(port, files.ca, new)
        replace(files.authorities, files.client_ca.cert_pem.bytes() + new_ca.cert_pem.bytes())
        assert "old.example" == await name_for(port, files.ca, old)
        assert "new.example" == await name_for(port, files.ca, new)
        replace(files.authorities, new_ca.cert_pem.bytes())
        assert StatusCode.UNAVAILABLE == await failure(port, files.ca, old)
        assert "new.example" == await name_for(port, files.ca, new)


async def test_half_a_renewal_keeps_the_old_pair(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "chatpb_server")
    second = files.issue("second")
    async with served(files.certificate, files.key) as port:
        replace(files.certificate, chain(second))
        for _ in range(3):
            assert "first" == await shown(port, files.ca)
        replace(files.key, second.private_key_pem.bytes())
        assert "second" == await shown(port, files.ca)
    assert [
        ("WARNING", f"{mismatch(files)}; what was read before stays in use"),
        ("INFO", f"read {files.certificate} and {files.key} again"),
    ] == said(caplog)


def whole(path: Path, setting: str) -> str:
    return (
        f"{path} is not a complete file of certificates: {setting} expects PEM form,"
        " -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----"
    )


def mismatch(files: Files) -> str:
    return (
        f"the private key {files.key} does not belong to the first certificate of"
        f" {files.certificate}: tls.cert (--tls-cert) and tls.key (--tls-key) expect"
        " a pair, the server's own certificate first"
    )


def unusable(files: Files) -> str:
    return (
        f"cannot use the private key {files.key} with {files.certificate}: tls.key (--tls-key)"
        " expects PEM form, -----BEGIN PRIVATE KEY----- to -----END PRIVATE KEY-----"
    )


def encrypt(files: Files) -> None:
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    encryption = serialization.BestAvailableEncryption(b"password")
    replace(
        files.key,
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        ),
    )


BROKEN: list[Any] = [
    pytest.param(
        lambda files: files.certificate.unlink(),
        lambda files: f"cannot read the certificate {files.certificate}: no such file or directory",
        id="no certificate",
    ),
    pytest.param(
        lambda files: files.key.unlink(),
        lambda files: f"cannot read the private key {files.key}: no such file or directory",
        id="no key",
    ),
    pytest.param(
        lambda files: files.authorities.unlink(),
        lambda files: f"cannot read the client CA {files.authorities}: no such file or directory",
        id="no client CA",
    ),
    pytest.param(
        lambda files: replace(files.certificate, ""),
        lambda files: whole(files.certificate, "tls.cert (--tls-cert)"),
        id="empty certificate",
    ),
    pytest.param(
        lambda files: replace(files.certificate, files.certificate.read_bytes()[:-40]),
        lambda files: whole(files.certificate, "tls.cert (--tls-cert)"),
        id="half a certificate",
    ),
    pytest.param(
        lambda files: replace(
            files.certificate,
            files.certificate.read_bytes() + files.ca.cert_pem.bytes()[:-40],
        ),
        lambda files: whole(files.certificate, "tls.cert (--tls-cert)"),
        id="half a chain",
    ),
    pytest.param(
        lambda files: replace(files.certificate, files.key.read_bytes()),
        lambda files: whole(files.certificate, "tls.cert (--tls-cert)"),
        id="a key as the certificate",
    ),
    pytest.param(
        lambda files: replace(files.authorities, b"# nobody\n"),
        lambda files: whole(files.authorities, "tls.client_ca (--tls-client-ca)"),
        id="empty client CA",
    ),
    pytest.param(
        lambda files: replace(files.authorities, files.authorities.read_bytes()[:-40]),
        lambda files: whole(files.authorities, "tls.client_ca (--tls-client-ca)"),
        id="half a client CA",
    ),
    pytest.param(lambda files: replace(files.key, ""), unusable, id="empty key"),
    pytest.param(
        lambda files: replace(files.key, files.key.read_bytes()[:-40]), unusable, id="half a key"
    ),
    pytest.param(
        lambda files: replace(files.key, files.issue("other").private_key_pem.bytes()),
        mismatch,
        id="another key",
    ),
    pytest.param(
        lambda files: replace(
            files.key, files.ca.issue_cert(HOST, key_type=KeyType.RSA).private_key_pem.bytes()
        ),
        mismatch,
        id="another kind of key",
    ),
    pytest.param(
        lambda files: replace(
            files.certificate, files.ca.cert_pem.bytes() + files.certificate.read_bytes()
        ),
        mismatch,
        id="the chain in the wrong order",
    ),
    pytest.param(
        encrypt,
        lambda files: (
            f"the private key {files.key} is encrypted: tls.key (--tls-key) expects one that"
            " is not; `openssl pkey` removes the password"
        ),
        id="an encrypted key",
    ),
]


@pytest.mark.parametrize(("change", "expected"), BROKEN)
def test_broken_files_at_the_start(
    files: Files, change: Callable[[Files], Any], expected: Callable[[Files], str]
) -> None:
    change(files)
    with pytest.raises(TlsError) as caught:
        server_credentials(files.certificate, files.key, files.authorities)
    assert expected(files) == str(caught.value)


@pytest.mark.parametrize(("change", "expected"), BROKEN)
async def test_a_broken_renewal_keeps_the_old_files(
    files: Files,
    change: Callable[[Files], Any],
    expected: Callable[[Files], str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One warning, which says nothing of what is in the files; and a good renewal is found."""
    caplog.set_level(logging.INFO, "chatpb_server")
    caller = files.client_ca.issue_cert("alice.example")
    async with served(files.certificate, files.key, files.authorities) as port:
        change(files)
        for _ in range(3):
            assert "alice.example" == await name_for(port, files.ca, caller)
        assert [("WARNING", f"{expected(files)}; what was read before stays in use")] == said(
            caplog
        )
        caplog.clear()
        files.ca = CA()
        replace(files.authorities, files.client_ca.cert_pem.bytes())
        files.put(files.issue("second"))
        assert "alice.example" == await name_for(port, files.ca, caller)
        paths = f"{files.certificate} and {files.key} and {files.authorities}"
        assert [("INFO", f"read {paths} again")] == said(caplog)


async def test_one_file_of_both(files: Files) -> None:
    """As some tools write them."""
    replace(files.certificate, files.key.read_bytes() + files.certificate.read_bytes())
    async with served(files.certificate, files.certificate) as port:
        assert "first" == await shown(port, files.ca)
