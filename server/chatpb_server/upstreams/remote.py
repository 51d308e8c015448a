"""The settings of upstreams that are reached over a network, with a key or a certificate."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, field_validator, model_validator

from chatpb._errors import os_error_text
from chatpb_server.access.secret import OWN_HEADERS, Secret, SecretError, check_header
from chatpb_server.core.setting import MAX_MESSAGE_BYTES, Seconds, Setting
from chatpb_server.upstreams.proxy import ProxyError, described, find_proxy
from chatpb_server.upstreams.registry import UpstreamSettingsError, UpstreamTable

_CONNECT_TIMEOUT: Final = 10.0
_SILENCE_TIMEOUT: Final = 300.0


@dataclass(frozen=True, slots=True)
class RemoteSettings:
    """How an upstream is asked, with the key that has been read.

    Attributes:
        headers: Gives the headers, or the metadata, of a request; called for each one.
        query: Query parameters of every request.
        ca_file: Certificates of the authorities to trust instead of the system's.
        connect_timeout: How many seconds it can take to make a connection.
        silence_timeout: How many seconds a stream can be silent. None: no limit.
        max_bytes: The most bytes of a message, or of an answer that is not a stream.
        takes_authorization: Whether it gets the ``authorization`` of the callers. They can be the
            callers of another upstream.
        proxy: The URL of the proxy through which it is reached. None: directly.
    """

    headers: Callable[[], Mapping[str, str]] = field(default=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    ca_file: Path | None = None
    connect_timeout: float = _CONNECT_TIMEOUT
    silence_timeout: float | None = _SILENCE_TIMEOUT
    max_bytes: int = MAX_MESSAGE_BYTES
    takes_authorization: bool = False
    proxy: str | None = field(default=None, repr=False)


def has_host(url: str, *schemes: str) -> bool:
    """Whether a text is a URL with one of some schemes, and with a host."""
    try:
        parts = urlsplit(url)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


class RemoteTable(UpstreamTable):
    """An upstream behind a URL."""

    owners: ClassVar[str] = "upstreams with a URL"

    api_key_env: Annotated[
        Annotated[str, Field(min_length=1)] | None,
        Setting(
            "The environment variable that contains the upstream's key.",
            flag="--api-key-env",
            value="VARIABLE",
            default="OPENAI_API_KEY for an upstream given by --upstream; over plain http, only on"
            " this machine",
        ),
    ] = None
    api_key_file: Annotated[
        Path | None,
        Setting(
            "The file that contains the key. It is read again when it changes.",
            flag="--api-key-file",
        ),
    ] = None
    auth: Annotated[
        Literal["key", "caller", "none"] | None,
        Setting(
            "Whose authorization the upstream gets: the relay's key, the caller's own (from its"
            " metadata or headers), or none.",
            flag="--auth",
            default="key, if there is one",
        ),
    ] = None
    api_key_header: Annotated[
        str,
        Setting(
            "The header of the key. In `authorization` the key follows `Bearer`. Azure's is"
            " `api-key`.",
            flag="--api-key-header",
            value="HEADER",
        ),
    ] = "authorization"
    headers: Annotated[
        dict[str, str],
        Setting("Headers of every request.", secret=True),
    ] = Field(default_factory=dict, repr=False)
    ca_file: Annotated[
        Path | None,
        Setting("Certificates of the authorities to trust instead of the system's, in PEM form."),
    ] = None
    proxy: Annotated[
        str | None,
        Setting(
            "The proxy: its URL, http://HOST:PORT; `environment` for that of HTTPS_PROXY,"
            " HTTP_PROXY, ALL_PROXY or, for gRPC, grpc_proxy, unless NO_PROXY names the upstream or"
            " it is on this machine; or `none`. Through a proxy for http:// or grpc://, whoever"
            " runs it can read the key and the prompts.",
            flag="--proxy",
            value="PROXY",
            default="environment for https:// and grpcs://, none for http:// and grpc://",
        ),
    ] = None
    connect_timeout: Annotated[
        float,
        Field(gt=0),
        Setting("How long it can take to make a connection.", unit="seconds"),
    ] = _CONNECT_TIMEOUT
    silence_timeout: Annotated[
        Seconds,
        Setting("How long a stream can be silent. 0: no limit.", unit="seconds"),
    ] = _SILENCE_TIMEOUT

    @property
    def address(self) -> SplitResult:
        """The parts of the URL."""
        return urlsplit(self.url)

    @property
    def has_key(self) -> bool:
        """Whether it has a key of its own."""
        return self.api_key_env is not None or self.api_key_file is not None

    @property
    def takes_authorization(self) -> bool:
        """Whether it gets the callers' own authorization."""
        return self.auth == "caller"

    @field_validator("url")
    @classmethod
    def _has_address_alone(cls, text: str) -> str:
        url = urlsplit(text)
        if "@" in url.netloc:
            raise ValueError(
                "expected a URL without a user and a password; a key is for api_key_env"
            )
        if url.fragment:
            raise ValueError("expected a URL without #")
        return text

    @field_validator("proxy")
    @classmethod
    def _has_no_password(cls, text: str | None) -> str | None:
        if text is not None and "@" in text:
            raise ValueError(
                "expected a URL without a user and a password; HTTPS_PROXY can have them"
            )
        return text

    @model_validator(mode="after")
    def _has_one_authorization(self) -> Self:
        if self.api_key_env is not None and self.api_key_file is not None:
            raise ValueError("expected api_key_env or api_key_file, not both")
        if self.auth == "key" and not self.has_key:
            raise ValueError('auth "key" needs api_key_env or api_key_file')
        if self.auth in ("caller", "none") and self.has_key:
            raise ValueError(f'auth "{self.auth}" and a key: expected one of them')
        check_header(self.api_key_header, "")
        for name, value in self.headers.items():
            check_header(name, value)
            if name.lower() in ("authorization", self.api_key_header.lower()):
                raise ValueError(f"headers: {name} is for api_key_env or api_key_file")
            if name.lower() in OWN_HEADERS - {"host"}:
                raise ValueError(f"headers: {name} is set by the relay itself")
        return self

    def settings(self, max_bytes: int, query: Mapping[str, str] | None = None) -> RemoteSettings:
        """Reads the key, and gives what the upstream is built from.

        Args:
            max_bytes: As in `build`.
            query: Query parameters of every request.

        Raises:
            UpstreamSettingsError: The key cannot be read, or the proxy cannot be used.
        """
        try:
            proxy = find_proxy(self.url, self.proxy, os.environ)
        except ProxyError as error:
            raise UpstreamSettingsError(str(error)) from None
        return RemoteSettings(
            headers=self._headers(),
            query=query or {},
            ca_file=self.ca_file,
            connect_timeout=self.connect_timeout,
            silence_timeout=self.silence_timeout or None,
            max_bytes=max_bytes,
            takes_authorization=self.takes_authorization,
            proxy=proxy,
        )

    def _headers(self) -> Callable[[], Mapping[str, str]]:
        try:
            if self.api_key_env is not None:
                secret = Secret.from_env(self.api_key_env)
            elif self.api_key_file is not None:
                secret = Secret.from_file(self.api_key_file)
            else:
                return lambda: self.headers
        except SecretError as error:
            raise UpstreamSettingsError(str(error)) from None
        scheme = "Bearer " if self.api_key_header.lower() == "authorization" else ""
        return lambda: {**self.headers, self.api_key_header: scheme + secret.reveal()}

    @contextmanager
    def reading_ca_file(self) -> Iterator[None]:
        """Reports that the file of authorities cannot be read.

        Raises:
            UpstreamSettingsError: It cannot.
        """
        try:
            yield
        except OSError as error:
            reason = os_error_text(error)
            if isinstance(error, ssl.SSLError):
                reason = "expected certificates in PEM form"
            raise UpstreamSettingsError(
                f"cannot use the ca_file {self.ca_file}: {reason}"
            ) from None

    def __str__(self) -> str:
        """Describes it in one line, without secrets."""
        key = self.api_key_env or self.api_key_file
        whose = f"a key from {key}" if key else "no key"
        if self.auth == "caller":
            whose = "the caller's authorization"
        url, way = self.address, described(self.url, self.proxy, os.environ)
        return f"{url.scheme}://{url.netloc}{url.path} with {whose}{way}"
