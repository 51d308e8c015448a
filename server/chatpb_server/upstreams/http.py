"""An upstream behind HTTP: any server that speaks OpenAI's API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Annotated, Any, ClassVar, Final
from urllib.parse import urlsplit

from multidict import CIMultiDict
from pydantic import Field, field_validator
from yarl import URL

from chatpb._rpc.loopback import is_loopback
from chatpb_server.core.models import ListedModel, ModelsRequest
from chatpb_server.core.offload import apart
from chatpb_server.core.reading import has_error
from chatpb_server.core.setting import Setting
from chatpb_server.core.upstream import (
    UpstreamAnswer,
    UpstreamDataError,
    UpstreamRequest,
    UpstreamStream,
)
from chatpb_server.upstreams.events import EVENTS, JSON, answer_of, chunks_of, error_of, kind_of
from chatpb_server.upstreams.http_client import Answer, HttpClient
from chatpb_server.upstreams.model_list import MAX_BYTES, models_in_text
from chatpb_server.upstreams.query import with_query
from chatpb_server.upstreams.registry import UpstreamSettingsError, register
from chatpb_server.upstreams.remote import (
    RemoteSettings,
    RemoteTable,
    has_host,
)

#: Holds the key of an upstream that is given by its URL alone.
_DEFAULT_KEY: Final = "OPENAI_API_KEY"
_PATH: Final = "chat/completions"
_MODELS_PATH: Final = "models"
#: The most bytes that are kept of an error. Of a longer one the rest is dropped.
_MAX_ERROR_BYTES: Final = 512 * 1024
#: Tells the upstream how much of the caller's deadline is left, in milliseconds.
_TIMEOUT_HEADER: Final = "X-Request-Timeout-Ms"
_CLIENT_ID_HEADER: Final = "X-Client-Request-Id"


class HttpUpstream:
    """An `Upstream` at a base URL, such as ``https://api.openai.com/v1``.

    Args:
        base_url: The base URL, to which ``/chat/completions`` is added.
        settings: How it is asked.

    Raises:
        OSError: The file of certificates cannot be read.
    """

    def __init__(self, base_url: str, settings: RemoteSettings | None = None) -> None:
        self._settings = settings or RemoteSettings()
        url = URL(base_url)
        query = {**url.query, **self._settings.query}
        self._url = url.joinpath(_PATH).with_query(query)
        self._models_url = url.joinpath(_MODELS_PATH).with_query(query)
        self._client = HttpClient(base_url, self._settings, skip_auto_headers=("User-Agent",))

    async def create(self, request: UpstreamRequest) -> UpstreamAnswer:
        """Answers with a whole completion, as `Upstream.create` says."""
        async with await self._post(request, True) as answer:
            text = await answer.body.whole(self._settings.max_bytes)
        return await answer_of(text, answer.headers)

    @asynccontextmanager
    async def stream(self, request: UpstreamRequest) -> AsyncIterator[UpstreamStream]:
        """Answers piece by piece, as `Upstream.stream` says."""
        async with await self._post(request, False) as answer:
            headers = answer.headers
            kind = kind_of(await answer.body.start())
            if kind == JSON:
                text = await answer.body.whole(self._settings.max_bytes)
                if await apart(len(text), has_error, text):
                    raise await error_of(answer.status, text, headers)
                kind = "one JSON text"
            if kind != EVENTS:
                said = f"could not be read: a stream was asked for, and {kind} came"
                raise UpstreamDataError(said, headers)
            events = chunks_of(answer.body, headers, request.max_event_bytes)
            async with aclosing(events) as chunks:
                yield UpstreamStream(chunks, headers)

    async def models(self, request: ModelsRequest) -> Sequence[ListedModel]:
        """Lists its models, as `ListsModels.models` says."""
        url = with_query(self._models_url, request.query)
        headers = self._headers(request.headers, request.seconds_left())
        async with await self._ask("GET", url, headers, is_patient=False) as answer:
            text = await answer.body.whole(min(self._settings.max_bytes, MAX_BYTES))
        return await models_in_text(text, answer.headers)

    async def close(self) -> None:
        """Closes the pooled connections."""
        await self._client.close()

    async def _post(self, request: UpstreamRequest, is_patient: bool) -> Answer:
        """The answer to a request, once its headers are there."""
        text = await request.body.text()
        headers = self._headers(request.headers, request.seconds_left())
        headers["Content-Type"] = "application/json"
        if request.call_id:
            headers.setdefault(_CLIENT_ID_HEADER, request.call_id)
        url = with_query(self._url, request.query)
        return await self._ask("POST", url, headers, text, is_patient=is_patient)

    async def _ask(
        self,
        method: str,
        url: URL,
        headers: CIMultiDict[str],
        body: bytes = b"",
        *,
        is_patient: bool,
    ) -> Answer:
        """The answer to a request, unless it is an error."""
        answer = await self._client.ask(method, url, headers, body, is_patient=is_patient)
        if answer.status < 300:
            return answer
        async with answer:
            error_body = await answer.body.whole(_MAX_ERROR_BYTES, cut=True)
            raise await error_of(answer.status, error_body, answer.headers)

    def _headers(self, passed_on: Mapping[str, str], left: float | None) -> CIMultiDict[str]:
        """The headers of any request.

        Args:
            passed_on: Those of the call.
            left: How many seconds are left for it; None without a deadline.
        """
        headers = CIMultiDict(
            {
                "Accept": "*/*",
                # Compressed events would not be read as they come, and small bodies could unpack to
                # large ones.
                "Accept-Encoding": "identity",
                "User-Agent": "chatpb",
            }
        )
        headers.update(passed_on)
        if not self._settings.takes_authorization:
            headers.popall("Authorization", None)
        headers.update(self._settings.headers())
        if left is not None:
            headers[_TIMEOUT_HEADER] = str(round(left * 1000))
        return headers


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
