"""Sends requests over HTTP to an upstream, and reports failures as faults of the upstream."""

from __future__ import annotations

import ssl
from contextvars import ContextVar
from typing import Any, Final
from weakref import WeakSet

import aiohttp
from yarl import URL

from chatpb_server.core.upstream import (
    UpstreamConnectError,
    UpstreamDataError,
    UpstreamTimeoutError,
)
from chatpb_server.upstreams.framing import protocol_factory
from chatpb_server.upstreams.remote import RemoteSettings

#: The most bytes of one header of an answer. Servers put policies and cookies there.
_MAX_HEADER: Final = 32 * 1024


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
        self._how = session
        # Reading the certificates of the system takes 20 ms.
        uses_tls = URL(url).scheme == "https" or settings.ca_file is not None
        self._ssl = ssl.create_default_context(cafile=settings.ca_file) if uses_tls else True
        self._session: aiohttp.ClientSession | None = None
        connect = settings.connect_timeout
        # A whole completion takes its time; what bounds it is the call's deadline.
        self._patient = aiohttp.ClientTimeout(total=None, sock_connect=connect)
        self._impatient = aiohttp.ClientTimeout(
            total=None, sock_connect=connect, sock_read=settings.silence_timeout
        )

    async def ask(
        self, method: str, url: URL, *, is_patient: bool, **how: Any
    ) -> aiohttp.ClientResponse:
        """Sends a request.

        Args:
            method: Its method.
            url: The URL.
            is_patient: Whether the upstream can be silent for longer than the settings allow.
            **how: More for aiohttp.

        Returns:
            The answer, once its headers are there. It must be closed.

        Raises:
            UpstreamConnectError: There is no connection.
            UpstreamDataError: There is no answer, or it cannot be read.
            UpstreamTimeoutError: The upstream is silent.
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
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise UpstreamConnectError("no connection") from error
        except TimeoutError as error:
            raise UpstreamTimeoutError("no answer") from error
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            # An upstream may close an idle connection while a request is on its way, which it then
            # has not seen.
            if _is_reused.get():
                raise UpstreamConnectError("the connection had been closed") from error
            raise UpstreamDataError("broke off: the connection ended without one") from error
        except aiohttp.ClientError as error:
            raise UpstreamDataError(_why_no_answer(error)) from error

    async def close(self) -> None:
        """Closes the pooled connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        self._session = aiohttp.ClientSession(
            # How many run at once is bounded where calls come in.
            connector=_Connector(limit=0, ssl=self._ssl),
            cookie_jar=aiohttp.DummyCookieJar(),
            # Not `trust_env`, which looks at each request for a proxy, and in ~/.netrc for an
            # authorization.
            proxy=self._settings.proxy,
            max_line_size=_MAX_HEADER,
            max_field_size=_MAX_HEADER,
            **self._how,
        )
        return self._session


_is_reused: Final[ContextVar[bool]] = ContextVar("_is_reused", default=False)


class _Connector(aiohttp.TCPConnector):
    """Notes whether the connection that a task has got was used before.

    Its connections read what ordinary clients do (see `framing`).
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._factory = protocol_factory(self._loop)
        self._used: WeakSet[Any] = WeakSet()

    async def connect(self, *arguments: Any, **named: Any) -> Any:
        # An aiohttp.TraceConfig would say so too, at a twentieth of a whole call's cost.
        _is_reused.set(False)
        connection = await super().connect(*arguments, **named)
        _is_reused.set(connection.protocol in self._used)
        self._used.add(connection.protocol)
        return connection


def _why_no_answer(error: aiohttp.ClientError) -> str:
    if isinstance(error, aiohttp.ClientResponseError):
        # aiohttp's text for a line that is too long; its other texts quote what came.
        if error.message.startswith("Got more than "):
            return f"could not be read: it has a header of more than {_MAX_HEADER} bytes"
        return "could not be read: not valid HTTP"
    return "could not be read"
