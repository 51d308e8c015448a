"""The command line."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from click.core import ParameterSource

from chatpb_server.access.address import AddressError
from chatpb_server.access.tokens import TokensError, new_token
from chatpb_server.edges.grpc import Limits
from chatpb_server.running.build import Served, check, log_upstreams, relaying
from chatpb_server.running.config import (
    PREFIX,
    ConfigError,
    Given,
    RecordTable,
    Settings,
    check_variables,
    load,
)
from chatpb_server.running.workers import WorkerError, supervise
from chatpb_server.watching.logs import configure_logging
from chatpb_server.watching.record_limits import TRUNCATED

_EXAMPLES = """\b
Examples:
  chatpb-server                           # the builtin model, on 127.0.0.1:50051
  chatpb-server --listen 127.0.0.1:0      # a free port, named in the first line of output
  chatpb-server --upstream http://127.0.0.1:8000/v1           # a server without a key
  OPENAI_API_KEY=... chatpb-server --upstream https://api.openai.com/v1
  chatpb-server --upstream https://llm.example/v1 --api-key-file /run/secrets/llm
  chatpb-server --upstream replay:recordings/                 # recorded answers, in turn
  chatpb-server --http 127.0.0.1:8080 --upstream grpc://10.0.0.7:50051   # from OpenAI clients
  chatpb-server --config relay.toml --check-config            # is it right? what is it?
  chatpb-server --workers 4 --metrics-listen 127.0.0.1:9464
  chatpb-server --record records/ --record-label team=search  # each exchange, to a log in records/
  chatpb-server token alice >> tokens.txt                     # a new caller; then, for all to call:
  chatpb-server --listen 0.0.0.0:50051 --tokens tokens.txt --tls-cert cert.pem --tls-key key.pem

\b
A configuration, with every flag under the name of its table, and what has no flag:
  listen = "0.0.0.0:50051"
  tokens = "tokens.txt"                   # paths are relative to the file
  [tls]
  cert = "cert.pem"
  key = "key.pem"
  [upstreams.openai]
  url = "https://api.openai.com/v1"
  api_key_env = "OPENAI_API_KEY"
  models = ["gpt-*"]
  [upstreams.azure]                       # gets every third call for a gpt, and those that openai
  url = "https://example.openai.azure.com/openai/deployments/gpt"        # does not answer
  api_key_file = "/run/secrets/azure"
  api_key_header = "api-key"
  query = { api-version = "2024-10-21" }
  models = ["gpt-*"]
  weight = 0.5
  [upstreams.vllm]
  url = "http://10.0.0.7:8000/v1"
  models = ["llama-*", "qwen-*"]
  [record]
  directory = "records"
  overload = "wait"
  labels = { team = "search" }
"""

_Function = TypeVar("_Function", bound=Callable[..., Any])

#: The name in a file of each parameter.
_NAMES: Final[dict[str, str]] = {}


def _option(flag: str, name: str, **attributes: Any) -> Callable[[_Function], _Function]:
    """A flag, and an environment variable, for a setting."""
    bare = flag.partition("/")[0].removeprefix("--")
    parameter = bare.replace("-", "_")
    if name:
        _NAMES[parameter] = name
    return click.option(
        flag, parameter, envvar=PREFIX + parameter.upper(), default=None, **attributes
    )


def _labels(
    _context: click.Context, _parameter: click.Parameter, values: Sequence[str]
) -> dict[str, str]:
    """The labels of records."""
    labels = {}
    for text in values:
        key, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter(f"expected KEY=VALUE, not {text!r}")
        if key in labels:
            raise click.BadParameter(f"{key} has two values")
        labels[key] = value
    return labels


_LIMITS: Final = Limits()
_RECORD: Final = RecordTable()
_FILE: Final = click.Path(path_type=Path)


@click.group(
    invoke_without_command=True,
    epilog=_EXAMPLES,
    subcommand_metavar="[token NAME]",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@_option(
    "--listen",
    "listen",
    show_default="127.0.0.1:50051",
    metavar="HOST:PORT",
    help="Where to listen: a literal IP address. Port 0 takes a free port.",
)
@_option(
    "--upstream",
    "upstream",
    show_default="builtin",
    metavar="UPSTREAM",
    help="What answers: builtin, the base URL of an OpenAI-compatible server, another relay as"
    " grpc://HOST:PORT or grpcs://HOST:PORT, or replay:PATH. It stands in place of all the"
    " upstreams of a configuration.",
)
@_option(
    "--http",
    "http.listen",
    metavar="HOST:PORT",
    help="Where to serve OpenAI's HTTP API too, for any OpenAI client: http://HOST:PORT/v1.",
)
@_option(
    "--api-key-env",
    "api_key_env",
    show_default="OPENAI_API_KEY, if that is set",
    metavar="VARIABLE",
    help="The environment variable that holds the upstream's key. A key that nobody asked to be"
    " used is not sent over http beyond this machine.",
)
@_option(
    "--api-key-file",
    "api_key_file",
    type=_FILE,
    metavar="PATH",
    help="The file that holds it, read again when it changes.",
)
@_option(
    "--auth",
    "auth",
    type=click.Choice(["key", "caller", "none"]),
    help="Whose authorization the upstream gets: the relay's key, the caller's own, as its"
    " metadata have it, or none.",
)
@_option(
    "--config",
    "",
    type=_FILE,
    metavar="PATH",
    help="A TOML file with settings; flags and environment variables stand before it.",
)
@_option(
    "--grace",
    "grace",
    type=float,
    show_default="30",
    metavar="SECONDS",
    help="How long running calls may take to finish after SIGTERM or SIGINT.",
)
@_option(
    "--workers",
    "workers",
    type=int,
    show_default="1",
    metavar="COUNT",
    help="How many processes serve the port. One that dies is replaced.",
)
@_option(
    "--max-running",
    "limits.max_running",
    type=int,
    show_default=str(_LIMITS.max_running),
    metavar="COUNT",
    help="How many calls run at once, in each process.",
)
@_option(
    "--max-waiting",
    "limits.max_waiting",
    type=int,
    show_default=str(_LIMITS.max_waiting),
    metavar="COUNT",
    help="How many more wait for their turn; the next one is refused.",
)
@_option(
    "--timeout",
    "limits.timeout",
    type=float,
    show_default=f"{_LIMITS.timeout:g}",
    metavar="SECONDS",
    help="How long a call may last, whatever its deadline; 0 for any time.",
)
@_option(
    "--tls-cert", "tls.cert", type=_FILE, metavar="PATH", help="The certificate chain, in PEM form."
)
@_option("--tls-key", "tls.key", type=_FILE, metavar="PATH", help="Its private key.")
@_option(
    "--tls-client-ca",
    "tls.client_ca",
    type=_FILE,
    metavar="PATH",
    help="Who signs the callers' certificates. They then need one.",
)
@_option(
    "--tokens",
    "tokens",
    type=_FILE,
    metavar="PATH",
    help="The file of the callers' tokens. They then need one.",
)
@_option(
    "--insecure-listen",
    "insecure_listen",
    is_flag=True,
    help="Listen beyond loopback without TLS or without knowing the callers.",
)
@_option(
    "--metrics-listen",
    "metrics.listen",
    metavar="HOST:PORT",
    help="Where Prometheus finds metrics, over plain HTTP.",
)
@_option(
    "--insecure-metrics-listen",
    "metrics.insecure_listen",
    is_flag=True,
    help="Let that be beyond loopback.",
)
@_option(
    "--record",
    "record.directory",
    type=_FILE,
    metavar="DIR",
    help="Record every exchange in a log there, for chatpb.log: request, answer, times, status."
    " The directory is made if it is missing; all processes write to it.",
)
@_option(
    "--record-overload",
    "record.overload",
    type=click.Choice(["drop", "wait"]),
    show_default=_RECORD.overload,
    help="What happens to a record while as many bytes as may wait are waiting to be written: it is"
    " dropped and counted, or its call waits.",
)
@_option(
    "--record-sync",
    "record.sync",
    type=click.Choice(["never", "interval", "commit"]),
    show_default=_RECORD.sync,
    help="When the log waits for the disk: never, about once a second, or after each write.",
)
@_option(
    "--record-label",
    "record.labels",
    multiple=True,
    callback=_labels,
    metavar="KEY=VALUE",
    help="A label of every record; may be given again. In the variable, spaces separate them.",
)
@_option(
    "--record-exchange-bytes",
    "record.exchange_bytes",
    type=int,
    show_default=str(_RECORD.exchange_bytes),
    metavar="BYTES",
    help="The most that is kept of one exchange; the record of a longer one is cut, and has the"
    f" label {TRUNCATED}.",
)
@_option(
    "--record-running-bytes",
    "record.running_bytes",
    type=int,
    show_default=str(_RECORD.running_bytes),
    metavar="BYTES",
    help="The most that is kept of all running exchanges of a process; likewise.",
)
@_option(
    "--record-queue-bytes",
    "record.queue_bytes",
    type=int,
    show_default=str(_RECORD.queue_bytes),
    metavar="BYTES",
    help="How many bytes of records may wait to be written, in each process.",
)
@_option(
    "--record-file-bytes",
    "record.file_bytes",
    type=int,
    show_default=str(_RECORD.file_bytes),
    metavar="BYTES",
    help="How long a file gets before the next is begun; 0 for any length.",
)
@_option(
    "--record-file-seconds",
    "record.file_seconds",
    type=float,
    show_default=f"{_RECORD.file_seconds:g}",
    metavar="SECONDS",
    help="How old; 0 for any age.",
)
@_option(
    "--tracing/--no-tracing",
    "tracing.enabled",
    show_default="as OTEL_* variables say",
    help="Send traces by OpenTelemetry.",
)
@_option(
    "--log-format",
    "log.format",
    type=click.Choice(["text", "json"]),
    show_default="text",
    help="How logs are written, to standard error.",
)
@_option(
    "--log-level",
    "log.level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    show_default="info",
    help="The least that is logged. Each call is one line of info.",
)
@_option(
    "--channelz", "channelz", is_flag=True, help="Answer questions on the state of connections."
)
@click.option(
    "--check-config",
    is_flag=True,
    help="Read all settings and the files that they name, print what they say, and end.",
)
@click.version_option(package_name="chatpb")
@click.pass_context
def _command(
    context: click.Context, /, config: Path | None, check_config: bool, **parameters: Any
) -> int:
    """Serves chat completions over gRPC, with health and reflection, and over HTTP if asked.

    Without an upstream the answers come from the builtin one, a deterministic model that needs no
    key and no network. When it is ready, the server prints "listening on HOST:PORT" in a line.
    SIGTERM or SIGINT ends it after the running calls, and a second one at once.

    Each flag is an environment variable too: --max-running is CHATPB_SERVER_MAX_RUNNING. Flags
    stand before variables, these before the configuration. No flag takes a secret.
    """
    if context.invoked_subcommand is not None:
        return 0
    try:
        check_variables(os.environ, [PREFIX + name.upper() for name in (*parameters, "config")])
        settings = load(_given(context, parameters), config, os.environ)
        if check_config or settings.workers > 1:
            check(settings)
        if check_config:
            click.echo(settings)
            return 0
        configure_logging(settings.log.format, settings.log.level)
        if settings.workers > 1:
            all_ended_well = asyncio.run(supervise(settings, partial(_announce, settings)))
            return 0 if all_ended_well else 1
        asyncio.run(_serve(settings))
    except ConfigError as error:
        raise _Mistakes(error.mistakes) from None
    except (AddressError, WorkerError) as error:
        raise click.ClickException(str(error)) from None
    except asyncio.CancelledError:  # by a second signal
        return 1
    return 0


@_command.command(short_help="Make a token for a caller.")
@click.argument("name")
def token(name: str) -> int:
    """Makes a token for a caller.

    The line for the file of --tokens goes to standard output, the token itself to standard error:
    it is not shown again.
    """
    try:
        secret, line = new_token(name)
    except TokensError as error:
        raise click.UsageError(str(error)) from None
    click.echo(f"the token of {name}, which is not shown again:\n\n  {secret}\n", err=True)
    click.echo("Callers send it as metadata, authorization: Bearer TOKEN.", err=True)
    click.echo("The line for the file of --tokens:", err=True)
    click.echo(line)
    return 0


class _Mistakes(click.UsageError):
    """Mistakes in the settings, each in one line."""

    def __init__(self, mistakes: tuple[str, ...]) -> None:
        super().__init__("\nchatpb-server: ".join(mistakes))


def _given(context: click.Context, parameters: dict[str, Any]) -> dict[str, Given]:
    """The settings that flags and the environment give, by their names in a file."""
    flags = {option.name: option.opts[0] for option in context.command.params}
    given = {}
    for parameter, value in parameters.items():
        source = context.get_parameter_source(parameter)
        if source is ParameterSource.COMMANDLINE:
            place = flags[parameter]
        elif source is ParameterSource.ENVIRONMENT:
            place = PREFIX + parameter.upper()
        else:
            continue
        value = str(value) if isinstance(value, Path) else value
        given[_NAMES[parameter]] = Given(place, value)
    return given


def _announce(settings: Settings, served: Served) -> None:
    click.echo(f"listening on {served.address}")
    if served.http is not None:
        scheme = "http" if settings.tls.cert is None else "https"
        click.echo(f"http on {scheme}://{served.http}/v1")
    if served.metrics is not None:
        click.echo(f"metrics on {served.metrics}")
    log_upstreams(settings)


async def _serve(settings: Settings) -> None:
    stopping = asyncio.Event()
    task = asyncio.current_task()

    def stop() -> None:
        if stopping.is_set() and task is not None:
            task.cancel()
        stopping.set()

    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_number, stop)
    async with relaying(settings) as served:
        _announce(settings, served)
        await stopping.wait()


def run(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns the exit code; a user's mistake is one line, not a traceback.

    Args:
        arguments: In place of those of the process.
    """
    try:
        return _command.main(arguments, "chatpb-server", standalone_mode=False) or 0
    except click.ClickException as error:
        if isinstance(error, click.BadParameter) and error.ctx and error.param:
            source = error.ctx.get_parameter_source(error.param.name or "")
            if source is ParameterSource.ENVIRONMENT:
                error.param_hint = str(error.param.envvar)
        click.echo(f"chatpb-server: {error.format_message()}", err=True)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
