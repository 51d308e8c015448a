"""The server that is called: the options that say where it is, and what is sent with each call."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import click

from chatpb._cli.failure import cannot_open

_HTTP: Final = ("http://", "https://")
#: The options that a `Target` has as they are.
_AS_THEY_ARE: Final = (
    *("ca", "cert", "key", "server_name"),
    *("allow_insecure_token", "timeout", "wait_ready"),
)
#: The longest time that can be set, about 30 years; for HTTP it is a number of milliseconds.
_MOST_SECONDS: Final = 1e9
_MOST_PORT: Final = 65535
_TOKEN: Final = re.compile(r"[!-~]([ -~]*[!-~])?")
#: Headers whose values every user of the machine could see in the list of processes.
_SECRET: Final = frozenset(
    ("authorization", "api-key", "cookie", "proxy-authorization", "x-api-key", "x-goog-api-key")
)


#: Headers that HTTP and gRPC set by themselves.
_OWN: Final = re.compile("grpc-.*|content-length|transfer-encoding|te")


@dataclass(frozen=True, slots=True)
class Target:
    """A server, and how it is called.

    Attributes:
        address: ``HOST:PORT``, or for HTTP the base URL.
        http: Whether it is called over HTTP.
        tls: Whether the connection is encrypted.
        ca: The authorities to trust. None: the system's.
        cert: The certificate to show. None: none.
        key: Its private key.
        server_name: The name that the server's certificate should have. None: the address's.
        token: Sent with each call. None: none.
        headers: Sent with each call.
        allow_insecure_token: Whether the token may leave this machine unencrypted.
        timeout: The seconds that a call may take. None: any number.
        wait_ready: The seconds to wait for the server before the call. None: no wait.
    """

    address: str
    http: bool
    tls: bool
    ca: Path | None
    cert: Path | None
    key: Path | None
    server_name: str | None
    token: str | None = field(repr=False)
    headers: list[tuple[str, str]] = field(repr=False)
    allow_insecure_token: bool
    timeout: float | None
    wait_ready: float | None


def target_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options for the server, as the argument ``target``."""

    @functools.wraps(command)
    def with_target(
        *,
        address: str,
        http: bool,
        tls: bool,
        token_file: Path | None,
        token_env: str | None,
        headers: tuple[str, ...],
        **others: Any,
    ) -> None:
        settings = {name: others.pop(name) for name in _AS_THEY_ARE}
        if settings["key"] is not None and settings["cert"] is None:
            raise click.UsageError("--key needs --cert")
        for name in ("timeout", "wait_ready"):
            seconds = settings[name]
            if seconds is not None and not seconds <= _MOST_SECONDS:  # NaN is not
                raise click.UsageError(f"--{name.replace('_', '-')}: expected at most 1e9 seconds")
        tls = tls or settings["ca"] is not None or settings["cert"] is not None
        place, http, tls = _place(address, http, tls)
        target = Target(
            address=place,
            http=http,
            tls=tls,
            token=_token(token_file, token_env),
            headers=[pair for text in headers for pair in _headers(text)],
            **settings,
        )
        command(target=target, **others)

    positive = click.FloatRange(min=0, min_open=True)
    path = click.Path(path_type=Path)
    for option in (
        click.option(
            "--wait-ready",
            type=positive,
            metavar="S",
            help="First wait up to that many seconds until the server is ready: its health is"
            " SERVING, or with --http, /readyz or /healthz is not an error.",
        ),
        click.option(
            "--timeout",
            type=positive,
            metavar="S",
            help="Give up after that many seconds; the server is told. Default: no limit.",
        ),
        click.option(
            "-H",
            "--header",
            "headers",
            multiple=True,
            metavar="NAME:VALUE",
            help="Send a header, or metadata over gRPC; a value of NAME-bin is base64. Can be"
            " repeated. @FILE reads such lines from a file, as is required for secrets.",
        ),
        click.option(
            "--allow-insecure-token",
            is_flag=True,
            help="Send the token to another machine without TLS.",
        ),
        click.option(
            "--token-env",
            metavar="VARIABLE",
            help="The environment variable that contains the token.",
        ),
        click.option(
            "--token-file",
            type=path,
            metavar="FILE",
            help="The file that contains the token, sent as `authorization: Bearer TOKEN`.",
        ),
        click.option(
            "--server-name",
            metavar="NAME",
            help="The name in the server's certificate, if it is not that of ADDR.",
        ),
        click.option("--key", type=path, metavar="FILE", help="The private key of --cert, in PEM."),
        click.option(
            "--cert",
            type=path,
            metavar="FILE",
            help="The certificate to show to the server, in PEM; implies --tls.",
        ),
        click.option(
            "--ca",
            type=path,
            metavar="FILE",
            help="The authorities to trust instead of the system's, in PEM; implies --tls.",
        ),
        click.option("--tls", is_flag=True, help="Encrypt the connection."),
        click.option(
            "--http",
            is_flag=True,
            help="Call OpenAI's HTTP API at ADDR, for instance that of --http of the relay.",
        ),
    ):
        with_target = option(with_target)
    return with_target


def _place(address: str, http: bool, tls: bool) -> tuple[str, bool, bool]:
    """The address in the form of a `Target`, and whether it is one of HTTP and of TLS."""
    if address.startswith(_HTTP):
        if tls and address.startswith("http://"):
            raise click.UsageError(f"{address} is not encrypted: write https://, or leave out TLS")
        http, tls = True, address.startswith("https://")
    elif http:
        address = f"{'https' if tls else 'http'}://{address}"
    else:
        scheme, separator, rest = address.partition("://")
        if separator and scheme in ("grpc", "grpcs"):
            address, tls = rest, tls or scheme == "grpcs"
        port = address.rpartition(":")[2]
        if not address or (port.isdecimal() and int(port) > _MOST_PORT):
            raise click.UsageError("expected ADDR as HOST:PORT, or with --http as a URL")
        return address, False, tls
    try:
        parts = urlsplit(address)
        if not parts.hostname or parts.port == 0 or parts.username is not None:
            raise ValueError
    except ValueError:
        raise click.UsageError("expected ADDR as HOST:PORT or http://HOST:PORT/v1") from None
    path = parts.path.rstrip("/").removesuffix("/chat/completions") or "/v1"
    return parts._replace(path=path, fragment="").geturl(), http, tls


def _token(path: Path | None, variable: str | None) -> str | None:
    if path is not None and variable is not None:
        raise click.UsageError("--token-file and --token-env exclude each other")
    if path is not None:
        text, source = _read(path), str(path)
    elif variable is not None:
        if variable not in os.environ:
            raise click.UsageError(f"the environment variable {variable} is not set")
        text, source = os.environ[variable], f"the environment variable {variable}"
    else:
        return None
    token = text.rstrip("\r\n")
    if not _TOKEN.fullmatch(token):
        raise click.UsageError(f"{source} must contain a token: one line of printable ASCII")
    return token


def _headers(text: str) -> list[tuple[str, str]]:
    """The headers of an option: one, or those of a file."""
    if text.startswith("@"):
        path = Path(text[1:])
        lines = [line for line in _read(path).splitlines() if line.strip()]
        return [_header(line, f"{path}: expected NAME:VALUE in each line") for line in lines]
    name, value = _header(text, "-H: expected NAME:VALUE")
    if name in _SECRET:
        raise click.UsageError(
            f"-H {name}: other users can read the command line; use --token-file or --token-env,"
            " or -H @FILE with a file of headers"
        )
    return [(name, value)]


def _header(text: str, problem: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise click.UsageError(problem)  # without the text, which can be a secret
    name = name.strip().lower()
    if _OWN.fullmatch(name):
        raise click.UsageError(f"-H {name}: the protocol sets it")
    return name, value.strip()


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError as error:
        raise cannot_open(str(path), error) from None
