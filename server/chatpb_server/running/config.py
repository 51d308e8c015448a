"""The settings: flags before the environment before one TOML file before defaults.

No setting is a secret; some name an environment variable or a file that holds one.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from chatpb._errors import os_error_text
from chatpb._rpc.loopback import is_loopback
from chatpb_server.access.address import Address, AddressError, check_exposure
from chatpb_server.access.secret import check_header
from chatpb_server.core.setting import Seconds, Table
from chatpb_server.edges.grpc import PASSED_HEADERS, Limits
from chatpb_server.upstreams.router import RetryPolicy
from chatpb_server.watching.logs import LogFormat, LogLevel
from chatpb_server.watching.record_limits import OWN_LABELS, RecordLimits

BUILTIN: Final = "builtin"
REPLAY: Final = "replay:"
#: The schemes of the URLs of other relays.
_GRPC: Final = ("grpc", "grpcs")
#: The environment variables of flags begin so.
PREFIX: Final = "CHATPB_SERVER_"
#: Holds the key of an upstream that is given by its URL alone.
DEFAULT_KEY: Final = "OPENAI_API_KEY"

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PASSED_ON: Final = re.compile(r"[a-z0-9_.-]+(?<!-bin)")
_PASSED_BACK: Final = re.compile(r"[a-z0-9_.-][a-z0-9_.*-]*(?<!-bin)")
#: What the relay, or HTTP itself, says of a request.
_OWN_HEADERS: Final = frozenset(
    ("connection", "content-length", "content-type", "host", "te", "transfer-encoding")
)
#: In place of `upstreams`: one upstream, named "default".
_SHORT: Final = {"upstream": "url", "api_key_env": "", "api_key_file": "", "auth": ""}


class ConfigError(Exception):
    """Settings that cannot be served.

    Attributes:
        mistakes: Each in one line, with its place and the way out, and without secrets.
    """

    def __init__(self, *mistakes: str) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True)
class Given:
    """A setting by a flag or an environment variable.

    Attributes:
        place: The flag, or the variable.
        value: The value.
    """

    place: str
    value: Any


def _address(text: str) -> str:
    return str(Address.parse(text))


def _origin(text: str) -> str:
    """The URL of an upstream, or what stands in its place."""
    if text == BUILTIN or (text.startswith(REPLAY) and text != REPLAY):
        return text
    try:
        url = urlsplit(text)
        is_url = url.scheme in ("http", "https", *_GRPC) and bool(url.hostname) and url.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        raise ValueError(
            "expected builtin, replay:PATH, a base URL such as https://api.openai.com/v1, or"
            " another relay, grpc://HOST:PORT"
        )
    if "@" in url.netloc:
        raise ValueError("expected a URL without a user and a password; a key is for api_key_env")
    if url.fragment:
        raise ValueError("expected a URL without #")
    if url.scheme in _GRPC and (url.port is None or url.path.strip("/") or url.query):
        raise ValueError(f"expected {url.scheme}://HOST:PORT alone")
    if url.path.rstrip("/").endswith("/chat/completions"):
        raise ValueError("expected the base URL, without /chat/completions")
    return text


def _matching(pattern: re.Pattern[str], expected: str, text: str) -> str:
    if not pattern.fullmatch(text) or text.startswith("grpc-"):
        raise ValueError(f"expected {expected}")
    return text


def _passed_on(text: str) -> str:
    _matching(_PASSED_ON, "a key of metadata in lower case, not grpc-... and not ...-bin", text)
    if text == "authorization":
        raise ValueError('say auth = "caller" in each upstream that is to get it')
    if text in _OWN_HEADERS:
        raise ValueError("is the relay's own header")
    return text


_passed_back = partial(
    _matching,
    _PASSED_BACK,
    "the name of a header in lower case, with * for any text but not as the first letter",
)

_AddressText = Annotated[str, AfterValidator(_address)]


class TlsTable(Table):
    """The files of `chatpb_server.access.tls.server_credentials`."""

    cert: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.cert is None) != (self.key is None):
            raise ValueError("expected a certificate and its key, --tls-cert and --tls-key")
        if self.client_ca is not None and self.cert is None:
            raise ValueError("--tls-client-ca needs --tls-cert and --tls-key too")
        return self


class UpstreamTable(Table):
    """An upstream.

    Attributes:
        url: ``builtin``, ``replay:PATH``, a base URL, or another relay: ``grpc://HOST:PORT``, with
            TLS ``grpcs://HOST:PORT``.
        models: As in a `chatpb_server.upstreams.router.Route`.
        weight: Likewise.
        api_key_env: The environment variable that holds the upstream's key.
        api_key_file: The file that holds it, read again when it changes.
        auth: Whose authorization the upstream gets: the relay's ``key``, the ``caller``'s own, or
            ``none``. Unset: that of the key, if there is one.
        api_key_header: The header of the key: ``authorization``, where ``Bearer`` stands before
            it, or another, such as Azure's ``api-key``.
        query: Query parameters of every request, such as Azure's ``api-version``.
        headers: Headers of every request.
        ca_file: Certificates of authorities that are trusted in place of the system's.
        connect_timeout: How many seconds a connection may take to be made.
        silence_timeout: How many seconds a stream may be silent. 0: for ever.
    """

    url: Annotated[str, AfterValidator(_origin)] = Field(repr=False)
    models: Annotated[tuple[str, ...], Field(min_length=1)] = ("*",)
    weight: Seconds = 1
    api_key_env: Annotated[str, Field(min_length=1)] | None = None
    api_key_file: Path | None = None
    auth: Literal["key", "caller", "none"] | None = None
    api_key_header: str = "authorization"
    query: dict[str, str] = Field(default_factory=dict, repr=False)
    headers: dict[str, str] = Field(default_factory=dict, repr=False)
    ca_file: Path | None = None
    connect_timeout: Annotated[float, Field(gt=0)] = 10
    silence_timeout: Seconds = 300

    @property
    def address(self) -> SplitResult | None:
        """The parts of the URL; None if it has none."""
        return urlsplit(self.url) if _is_url(self.url) else None

    @property
    def is_relay(self) -> bool:
        """Whether it is another relay."""
        return self.url.startswith(tuple(f"{scheme}://" for scheme in _GRPC))

    @property
    def has_key(self) -> bool:
        """Whether it has a key of its own."""
        return self.api_key_env is not None or self.api_key_file is not None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not _is_url(self.url):
            only = {"models", "weight", "url"}
            for name in sorted(self.model_fields_set - only):
                raise ValueError(f"{name} is for upstreams with a URL, and this is {self.url}")
        if self.is_relay and self.query:
            raise ValueError("query is for upstreams behind HTTP, and this is another relay")
        if self.url.startswith("grpc:") and self.ca_file is not None:
            raise ValueError("ca_file needs TLS: grpcs://HOST:PORT")
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
            if name.lower() in _OWN_HEADERS - {"host"}:
                raise ValueError(f"headers: {name} is the relay's own")
        for name in (self.api_key_header, *self.headers) if self.is_relay else ():
            if not _PASSED_ON.fullmatch(name.lower()) or name.lower().startswith("grpc-"):
                raise ValueError(f"headers: {name} cannot be a key of metadata")
        return self

    def __str__(self) -> str:
        """In one line, without what may be secret."""
        url = self.address
        if url is None:
            return self.url
        key = self.api_key_env or self.api_key_file
        whose = f"a key from {key}" if key else "no key"
        if self.auth == "caller":
            whose = "the caller's authorization"
        return f"{url.scheme}://{url.netloc}{url.path} with {whose}"


class HttpTable(Table):
    """Where OpenAI's HTTP API is served too; nowhere without an address."""

    listen: _AddressText | None = None


class MetricsTable(Table):
    """Where Prometheus finds the metrics; there are none without an address."""

    listen: _AddressText | None = None
    insecure_listen: bool = False

    @model_validator(mode="after")
    def _safe(self) -> Self:
        if self.listen is not None and not self.insecure_listen:
            address = Address.parse(self.listen)
            if not address.is_loopback:
                raise ValueError(
                    f"will not serve metrics on {address.host}, beyond loopback, without TLS and"
                    " authentication, which they never have; if that is meant, say"
                    " --insecure-metrics-listen"
                )
        return self


class RecordTable(RecordLimits):
    """Whether exchanges are recorded; see `chatpb_server.watching.recording`.

    Attributes:
        directory: Where the log is. None: nothing is recorded.
        queue_bytes: The most bytes of records that wait to be written, in each process.
        sync: When the log waits for the disk, as in a `chatpb.log.LogWriter`.
        file_bytes: When the next file of the log is begun. 0: at any size.
        file_seconds: Likewise. 0: at any age.
        labels: What every record is labelled with.
    """

    directory: Path | None = None
    queue_bytes: Annotated[int, Field(ge=1)] = 64 * 1024 * 1024
    sync: Literal["never", "interval", "commit"] = "interval"
    file_bytes: Annotated[int, Field(ge=0)] = 1024 * 1024 * 1024
    file_seconds: Seconds = 3600
    labels: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.directory is None and self.model_fields_set - {"directory"}:
            raise ValueError("nothing is recorded without a directory, --record")
        for label in self.labels:
            if not label:
                raise ValueError("labels: expected a key before the value")
            if label.startswith(OWN_LABELS):
                raise ValueError(f"labels: {label}: keys in {OWN_LABELS} are the relay's own")
        return self

    def __str__(self) -> str:
        """In one line."""
        if self.directory is None:
            return "off"
        full = "is dropped" if self.overload == "drop" else "waits"
        labels = "".join(f"; {key}={value}" for key, value in self.labels.items())
        return (
            f"{self.directory}, sync: {self.sync}; what finds {self.queue_bytes} bytes before it"
            f" {full}{labels}"
        )


class TracingTable(Table):
    """Whether calls are traced; unset: if OpenTelemetry's environment variables ask for it."""

    enabled: bool | None = None


class LogTable(Table):
    """See `chatpb_server.watching.logs.configure_logging`."""

    format: LogFormat = "text"
    level: LogLevel = "info"


class Settings(Table):
    """What a relay is to be.

    Attributes:
        listen: Where to listen, as ``HOST:PORT``.
        insecure_listen: Whether that may be beyond loopback without TLS and authentication.
        workers: How many processes serve.
        grace: How many seconds running calls may take to finish at the end.
        channelz: As in `chatpb_server.edges.grpc.Options`.
        tokens: The file of the callers' tokens. None: callers need none.
        passed_on: The callers' metadata that all upstreams get as headers.
        passed_back: The headers of answers that callers get, as trailing metadata or as headers.
        limits: What bounds calls.
        tls: The certificates.
        upstreams: The upstreams, by name; at least one.
        retry: When a request is sent again.
        http: Where OpenAI's HTTP API is served too.
        metrics: Where the metrics are.
        record: Whether exchanges are recorded.
        tracing: Whether calls are traced.
        log: How logs are written.
    """

    listen: _AddressText = "127.0.0.1:50051"
    insecure_listen: bool = False
    workers: Annotated[int, Field(ge=1, le=1024)] = 1
    grace: Seconds = 30
    channelz: bool = False
    tokens: Path | None = None
    passed_on: tuple[Annotated[str, AfterValidator(_passed_on)], ...] = ()
    passed_back: tuple[Annotated[str, AfterValidator(_passed_back)], ...] = PASSED_HEADERS
    limits: Limits = Limits()
    tls: TlsTable = TlsTable()
    upstreams: Annotated[dict[str, UpstreamTable], Field(min_length=1)]
    retry: RetryPolicy = RetryPolicy()
    http: HttpTable = HttpTable()
    metrics: MetricsTable = MetricsTable()
    record: RecordTable = RecordTable()
    tracing: TracingTable = TracingTable()
    log: LogTable = LogTable()

    def __str__(self) -> str:
        """The most important in a few lines, without what may be secret."""
        tls = "without TLS"
        if self.tls.cert is not None:
            tls = "with TLS" if self.tls.client_ca is None else "with mutual TLS"
        callers = f"tokens from {self.tokens}" if self.tokens else "no tokens"
        tracing = {True: "on", False: "off", None: "as OpenTelemetry's variables say"}
        limits = self.limits
        lines = [
            ("listen", f"{self.listen}, {tls}, {callers}, workers: {self.workers}"),
            ("http", self.http.listen or "off"),
            *(
                (
                    f"upstream {name}",
                    f"{table}; models {' '.join(table.models)}; weight {table.weight:g}",
                )
                for name, table in self.upstreams.items()
            ),
            (
                "limits",
                f"{limits.max_running} calls run and {limits.max_waiting} wait in a process, for"
                f" {f'{limits.timeout:g} s' if limits.timeout else 'any time'} at most;"
                f" {self.grace:g} s of grace",
            ),
            ("metrics", self.metrics.listen or "off"),
            ("record", str(self.record)),
            ("tracing", tracing[self.tracing.enabled]),
            ("log", f"{self.log.format}, {self.log.level}"),
        ]
        width = max(len(name) for name, _ in lines)
        return "\n".join(f"{name:{width}}  {text}" for name, text in lines)


def load(
    given: Mapping[str, Given], path: Path | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """Puts the settings together.

    Args:
        given: Those of flags and the environment, by the name that they have in a file, such as
            ``limits.max_running``.
        path: The TOML file. Paths in it are relative to where it is.
        environ: The environment: whether it holds the key of an upstream that is given by its URL
            alone, and no misspelt variable.

    Raises:
        ConfigError: There are mistakes.
    """
    environ = environ or {}
    data = {} if path is None else _read(path)
    places = _Places(path)
    if "upstream" in given:  # in place of all that the file says of upstreams
        for name in ("upstreams", *_SHORT):
            data.pop(name, None)
    for name, setting in given.items():
        places.add(tuple(name.split(".")), setting.place)
        *tables, key = name.split(".")
        table: Any = data
        for part in tables:
            table = table.setdefault(part, {})
        if isinstance(table, dict):  # else that is the mistake
            table[key] = setting.value
    mistakes = list(_lengthen(data, places, environ))
    try:
        settings = Settings.model_validate_json(json.dumps(data, default=str))
    except ValidationError as error:
        details = error.errors(include_url=False)
        mistakes += [f"{places.find(item['loc'])}: {_text(item)}" for item in details]
        raise ConfigError(*mistakes) from None
    mistakes += _conflicts(settings, places)
    if mistakes:
        raise ConfigError(*mistakes)
    return settings


def check_variables(environ: Mapping[str, str], known: list[str]) -> None:
    """Makes sure that no environment variable looks like a misspelt setting.

    Others with the prefix are left alone: Kubernetes sets some for a service of that name.

    Raises:
        ConfigError: One does.
    """
    mistakes = []
    for name in environ:
        if name.startswith(PREFIX) and name not in known:
            bare = [variable.removeprefix(PREFIX) for variable in known]
            if close := get_close_matches(name.removeprefix(PREFIX), bare, 1, 0.85):
                mistakes.append(f"{name}: unknown variable; did you mean {PREFIX}{close[0]}?")
    if mistakes:
        raise ConfigError(*mistakes)


class _Places:
    """Where settings come from.

    Args:
        path: The file; where nothing else is known, it is from there.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._places: dict[tuple[int | str, ...], str] = {}

    def add(self, key: tuple[int | str, ...], place: str) -> None:
        """Takes note of a setting."""
        self._places[key] = place

    def find(self, key: tuple[int | str, ...]) -> str:
        """What a mistake of a setting begins with."""
        for length in range(len(key), 0, -1):
            if place := self._places.get(key[:length]):
                return ".".join([place, *map(str, key[length:])])
        name = ".".join(map(str, key))
        below = [place for known, place in self._places.items() if known[: len(key)] == key]
        if below:  # a table that flags have filled
            return " and ".join(below)
        return f"{self._path}: {name}" if self._path else name


def _read(path: Path) -> dict[str, Any]:
    try:
        data = tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        reason = os_error_text(error)
        raise ConfigError(f"cannot read the configuration {path}: {reason}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: expected TOML in UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\((at [^()]*)\)$", str(error))
        where = found[1] if found else "somewhere"
        raise ConfigError(f"{path}: not TOML, {where}; strings need quotes") from None
    _anchor(data, path.parent, ("tokens", "api_key_file", "upstream"))
    if isinstance(tls := data.get("tls"), dict):
        _anchor(tls, path.parent, ("cert", "key", "client_ca"))
    if isinstance(record := data.get("record"), dict):
        _anchor(record, path.parent, ("directory",))
    if isinstance(upstreams := data.get("upstreams"), dict):
        for table in upstreams.values():
            if isinstance(table, dict):
                _anchor(table, path.parent, ("api_key_file", "ca_file", "url"))
    return data


def _anchor(table: dict[str, Any], folder: Path, keys: tuple[str, ...]) -> None:
    """Makes the paths of a table relative to the working directory."""
    for key in keys:
        value = table.get(key)
        if not isinstance(value, str):
            continue
        if key not in ("url", "upstream"):
            table[key] = str(folder / value)
        elif value.startswith(REPLAY) and value != REPLAY:
            table[key] = REPLAY + str(folder / value.removeprefix(REPLAY))


def _lengthen(data: dict[str, Any], places: _Places, environ: Mapping[str, str]) -> Iterator[str]:
    """Writes one upstream in place of the short form; gives the mistakes in it."""
    short = {name: data.pop(name) for name in _SHORT if name in data}
    key = ("upstreams", "default")
    if "upstreams" in data:
        for name in short:
            yield f"{places.find((name,))}: belongs to one upstream; there are [upstreams.NAME]"
        return
    url = short.setdefault("upstream", BUILTIN)
    table = {_SHORT[name] or name: value for name, value in short.items()}
    for name in short:
        places.add((*key, _SHORT[name] or name), places.find((name,)))
    places.add(key, places.find(("upstream",)))
    data["upstreams"] = {"default": table}
    if not isinstance(url, str) or not _is_url(url) or table.keys() & _KEYS:
        return
    if url.startswith("grpc"):  # another relay's token is none of OpenAI's keys
        return
    auth = table.get("auth")
    if auth not in (None, "key"):
        return
    is_safe = auth == "key" or _is_private(url)
    if environ.get(DEFAULT_KEY) and is_safe:
        table["api_key_env"] = DEFAULT_KEY
    elif auth == "key" or _host(url) == "api.openai.com":
        table["auth"] = "none"  # said once
        yield (
            f"{places.find((*key, 'url'))}: needs a key: set {DEFAULT_KEY}, name another variable"
            " with --api-key-env, or a file with --api-key-file; or pass the callers' own on with"
            " --auth caller"
        )


_KEYS: Final = frozenset(("api_key_env", "api_key_file"))


def _is_url(text: str) -> bool:
    return text != BUILTIN and not text.startswith(REPLAY)


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _is_private(url: str) -> bool:
    """Whether nobody on the way can read what is sent to a URL."""
    return url.startswith("https://") or is_loopback(_host(url) or "")


def _conflicts(settings: Settings, places: _Places) -> Iterator[str]:
    """The mistakes that only several settings together make."""
    for key, listen in ((("listen",), settings.listen), (("http", "listen"), settings.http.listen)):
        if listen is None:
            continue
        try:
            check_exposure(
                Address.parse(listen),
                tls=settings.tls.cert is not None,
                authentication=settings.tokens is not None or settings.tls.client_ca is not None,
                insecure=settings.insecure_listen,
            )
        except AddressError as error:
            yield f"{places.find(key)}: {error}"
    for name, table in settings.upstreams.items():
        key = ("upstreams", name)
        if not _NAME.fullmatch(name):
            yield f"{places.find(key)}: expected a name of up to 64 letters, digits and . _ -"
        if table.auth == "caller" and settings.tokens is not None:
            yield (
                f"{places.find((*key, 'auth'))}: callers send one authorization: with --tokens it"
                " is for the relay; give the upstream a key of its own, or know the callers by"
                " --tls-client-ca"
            )


def _text(error: ErrorDetails) -> str:
    """What a mistake is, without the value, which may be secret."""
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if error["type"] == "extra_forbidden":
        return _unknown(error["loc"])
    if error["type"] == "missing":
        return "is missing"
    if error["type"] == "model_type":
        return "expected a table"
    text = error["msg"].replace("Input should", "expected to").replace(" to be ", " ")
    text = text.replace("expected greater", "expected a number greater")
    text = text.replace("expected less", "expected a number less")
    return text[:1].lower() + text[1:]


def _unknown(key: tuple[int | str, ...]) -> str:
    kind: Any = Settings
    if len(key) == 3:
        kind = UpstreamTable
    elif len(key) == 2:
        kind = Settings.model_fields[str(key[0])].annotation
    known = [*kind.model_fields, *(_SHORT if kind is Settings else ())]
    if close := get_close_matches(str(key[-1]), known, 1):
        return f"unknown key; did you mean {close[0]}?"
    return f"unknown key; known are {', '.join(known)}"
