"""An upstream behind HTTP: any server that speaks OpenAI's API."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from contextvars import ContextVar
from io import BytesIO
from typing import Annotated, Any, ClassVar, Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass
from weakref import WeakSet

import aiohttp
from multidict import CIMultiDict
from pydantic import Field, field_validator
from yarl import URL

from chatpb import ConversionError
from chatpb._rpc.loopback import is_loopback
from chatpb.sse import is_error
from chatpb_server.core.setting import Setting
from chatpb_server.core.upstream import (
    UpstreamAnswer,
    UpstreamConnectError,
    UpstreamDataError,
    UpstreamError,
    UpstreamRequest,
    UpstreamStream,
    UpstreamTimeoutError,
)
from chatpb_server.upstreams.events import answer_of, chunks_of
from chatpb_server.upstreams.registry import UpstreamSettingsError, register
from chatpb_server.upstreams.remote import (
    RemoteSettings,
    RemoteTable,
    has_host,
)

#: Holds the key of an upstream that is given by its URL alone.
_DEFAULT_KEY: Final = "OPENAI_API_KEY"
_PATH: Final = "chat/completions"
_MAX_ERROR_BYTES: Final = 64 * 1024
_LARGE: Final = 1024 * 1024
#: The most bytes that are taken at once. Each stream holds several times as much.
_PIECE: Final = 64 * 1024
#: Tells the upstream how much of the caller's deadline is left, in milliseconds.
_TIMEOUT_HEADER: Final = "X-Request-Timeout-Ms"
_CLIENT_ID_HEADER: Final = "X-Client-Request-Id"


class HttpUpstream:
    """An `Upstream` at a base URL, such as ``https://api.openai.com/v1``.

    Connections are pooled; a request that meets one just being closed counts as not sent. The proxy
    settings of the environment (``HTTPS_PROXY``, ``NO_PROXY``) are used. Redirects are not
    followed, and no cookie is kept.

    Args:
        base_url: The base URL, to which ``/chat/completions`` is added.
        settings: How it is asked.

    Raises:
        OSError: The file of certificates cannot be read.
    """

    def __init__(self, base_url: str, settings: RemoteSettings | None = None) -> None:
        self._settings = settings or RemoteSettings()
        url = URL(base_url)
        self._url = url.joinpath(_PATH).with_query({**url.query, **self._settings.query})
        self._ssl = ssl.create_default_context(cafile=self._settings.ca_file)
        self._session: aiohttp.ClientSession | None = None
        connect = self._settings.connect_timeout
        # A whole completion takes its time; what bounds it is the call's deadline.
        self._patient = aiohttp.ClientTimeout(total=None, sock_connect=connect)
        self._impatient = aiohttp.ClientTimeout(
            total=None, sock_connect=connect, sock_read=self._settings.silence_timeout
        )

    async def create(self, request: UpstreamRequest) -> UpstreamAnswer:
        """Answers with a whole completion, as `Upstream.create` says."""
        async with self._post(request, self._patient) as response:
            text = await _read(response, self._settings.max_bytes)
            return await answer_of(text, _headers(response))

    @asynccontextmanager
    async def stream(self, request: UpstreamRequest) -> AsyncIterator[UpstreamStream]:
        """Answers piece by piece, as `Upstream.stream` says."""
        async with self._post(request, self._impatient) as response:
            if response.content_type == "application/json":
                body = await _read(response, self._settings.max_bytes)
                if not _is_error(body):
                    raise UpstreamDataError("one JSON text in place of a stream")
                raise UpstreamError(response.status, body, _headers(response))
            headers = _headers(response)
            async with (
                aclosing(_pieces(response)) as pieces,
                aclosing(chunks_of(pieces, headers, request.max_event_bytes)) as chunks,
            ):
                yield UpstreamStream(chunks, headers)

    async def close(self) -> None:
        """Closes the pooled connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    @asynccontextmanager
    async def _post(
        self, request: UpstreamRequest, timeout: aiohttp.ClientTimeout
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer to a request, once its headers are there, unless it is an error."""
        text = await request.body.text()
        session = self._session or self._open()
        # What is large is sent in pieces.
        body = text if len(text) <= _LARGE else BytesIO(text)
        try:
            response = await session.post(
                self._url,
                data=body,
                headers=self._request_headers(request),
                timeout=timeout,
                allow_redirects=False,
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
            raise UpstreamDataError("no answer") from error
        except aiohttp.ClientError as error:
            raise UpstreamDataError("no answer") from error
        async with response:
            if response.status >= 300:
                error_body = await _read(response, _MAX_ERROR_BYTES, cut=True)
                raise UpstreamError(response.status, error_body, _headers(response))
            yield response

    def _open(self) -> aiohttp.ClientSession:
        self._session = aiohttp.ClientSession(
            # How many run at once is bounded where calls come in.
            connector=_Connector(limit=0, ssl=self._ssl),
            cookie_jar=aiohttp.DummyCookieJar(),
            # Not `trust_env`, which looks at each request for a proxy, and in ~/.netrc for an
            # authorization.
            proxy=_proxy(self._url),
            skip_auto_headers=("User-Agent",),
        )
        return self._session

    def _request_headers(self, request: UpstreamRequest) -> CIMultiDict[str]:
        headers = CIMultiDict(
            {
                "Content-Type": "application/json",
                # Compressed events would not be read as they come, and small bodies could unpack to
                # large ones.
                "Accept-Encoding": "identity",
                "User-Agent": "chatpb",
            }
        )
        headers.update(request.headers)
        if not self._settings.takes_authorization:
            headers.popall("Authorization", None)
        headers.update(self._settings.headers())
        if request.call_id:
            headers[_CLIENT_ID_HEADER] = request.call_id
        left = request.seconds_left()
        if left is not None:
            headers[_TIMEOUT_HEADER] = str(round(left * 1000))
        return headers


def _proxy(url: URL) -> str | None:
    """The proxy that the environment names for a URL."""
    return None if proxy_bypass(url.host or "") else getproxies().get(url.scheme)


_is_reused: Final[ContextVar[bool]] = ContextVar("_is_reused", default=False)


class _Connector(aiohttp.TCPConnector):
    """Notes whether the connection that a task has got was used before."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._used: WeakSet[Any] = WeakSet()

    async def connect(self, *arguments: Any, **named: Any) -> Any:
        # An aiohttp.TraceConfig would say so too, at a twentieth of a whole call's cost.
        _is_reused.set(False)
        connection = await super().connect(*arguments, **named)
        _is_reused.set(connection.protocol in self._used)
        self._used.add(connection.protocol)
        return connection


async def _pieces(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    """The bytes of the body, all that have arrived in each item, up to a bound."""
    read = response.content.read
    try:
        while data := await read(_PIECE):
            yield data
    except TimeoutError as error:
        raise UpstreamTimeoutError("silence") from error
    except aiohttp.ClientError as error:
        raise UpstreamDataError("the answer broke off") from error


async def _read(response: aiohttp.ClientResponse, most: int, *, cut: bool = False) -> bytes:
    """The whole body.

    Args:
        response: The answer.
        most: The most bytes of it.
        cut: Whether a longer one is cut, and not an error.
    """
    body = bytearray()
    async with aclosing(_pieces(response)) as pieces:
        async for piece in pieces:
            body += piece
            if len(body) > most:
                if not cut:
                    raise UpstreamDataError(f"an answer of more than {most} bytes")
                del body[most:]
                break
    return bytes(body)


def _is_error(body: bytes) -> bool:
    try:
        return is_error(body)
    except ConversionError:
        return False


def _headers(response: aiohttp.ClientResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


@register
class HttpTable(RemoteTable):
    """A server that speaks OpenAI's API over HTTP."""

    kind: ClassVar[str] = "a server behind HTTP"
    form: ClassVar[str] = "https://HOST/v1"
    expected: ClassVar[str] = "a base URL such as https://api.openai.com/v1"
    about: ClassVar[str] = "A server that speaks OpenAI's API, over https:// or http://."
    owners: ClassVar[str] = "upstreams behind HTTP"

    query: Annotated[
        dict[str, str],
        Setting("Query parameters of every request, such as Azure's `api-version`.", secret=True),
    ] = Field(default_factory=dict, repr=False)

    @classmethod
    def takes(cls, url: str) -> bool:
        """Whether a URL is one of HTTP."""
        return has_host(url, "http", "https")

    @classmethod
    def complete(cls, table: dict[str, Any], environ: Mapping[str, str]) -> None:
        """Adds the key of the environment, if only the upstream can read it.

        Raises:
            UpstreamSettingsError: A key is needed, and there is none.
        """
        auth = table.get("auth")
        if auth not in (None, "key") or table.keys() & {"api_key_env", "api_key_file"}:
            return
        if environ.get(_DEFAULT_KEY) and (auth == "key" or _is_private(table["url"])):
            table["api_key_env"] = _DEFAULT_KEY
        elif auth == "key" or urlsplit(table["url"]).hostname == "api.openai.com":
            table["auth"] = "none"  # so that the missing key is not reported twice
            raise UpstreamSettingsError(
                f"needs a key: set {_DEFAULT_KEY}, name another variable with api_key_env"
                " (--api-key-env), or a file with api_key_file (--api-key-file); or pass the"
                ' callers\' own on with auth = "caller" (--auth caller)'
            )

    @field_validator("url")
    @classmethod
    def _is_base(cls, url: str) -> str:
        if urlsplit(url).path.rstrip("/").endswith(f"/{_PATH}"):
            raise ValueError(f"expected the base URL, without /{_PATH}")
        return url

    def build(self, max_bytes: int) -> HttpUpstream:
        """Makes the upstream; see `UpstreamTable.build`."""
        settings = self.settings(max_bytes, self.query)
        with self.reading_ca_file():
            return HttpUpstream(self.url, settings)


def _is_private(url: str) -> bool:
    """Whether nobody between here and the server can read what is sent to a URL."""
    parts = urlsplit(url)
    return parts.scheme == "https" or is_loopback(parts.hostname or "")
