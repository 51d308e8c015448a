"""The command ``check``: a probe, for containers and service managers."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import click

from chatpb_server.running import NAME
from chatpb_server.running.probe import NotServingError, check_grpc, check_http

_SERVICE: Final = "chatpb.v1.ChatCompletionService"
_SECONDS: Final = 3.0
_MOST_SECONDS: Final = 3600.0
#: The probe writes the length of the name as one byte.
_MOST_NAME: Final = 127
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_FILE: Final = click.Path(path_type=Path)


@click.command(
    short_help="Ask a relay whether it serves.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.argument("address", metavar="[ADDR]", default="127.0.0.1:50051")
@click.option("--http", is_flag=True, help="Ask the HTTP API at ADDR, not the service of gRPC.")
@click.option("--tls", is_flag=True, help="The relay has a certificate.")
@click.option(
    "--ca", type=_FILE, metavar="FILE", help="The authorities to trust, in PEM; implies --tls."
)
@click.option(
    "--cert", type=_FILE, metavar="FILE", help="The certificate to show, in PEM; implies --tls."
)
@click.option("--key", type=_FILE, metavar="FILE", help="The private key of --cert, in PEM.")
@click.option(
    "--server-name", metavar="NAME", help="The name in the relay's certificate. Default: ADDR's."
)
@click.option(
    "--no-verify",
    is_flag=True,
    help="Take any certificate, as is safe for a probe of its own machine; implies --tls.",
)
@click.option("--token-file", type=_FILE, metavar="FILE", help="The file that contains a token.")
@click.option("--token-env", metavar="VARIABLE", help="The variable that contains a token.")
@click.option(
    "--service",
    default=_SERVICE,
    show_default=True,
    metavar="NAME",
    help="The service that health is asked about; '' for the relay as a whole.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=_SECONDS,
    show_default=True,
    metavar="S",
    help="How many seconds the answer can take.",
)
def command(
    address: str,
    http: bool,
    tls: bool,
    ca: Path | None,
    cert: Path | None,
    key: Path | None,
    server_name: str | None,
    no_verify: bool,
    token_file: Path | None,
    token_env: str | None,
    service: str,
    timeout: float,
) -> int:
    """Asks a relay whether it serves.

    ADDR is HOST:PORT, 127.0.0.1:50051 if it is left out, or a URL for HTTP. Over gRPC, the health
    service is asked, which needs no token; over HTTP, /readyz, or the path of the URL. Prints
    "ADDR: SERVING". Otherwise the reason goes to standard error.

    \b
      chatpb-server check                                   this machine, without TLS
      chatpb-server check --no-verify                       with TLS, for the probe of a container
      chatpb-server check relay.example:50051 --ca ca.pem
      chatpb-server check 127.0.0.1:8080 --http
      chatpb-server check https://relay.example/v1 --timeout 1

    Exit codes: 0 the relay serves, 1 it does not or cannot be reached, 2 the command line is wrong.
    """  # noqa: D301 (\b is click's mark of lines that keep their breaks)
    host, port, url = _place(address, http)
    if not (service.isascii() and len(service) <= _MOST_NAME):
        raise click.UsageError("expected the name of a service")
    if not timeout <= _MOST_SECONDS:  # NaN is not
        raise click.UsageError(f"--timeout: expected at most {_MOST_SECONDS:.0f} seconds")
    if key is not None and cert is None:
        raise click.UsageError("--key needs --cert")
    if no_verify and ca is not None:
        raise click.UsageError("--no-verify and --ca exclude each other")
    tls = tls or no_verify or ca is not None or cert is not None
    if url is not None:
        if url.startswith("http://") and tls and "://" in address:
            raise click.UsageError(f"{address} is not encrypted: write https://")
        tls = tls or url.startswith("https://")
    is_safe = (tls and not no_verify) or host in _LOOPBACK
    headers = _authorization(token_file, token_env, is_safe=is_safe)
    context = _context(ca, cert, key, no_verify=no_verify) if tls else None
    try:
        if url is not None:
            check_http(url, context=context, name=server_name, headers=headers, seconds=timeout)
        else:
            check_grpc(
                host,
                port,
                service,
                context=context,
                name=server_name,
                headers=headers,
                seconds=timeout,
            )
    except UnicodeError:
        raise click.UsageError("expected ADDR with a host and a path that can be sent") from None
    except (NotServingError, OSError) as error:
        click.echo(f"{NAME}: {address}: {error}", err=True)
        return 1
    click.echo(f"{address}: SERVING")
    return 0


def _place(address: str, http: bool) -> tuple[str, int, str | None]:
    """The host, the port and, for HTTP, the URL."""
    is_url = address.startswith(("http://", "https://"))
    try:
        parts = urlsplit(address if is_url else f"//{address}")
        port = parts.port
        if not parts.hostname or parts.username is not None or (port is None and not is_url):
            raise ValueError
    except ValueError:
        raise click.UsageError("expected ADDR as HOST:PORT or http://HOST:PORT") from None
    if is_url:
        return parts.hostname, port or 0, address
    return parts.hostname, port or 0, f"http://{address}" if http else None


def _authorization(path: Path | None, variable: str | None, *, is_safe: bool) -> dict[str, str]:
    """The header with the token, if there is one."""
    if path is None and variable is None:
        return {}
    if path is not None and variable is not None:
        raise click.UsageError("--token-file and --token-env exclude each other")
    if not is_safe:
        raise click.UsageError("a token goes to another machine only with TLS and its checks")
    # It imports more than most probes need.
    from chatpb_server.access.secret import Secret, SecretError

    try:
        secret = Secret.from_env(variable or "") if path is None else Secret.from_file(path)
    except SecretError as error:
        raise click.UsageError(str(error)) from None
    return {"authorization": f"Bearer {secret.reveal()}"}


def _context(
    ca: Path | None, cert: Path | None, key: Path | None, *, no_verify: bool
) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca)
        if cert is not None:
            context.load_cert_chain(cert, key)
    except OSError as error:
        names = ", ".join(str(path) for path in (ca, cert, key) if path is not None)
        raise click.UsageError(f"{names}: {error.strerror or error}") from None
    if no_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
