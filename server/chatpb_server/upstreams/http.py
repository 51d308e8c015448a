"""An upstream behind HTTP: any server that speaks OpenAI's API."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from contextvars import ContextVar
from io import BytesIO
from typing import Annotated, Any, ClassVar, Final
from urllib.parse import urlsplit
from weakref import WeakSet

import aiohttp
from multidict import CIMultiDict
from pydantic import Field, field_validator
from yarl import URL

from chatpb._rpc.loopback import is_loopback
from chatpb_server.core.offload import apart
from chatpb_server.core.reading import has_error
from chatpb_server.core.setting import Setting
from chatpb_server.core.upstream import (
    UpstreamAnswer,
    UpstreamConnectError,
    UpstreamDataError,
    UpstreamRequest,
    UpstreamStream,
    UpstreamTimeoutError,
)
from chatpb_server.upstreams.body import all_after, first_bytes, pieces_of, read_whole
from chatpb_server.upstreams.events import EVENTS, JSON, answer_of, chunks_of, error_of, kind_of
from chatpb_server.upstreams.framing import protocol_factory
from chatpb_server.upstreams.registry import UpstreamSettingsError, register
from chatpb_server.upstreams.remote import (
    RemoteSettings,
    RemoteTable,
    has_host,
)

#: Holds the key of an upstream that is given by its URL alone.
_DEFAULT_KEY: Final = "OPENAI_API_KEY"
_PATH: Final = "chat/completions"
#: The most bytes that are kept of an error. Of a longer one the rest is dropped.
_MAX_ERROR_BYTES: Final = 512 * 1024
#: The most bytes of one header of an answer. Servers put policies and cookies there.
_MAX_HEADER: Final = 32 * 1024
_LARGE: Final = 1024 * 1024
#: Tells the upstream how much of the caller's deadline is left, in milliseconds.
_TIMEOUT_HEADER: Final = "X-Request-Timeout-Ms"
_CLIENT_ID_HEADER: Final = "X-Client-Request-Id"


class HttpUpstream:
    """An `Upstream` at a base URL, such as ``https://api.openai.com/v1``.

    Connections are pooled; a request that meets one just being closed counts as not sent.
    Redirects are not followed, and no cookie is kept.

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
            async with aclosing(pieces_of(response)) as pieces:
                text = await read_whole(pieces, self._settings.max_bytes)
            return await answer_of(text, _headers(response))

    @asynccontextmanager
    async def stream(self, request: UpstreamRequest) -> AsyncIterator[UpstreamStream]:
        """Answers piece by piece, as `Upstream.stream` says."""
        async with (
            self._post(request, self._impatient) as response,
            aclosing(pieces_of(response)) as pieces,
        ):
            headers = _headers(response)
            start = await first_bytes(pieces)
            kind = kind_of(start)
            async with aclosing(all_after(start, pieces)) as body:
                if kind == JSON:
                    text = await read_whole(body, self._settings.max_bytes)
                    if await apart(len(text), has_error, text):
                        raise await error_of(response.status, text, headers)
                    kind = "one JSON text"
                if kind != EVENTS:
                    said = f"could not be read: a stream was asked for, and {kind} came"
                    raise UpstreamDataError(said, headers)
                async with aclosing(chunks_of(body, headers, request.max_event_bytes)) as chunks:
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
            raise UpstreamDataError("broke off: the connection ended without one") from error
        except aiohttp.ClientError as error:
            raise UpstreamDataError(_why_no_answer(error)) from error
        async with response:
            if response.status >= 300:
                async with aclosing(pieces_of(response)) as pieces:
                    error_body = await read_whole(pieces, _MAX_ERROR_BYTES, cut=True)
                raise await error_of(response.status, error_body, _headers(response))
            yield response

    def _open(self) -> aiohttp.ClientSession:
        self._session = aiohttp.ClientSession(
            # How many run at once is bounded where calls come in.
            connector=_Connector(limit=0, ssl=self._ssl),
            cookie_jar=aiohttp.DummyCookieJar(),
            # Not `trust_env`, which looks at each request for a proxy, and in ~/.netrc for an
            # authorization.
            proxy=self._settings.proxy,
            skip_auto_headers=("User-Agent",),
            max_line_size=_MAX_HEADER,
            max_field_size=_MAX_HEADER,
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
