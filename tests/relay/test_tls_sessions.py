"""With a client CA no TLS session is resumed: it could outlive that CA, or its certificate."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import pytest
from trustme import CA, LeafCert

from chatpb_server.access.tls import server_context, server_credentials
from chatpb_server.running.serving import Options, Ports, serving_all
from support.certificates import HOST, Certificates, chain
from support.files import replace
from support.limits import TIMEOUT
from support.scripted import Script

#: What is sent first over HTTP/2: the preface and empty settings.
HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)
HTTP1 = b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n"
#: Seconds for which a certificate is valid that is to expire.
VALID = (4, 30)

EDGES = ["http", "grpc"]
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
TICKETS = [True, False]

edges = pytest.mark.parametrize("edge", EDGES)
versions = pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
tickets = pytest.mark.parametrize("tickets", TICKETS, ids=["tickets", "no tickets"])


class Files(Certificates):
    """The files of a server with a client CA.

    Attributes:
        callers: Who signs for the callers.
        client_ca: The file of its certificate.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.callers = CA()
        self.client_ca = folder / "callers.pem"
        self.client_ca.write_bytes(self.callers.cert_pem.bytes())

    def remove(self) -> None:
        """Replaces the callers' CA by another one."""
        replace(self.client_ca, CA().cert_pem.bytes())


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Files in a folder of their own."""
    return Files(tmp_path)


@asynccontextmanager
async def relay(files: Files, *, mutual: bool = True) -> AsyncIterator[Ports]:
    """A relay with both edges."""
    paths = (files.certificate, files.key, files.client_ca if mutual else None)
    options = Options(
        http=f"{HOST}:0",
        credentials=server_credentials(*paths),
        ssl_context=server_context(*paths),
    )
    async with serving_all(Script(), options=options) as ports:
        yield ports


class Caller:
    """A caller that resumes its last session, if it can.

    Args:
        files: Of the server.
        folder: For its own files.
        leaf: Its certificate.
        edge: ``http`` or ``grpc``.
        version: The only version of TLS that it has.
        tickets: Whether it takes session tickets. Without them, TLS 1.2 has session ids.
    """

    def __init__(
        self,
        files: Files,
        folder: Path,
        leaf: LeafCert,
        edge: str,
        version: ssl.TLSVersion,
        tickets: bool,
    ) -> None:
        own = folder / "caller.pem"
        own.write_bytes(leaf.private_key_pem.bytes() + chain(leaf))
        context = ssl.create_default_context(cafile=str(files.ca))
        context.load_cert_chain(own)
        context.minimum_version = context.maximum_version = version
        context.set_alpn_protocols(["h2" if edge == "grpc" else "http/1.1"])
        if not tickets:
            context.options |= ssl.OP_NO_TICKET
        self._context = context
        self._edge = edge
        self._session: ssl.SSLSession | None = None
        self.has_resumed = False

    async def gets_in(self, ports: Ports) -> bool:
        """Whether it gets an answer, over a new connection."""
        port = ports.grpc if self._edge == "grpc" else ports.http
        return await asyncio.to_thread(self._asks, port)

    def _asks(self, port: int | None) -> bool:
        with socket.create_connection((HOST, port or 0), timeout=TIMEOUT) as plain:
            try:
                with self._context.wrap_socket(
                    plain, server_hostname=HOST, session=self._session
                ) as connection:
                    self.has_resumed = connection.session_reused or False
                    connection.sendall(HTTP2 if self._edge == "grpc" else HTTP1)
                    got_in = bool(connection.recv(1))
                    self._session = connection.session  # with TLS 1.3, it came with the answer
            except (ssl.SSLError, ConnectionError):
                return False
        return got_in


@edges
@versions
@tickets
async def test_a_ca_that_was_removed(
    files: Files, tmp_path: Path, edge: str, version: ssl.TLSVersion, tickets: bool
) -> None:
    leaf = files.callers.issue_cert("caller")
    caller = Caller(files, tmp_path, leaf, edge, version, tickets)
    async with relay(files) as ports:
        for _ in range(2):
            assert await caller.gets_in(ports)
        files.remove()
        assert not await caller.gets_in(ports)
        assert not await caller.gets_in(ports)


async def test_a_certificate_that_has_expired(files: Files, tmp_path: Path) -> None:
    async with relay(files) as ports:
        for seconds in VALID:
            end = datetime.now(UTC) + timedelta(seconds=seconds)
            leaf = files.callers.issue_cert("caller", not_after=end)
            kinds = product(EDGES, VERSIONS, TICKETS)
            callers = [Caller(files, tmp_path, leaf, *kind) for kind in kinds]
            get_in = [await caller.gets_in(ports) for _ in range(2) for caller in callers]
            if datetime.now(UTC) < end - timedelta(seconds=1):
                break
        assert all(get_in)
        while datetime.now(UTC) < end + timedelta(seconds=1.1):  # it is of whole seconds
            await asyncio.sleep(0.1)
        for _ in range(2):
            assert not any([await caller.gets_in(ports) for caller in callers])


@edges
@versions
async def test_nothing_is_resumed_with_a_client_ca(
    files: Files, tmp_path: Path, edge: str, version: ssl.TLSVersion
) -> None:
    leaf = files.callers.issue_cert("caller")
    caller = Caller(files, tmp_path, leaf, edge, version, tickets=True)
    async with relay(files) as ports:
        for _ in range(3):
            assert await caller.gets_in(ports)
            assert not caller.has_resumed


@edges
@versions
async def test_sessions_are_resumed_without_one(
    files: Files, tmp_path: Path, edge: str, version: ssl.TLSVersion
) -> None:
    leaf = files.callers.issue_cert("caller")
    caller = Caller(files, tmp_path, leaf, edge, version, tickets=True)
    async with relay(files, mutual=False) as ports:
        assert await caller.gets_in(ports)
        assert await caller.gets_in(ports)
    assert caller.has_resumed


@edges
async def test_many_connections_at_once(files: Files, tmp_path: Path, edge: str) -> None:
    """Each is verified, while the files change back and forth."""
    version = ssl.TLSVersion.TLSv1_3
    leaf = files.callers.issue_cert("caller")
    callers = [Caller(files, tmp_path, leaf, edge, version, tickets=True) for _ in range(10)]
    good = files.client_ca.read_bytes()
    async with relay(files) as ports:
        for _ in range(3):
            replace(files.client_ca, good)
            assert [True] * 10 == await asyncio.gather(*(one.gets_in(ports) for one in callers))
            files.remove()
            assert [False] * 10 == await asyncio.gather(*(one.gets_in(ports) for one in callers))
