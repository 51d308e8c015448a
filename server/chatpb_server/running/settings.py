"""The settings of a server, each declared once: type, bounds, default, help, unit and flag.

The tables of parts that know their own settings are declared there: `Limits`, `RecordTable`,
`RetryPolicy`, and the kinds of upstreams.

No setting is a secret. Some name an environment variable or a file that contains one.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, Field, model_validator

from chatpb_server.access.address import Address
from chatpb_server.access.secret import is_metadata_key
from chatpb_server.core.headers import is_never_passed
from chatpb_server.core.limits import Limits
from chatpb_server.core.setting import Declaration, Seconds, Setting, Table, declarations
from chatpb_server.core.store_rules import StoreTable
from chatpb_server.edges.http.cors import checked_origin
from chatpb_server.running.serving import PASSED_HEADERS
from chatpb_server.upstreams.catalog import ModelsTable
from chatpb_server.upstreams.registry import AnyUpstream, kinds
from chatpb_server.upstreams.router import RetryPolicy
from chatpb_server.watching.logs import LogFormat, LogLevel
from chatpb_server.watching.record_limits import RecordTable

_SERVING = "Serving"
_CALLERS = "TLS and callers"
_WATCHING = "Metrics, traces and logs"


def _address(text: str) -> str:
    return str(Address.parse(text))


def _passed_on(text: str) -> str:
    text = text.lower()
    name = text.removeprefix("-")
    if name.startswith("*") or not is_metadata_key(name.replace("*", "x")):
        raise ValueError(
            "expected the name of a header, not grpc-... and not ...-bin, with * for any text but"
            " not as the first letter"
        )
    if name == "authorization":
        raise ValueError('set auth = "caller" for each upstream that requires it')
    if is_never_passed(name):
        raise ValueError("is set by the relay itself, or belongs to one connection or a browser")
    return text


def _passed_back(text: str) -> str:
    text = text.lower()
    name = text.removeprefix("-")
    if name.startswith("*") or not is_metadata_key(name.replace("*", "x")):
        raise ValueError(
            "expected the name of a header, with * for any text but not as the first letter"
        )
    if is_never_passed(name):
        raise ValueError("is set by the relay itself, or belongs to one connection or a browser")
    return text


_AddressText = Annotated[str, AfterValidator(_address)]


class HttpEdgeTable(Table):
    """OpenAI's HTTP API."""

    title: ClassVar[str] = _SERVING

    listen: Annotated[
        _AddressText | None,
        Setting(
            "Where to serve OpenAI's HTTP API too. The base URL for clients is"
            " http://HOST:PORT/v1, or https:// with TLS.",
            flag="--http",
            value="HOST:PORT",
        ),
    ] = None
    cors_origins: Annotated[
        tuple[Annotated[str, AfterValidator(checked_origin)], ...],
        Setting(
            "The origins of web pages that can call the HTTP API from a browser (CORS), such as"
            " https://app.example.com. `*` stands for a part of one, as in http://localhost:*, and"
            " alone for all. The flag can be repeated; in the variable, spaces separate the"
            " origins.",
            flag="--cors-origin",
            value="ORIGIN",
        ),
    ] = ()
    fallback: Annotated[
        str | None,
        Setting(
            "Where the HTTP API passes the requests of all paths that it does not serve itself"
            " (embeddings, responses, files ...): an upstream of the configuration file, or a base"
            " URL. A URL on an upstream's server gets the key and the other settings of that"
            " upstream; one elsewhere gets the key of OPENAI_API_KEY, over https. Without it, other"
            " paths do not exist.",
            flag="--fallback",
            value="URL|UPSTREAM",
            secret=True,
        ),
        Field(repr=False),
    ] = None


class TlsTable(Table):
    """The files of TLS, which are read again when they change."""

    title: ClassVar[str] = _CALLERS

    cert: Annotated[
        Path | None, Setting("The certificate chain, in PEM form.", flag="--tls-cert")
    ] = None
    key: Annotated[Path | None, Setting("Its private key, in PEM form.", flag="--tls-key")] = None
    client_ca: Annotated[
        Path | None,
        Setting(
            "The authorities that sign the callers' certificates, in PEM form. Callers then need a"
            " certificate.",
            flag="--tls-client-ca",
        ),
    ] = None

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if (self.cert is None) != (self.key is None):
            raise ValueError("expected both cert (--tls-cert) and key (--tls-key)")
        if self.client_ca is not None and self.cert is None:
            raise ValueError(
                "client_ca (--tls-client-ca) needs cert (--tls-cert) and key (--tls-key) too"
            )
        return self


class MetricsTable(Table):
    """Metrics for Prometheus."""

    title: ClassVar[str] = _WATCHING

    listen: Annotated[
        _AddressText | None,
        Setting(
            "Where Prometheus reads metrics, over plain HTTP.",
            flag="--metrics-listen",
            value="HOST:PORT",
        ),
    ] = None
    insecure_listen: Annotated[
        bool,
        Setting(
            "Serve metrics to other machines, without TLS and authentication.",
            flag="--insecure-metrics-listen",
        ),
    ] = False

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        if self.listen is not None and not self.insecure_listen:
            address = Address.parse(self.listen)
            if not address.is_loopback:
                raise ValueError(
                    f"will not serve metrics on {address.host}, beyond loopback, without TLS and"
                    " authentication, which they never have; if that is intended, set"
                    " insecure_listen = true (--insecure-metrics-listen)"
                )
        return self


class TracingTable(Table):
    """Traces."""

    title: ClassVar[str] = _WATCHING

    enabled: Annotated[
        bool | None,
        Setting(
            "Send traces with OpenTelemetry.",
            flag="--tracing",
            default="as the OTEL_* variables say",
        ),
    ] = None
    content: Annotated[
        bool | None,
        Setting(
            "Put the messages of calls, prompts and answers, up to 64 KiB of each, into traces: on"
            " spans, or where OpenTelemetry's variable for that says.",
            flag="--trace-content",
            default="as that variable says; it is off without it",
        ),
    ] = None


class LogTable(Table):
    """Logs, on standard error."""

    title: ClassVar[str] = _WATCHING

    format: Annotated[
        LogFormat, Setting("How logs are written to standard error.", flag="--log-format")
    ] = "text"
    level: Annotated[
        LogLevel,
        Setting(
            "The lowest level that is logged. Each call is one line of level info.",
            flag="--log-level",
        ),
    ] = "info"


class Settings(Table):
    """All settings of a server."""

    title: ClassVar[str] = _SERVING

    listen: Annotated[
        _AddressText,
        Setting(
            "Where to listen: an IP address and a port. Port 0 takes a free port.",
            flag="--listen",
            value="HOST:PORT",
        ),
    ] = "127.0.0.1:50051"
    insecure_listen: Annotated[
        bool,
        Setting(
            "Accept calls from other machines without TLS or without caller authentication.",
            flag="--insecure-listen",
        ),
    ] = False
    http: HttpEdgeTable = HttpEdgeTable()
    workers: Annotated[
        int,
        Field(ge=1, le=1024),
        Setting(
            "How many processes serve. A process that ends is replaced.",
            flag="--workers",
            unit="processes",
        ),
    ] = 1
    grace: Annotated[
        Seconds,
        Setting(
            "How long running calls can take to finish after SIGTERM or SIGINT.",
            flag="--grace",
            unit="seconds",
        ),
    ] = 30
    passed_on: Annotated[
        tuple[Annotated[str, AfterValidator(_passed_on)], ...],
        Setting(
            "The callers' headers, or metadata, that all upstreams get as headers, in addition to"
            " those in docs/headers.md. `*` stands for any text; `-` before a name takes"
            " it out again.",
            flag="--pass",
            value="HEADER",
        ),
    ] = ()
    passed_back: Annotated[
        tuple[Annotated[str, AfterValidator(_passed_back)], ...],
        Setting(
            "The headers of answers that callers get, as headers or as trailing metadata, in"
            " addition to those in docs/headers.md. `*` stands for any text; `-` before a"
            " name takes it out again.",
            flag="--pass-back",
            value="HEADER",
        ),
    ] = PASSED_HEADERS
    upstreams: Annotated[dict[str, AnyUpstream], Field(min_length=1)]
    tls: TlsTable = TlsTable()
    tokens: Annotated[
        Path | None,
        Setting(
            "The file of the callers' tokens, with the lines that the command `token` prints. It is"
            " read again when it changes. Callers then need a token.",
            flag="--tokens",
            group=_CALLERS,
        ),
    ] = None
    limits: Limits = Limits()
    retry: RetryPolicy = RetryPolicy()
    models: ModelsTable = ModelsTable()
    record: RecordTable = RecordTable()
    store: StoreTable = StoreTable()
    metrics: MetricsTable = MetricsTable()
    tracing: TracingTable = TracingTable()
    log: LogTable = LogTable()
    channelz: Annotated[
        bool,
        Setting(
            "Serve channelz, gRPC's service that shows the state of connections.",
            flag="--channelz",
            group=_WATCHING,
        ),
    ] = False


@cache
def all_settings() -> tuple[Declaration, ...]:
    """All settings, in the order in which users read about them."""
    order = [*Settings.model_fields]
    found = [*declarations(Settings), *_upstream_settings()]
    return tuple(sorted(found, key=lambda declaration: order.index(declaration.key[0])))


def _upstream_settings() -> Iterator[Declaration]:
    """The settings of all kinds of upstreams; those that several kinds have, once."""
    seen = set()
    for kind in kinds():
        for declaration in declarations(kind, ("upstreams", "NAME")):
            if (declaration.table, declaration.name) not in seen:
                seen.add((declaration.table, declaration.name))
                yield declaration


@cache
def short_keys() -> dict[str, str]:
    """The keys of the only upstream, if it is not in a table ``[upstreams.NAME]``.

    Returns:
        The key in such a table, by the key without one, which is named like the flag.
    """
    return {
        declaration.setting.flag.removeprefix("--").replace("-", "_"): declaration.key[-1]
        for declaration in _upstream_settings()
        if declaration.setting.flag
    }
