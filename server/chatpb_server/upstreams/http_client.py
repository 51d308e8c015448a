"""Sends requests over HTTP to an upstream, and reports failures as faults of the upstream."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from functools import partial
from io import BytesIO
from typing import Any, Final, Self

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_writer import _serialize_headers
from multidict import CIMultiDict
from yarl import URL

from chatpb_server.core.upstream import (
    UpstreamConnectError,
    UpstreamDataError,
    UpstreamFault,
    UpstreamTimeoutError,
)
from chatpb_server.core.waits import Waits
from chatpb_server.upstreams.body import Body
from chatpb_server.upstreams.framing import Protocol
from chatpb_server.upstreams.remote import RemoteSettings

#: The most bytes of a body that is written at once, with the head: what a transport takes in.
_SHORT: Final = 64 * 1024
#: The most bytes of one header of an answer. Servers put policies and cookies there.
_MAX_HEADER: Final = 32 * 1024
#: At how many bytes of a body that is not read its connection is read no further, as in a session.
_READ_BUFFER: Final = 64 * 1024
_SWITCHING: Final = 101
#: What aiohttp raises if there is no answer.
_FAULTS: Final = (aiohttp.ClientError, HttpProcessingError, TimeoutError)


class Answer:
    """An answer whose head is there. At the end of the context its connection is free, or closed.

    Args:
        status: Its HTTP status.
        headers: Its headers.
        content: aiohttp's reader of its body.
        close: Closes it.

    Attributes:
        status: The argument.
        headers: The headers, their names in lower case. If a name is repeated, the last one wins.
        body: Its body.
    """

    __slots__ = ("_close", "body", "headers", "status")

    def __init__(
        self,
        status: int,
        headers: Iterable[tuple[str, str]],
        content: aiohttp.StreamReader,
        close: Callable[[], None],
    ) -> None:
        self.status = status
        self.headers = {name.lower(): value for name, value in headers}
        self.body = Body(content)
        self._close = close

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._close()


class HttpClient:
    """Asks one upstream.

    Connections are pooled; a request that meets one just being closed counts as not sent.
    Redirects are not followed, and no cookie is kept.

    Args:
        url: The base URL of the upstream; all requests have its scheme.
        settings: How the upstream is asked.
        **session: More for aiohttp's session.

    Raises:
        OSError: The file of certificates cannot be read.
    """

    def __init__(self, url: str, settings: RemoteSettings, **session: Any) -> None:
        self._settings = settings
        self._url = URL(url)
        self._how = session
        # Reading the certificates of the system takes 20 ms.
        uses_tls = self._url.scheme == "https" or settings.ca_file is not None
        self._ssl = ssl.create_default_context(cafile=settings.ca_file) if uses_tls else True
        self._session: aiohttp.ClientSession | None = None
        connect = settings.connect_timeout
        # A whole completion takes its time; what bounds it is the call's deadline.
        self._patient = aiohttp.ClientTimeout(total=None, sock_connect=connect)
        self._impatient = aiohttp.ClientTimeout(
            total=None, sock_connect=connect, sock_read=settings.silence_timeout
        )

    async def ask(
        self,
        method: str,
        url: URL,
        headers: CIMultiDict[str],
        body: bytes = b"",
        *,
        is_patient: bool,
    ) -> Answer:
        """Sends a request.

        Args:
            method: Its method.
            url: The URL, which differs from that of the client in its path and its query.
            headers: All headers that depend neither on the URL nor on the body.
            body: Its body.
            is_patient: Whether the upstream can be silent for longer than the settings allow.

        Returns:
            The answer, once its headers are there. It must be closed.

        Raises:
            UpstreamConnectError: There is no connection.
            UpstreamDataError: There is no answer, or it cannot be read.
            UpstreamTimeoutError: The upstream is silent.
        """
        if self._settings.proxy is None and 0 < len(body) <= _SHORT:
            try:
                return await self._ask(method, url, headers, body, is_patient=is_patient)
            except _FAULTS as error:
                raise _fault(error) from error
        data = BytesIO(body) if body else None  # sent in pieces
        response = await self.send(method, url, is_patient=is_patient, headers=headers, data=data)
        return Answer(response.status, response.headers.items(), response.content, response.close)

    async def send(
        self, method: str, url: URL, *, is_patient: bool, **how: Any
    ) -> aiohttp.ClientResponse:
        """Sends a request that may be unusual: of any length, through a proxy, or passed on.

        Args:
            method: As for `ask`.
            url: As for `ask`.
            is_patient: As for `ask`.
            **how: More for aiohttp.

        Returns:
            As `ask`.

        Raises:
            UpstreamFault: As for `ask`.
        """
        session = self._session or self._open()
        try:
            return await session.request(
                method,
                url,
                timeout=self._patient if is_patient else self._impatient,
                allow_redirects=False,
                **how,
            )
        except _FAULTS as error:
            raise _fault(error) from error

    async def _ask(
        self,
        method: str,
        url: URL,
        headers: CIMultiDict[str],
        body: bytes,
        *,
        is_patient: bool,
    ) -> Answer:
        """Sends an ordinary request, without what aiohttp's sessions do for unusual ones.

        That is half of the cost of a request. Connections and parsers are the same.
        """
        session = self._session or self._open()
        connector = session.connector
        assert connector is not None
        timeout = self._patient if is_patient else self._impatient
        try:
            connection = await connector.connect(self._target, [], timeout)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError from error
        try:
            protocol, transport = connection.protocol, connection.transport
            if protocol is None or transport is None or transport.is_closing():
                raise aiohttp.ServerDisconnectedError
            protocol.set_response_params(
                read_until_eof=True,
                read_timeout=timeout.sock_read,
                read_bufsize=_READ_BUFFER,
                max_line_size=_MAX_HEADER,
                max_field_size=_MAX_HEADER,
            )
            headers.setdefault("Host", url.host_port_subcomponent or "")
            headers["Content-Length"] = str(len(body))
            head = _serialize_headers(f"{method} {url.raw_path_qs} HTTP/1.1", headers)
            transport.write(head + body)
            protocol.start_timeout()
            while True:
                message, content = await protocol.read()
                if not 100 <= message.code < 200 or message.code == _SWITCHING:
                    break
                protocol.start_timeout()  # it ended with the end of this message
            content.on_eof(connection.release)
            return Answer(message.code, message.headers.items(), content, connection.close)
        except BaseException:
            connection.close()
            raise

    async def close(self) -> None:
        """Closes the pooled connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        self._session = aiohttp.ClientSession(
            # How many run at once is bounded where calls come in.
            connector=_Connector(self._settings.silence_timeout, limit=0, ssl=self._ssl),
            cookie_jar=aiohttp.DummyCookieJar(),
            # Not `trust_env`, which looks at each request for a proxy, and in ~/.netrc for an
            # authorization.
            proxy=self._settings.proxy,
            max_line_size=_MAX_HEADER,
            max_field_size=_MAX_HEADER,
            **self._how,
        )
        # What connections are made for, and known by.
        self._target = aiohttp.ClientRequest("POST", self._url, session=self._session)
        return self._session


#: The connection that a task has got, if it was used before.
_reused: Final[ContextVar[Protocol | None]] = ContextVar("_reused", default=None)


class _Connector(aiohttp.TCPConnector):
    """Notes whether the connection that a task has got was used before.

    Its connections read what ordinary clients do (see `framing`).
    """

    def __init__(self, silence: float | None, **arguments: Any) -> None:
        super().__init__(**arguments)
        silent = Waits(silence, ResponseHandler._on_read_timeout)
        self._factory: Any = partial(Protocol, self._loop, silent)

    async def connect(self, *arguments: Any, **named: Any) -> Any:
        # An aiohttp.TraceConfig would say so too, at a twentieth of a whole call's cost.
        _reused.set(None)
        while True:
            connection = await super().connect(*arguments, **named)
            protocol = connection.protocol
            assert isinstance(protocol, Protocol)
            if not (protocol.is_used and protocol.should_close):
                break
            connection.close()  # it has sent what nobody asked for, which would be the answer
        if protocol.is_used:
            _reused.set(protocol)
        protocol.is_used = True
        protocol.has_answered = False
        return connection


def _fault(error: Exception) -> UpstreamFault:
    """The fault for an error of aiohttp, one of `_FAULTS`."""
    if isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)):
        return UpstreamConnectError("no connection")
    if isinstance(error, TimeoutError):
        return UpstreamTimeoutError("no answer")
    if isinstance(error, (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
        # An upstream may close an idle connection while a request is on its way, which it then
        # has not seen: of one that it has seen, a part of an answer may be here.
        reused = _reused.get()
        if reused is not None and not reused.has_answered:
            return UpstreamConnectError("the connection had been closed")
        return UpstreamDataError("broke off: the connection ended without one")
    return UpstreamDataError(_why_no_answer(error))


def _why_no_answer(error: Exception) -> str:
    if isinstance(error, (aiohttp.ClientResponseError, HttpProcessingError)):
        # aiohttp's text for a line that is too long; its other texts quote what came.
        if error.message.startswith("Got more than "):
            return f"could not be read: it has a header of more than {_MAX_HEADER} bytes"
        return "could not be read: not valid HTTP"
    return "could not be read"
