"""A fallback behind HTTP: what is passed to it goes there byte for byte, and back."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from chatpb_server.core.passing import PassedAnswer, PassedRequest
from chatpb_server.core.upstream import (
    UpstreamConnectError,
    UpstreamDataError,
    UpstreamFault,
    UpstreamTimeoutError,
)
from chatpb_server.upstreams.body import Body
from chatpb_server.upstreams.http_client import HttpClient
from chatpb_server.upstreams.query import with_query
from chatpb_server.upstreams.remote import RemoteSettings
from chatpb_server.upstreams.router import OUTCOMES

#: In which headers callers show who they are, to the relay or to the fallback.
_CREDENTIALS: Final = (
    "authorization",
    "api-key",
    "x-api-key",
    "x-goog-api-key",
    "ocp-apim-subscription-key",
)
#: How often a request is sent in all, if the connection is always closed just then.
_ATTEMPTS: Final = 3
#: How paths begin at the base URL of a client.
_OWN_BASE: Final = re.compile(r"^(/openai)?/v1/")
#: What aiohttp would add.
_ADDED: Final = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class HttpFallback:
    """A `Fallback` at a base URL, such as ``https://api.openai.com/v1``.

    The path of a request that begins with that of the base URL is used as it is. Another one is
    added to it, without its own ``/v1`` or ``/openai/v1``.

    Args:
        name: What metrics and logs call it.
        base_url: The base URL.
        settings: How it is asked.

    Raises:
        OSError: The file of certificates cannot be read.
    """

    def __init__(self, name: str, base_url: str, settings: RemoteSettings | None = None) -> None:
        self._name = name
        self._settings = settings or RemoteSettings()
        parts = urlsplit(base_url)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._base = parts.path.rstrip("/")
        self._query = {**dict(parse_qsl(parts.query, True)), **self._settings.query}
        self._client = HttpClient(
            base_url, self._settings, skip_auto_headers=_ADDED, auto_decompress=False
        )

    @asynccontextmanager
    async def send(self, request: PassedRequest) -> AsyncIterator[PassedAnswer]:
        """Sends a request, as `Fallback.send` says."""
        body = request.body
        try:
            response = await self._ask(request)
            if response.status < 200:  # nobody has asked to switch protocols
                response.close()
                raise UpstreamDataError("could not be read: not valid HTTP")
            async with response, aclosing(self._pieces(response)) as pieces:
                headers = [(name.lower(), value) for name, value in response.headers.items()]
                if response.headers.get("transfer-encoding"):  # it counts, and not the length
                    headers = [line for line in headers if line[0] != "content-length"]
                yield PassedAnswer(response.status, response.reason or "", headers, pieces)
        except UpstreamFault:
            if body is not None and body.fault is not None:
                raise body.fault from None
            raise

    async def close(self) -> None:
        """Closes the pooled connections."""
        await self._client.close()

    async def _ask(self, request: PassedRequest) -> aiohttp.ClientResponse:
        """The answer, once its head is there."""
        url, headers = self._url(request), self._headers(request)
        for left in reversed(range(_ATTEMPTS)):
            request.attempts.attempting(self._name)
            began = time.monotonic()
            try:
                response = await self._client.send(
                    request.method, url, is_patient=True, headers=headers, data=request.body
                )
            except UpstreamFault as error:
                if request.body is None or request.body.fault is None:
                    outcome = OUTCOMES[type(error)]
                    request.attempts.attempted(outcome, time.monotonic() - began)
                is_whole = request.body is None or request.body.is_whole
                if not (left and is_whole and _was_closed(error)):
                    raise
            else:
                request.attempts.attempted(str(response.status), time.monotonic() - began)
                return response
        raise AssertionError

    async def _pieces(self, response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
        """The bytes of an answer."""
        silence = self._settings.silence_timeout
        body = Body(response.content)
        try:
            while True:
                async with asyncio.timeout(silence):
                    piece = await body.read()
                if not piece:
                    return
                yield piece
        except TimeoutError as error:
            raise UpstreamTimeoutError("silence") from error

    def _url(self, request: PassedRequest) -> URL:
        path = request.path
        if not path.startswith(f"{self._base}/"):
            path = self._base + _OWN_BASE.sub("/", path)
        url = URL(self._origin + path, encoded=True)
        if self._query:
            return with_query(url.with_query(self._query), request.query)
        return URL(f"{url}?{request.query}", encoded=True) if request.query else url

    def _headers(self, request: PassedRequest) -> CIMultiDict[str]:
        headers = CIMultiDict(request.headers)
        if not self._settings.takes_authorization:
            for name in _CREDENTIALS:
                headers.popall(name, None)
        for name, value in self._settings.headers().items():
            headers[name] = value
        left = request.seconds_left()
        if left is not None:
            headers["x-request-timeout-ms"] = str(round(left * 1000))
        return headers


def _was_closed(error: UpstreamFault) -> bool:
    """Whether the connection was being closed when the request was sent, which was not seen."""
    no_connection = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
    return isinstance(error, UpstreamConnectError) and not isinstance(
        error.__cause__, no_connection
    )
