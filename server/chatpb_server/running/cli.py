"""The command line."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import click

from chatpb_server.access.address import AddressError
from chatpb_server.access.tokens import TokensError, new_token
from chatpb_server.core.setting import PREFIX
from chatpb_server.running import NAME
from chatpb_server.running.announcing import announce, announce_start
from chatpb_server.running.build import Served, check, relaying
from chatpb_server.running.check import command as check_command
from chatpb_server.running.config import ConfigError, Loaded, check_variables, load_all
from chatpb_server.running.entry import run_command
from chatpb_server.running.flags import GroupedCommand, given, options
from chatpb_server.running.garbage import spare_what_stays
from chatpb_server.running.reach import check_upstreams
from chatpb_server.running.reload import Reloads
from chatpb_server.running.settings import Settings
from chatpb_server.running.store_command import command as store_command
from chatpb_server.running.stores import check_store
from chatpb_server.running.summary import summary
from chatpb_server.running.workers import WorkerError, supervise
from chatpb_server.watching.descriptors import provide_descriptors
from chatpb_server.watching.logs import configure_logging

_EXAMPLES = """\b
Examples:
  chatpb-server                           # the builtin model, on 127.0.0.1:50051
  chatpb-server --listen 127.0.0.1:0      # a free port; the first line of output names it
  chatpb-server --upstream http://127.0.0.1:8000/v1           # a server without a key
  OPENAI_API_KEY=... chatpb-server --upstream https://api.openai.com/v1
  chatpb-server --upstream https://llm.example/v1 --api-key-file /run/secrets/llm
  chatpb-server --upstream replay:recordings/                 # recorded answers, in turn
  chatpb-server --http 127.0.0.1:8080 --upstream grpc://10.0.0.7:50051   # from OpenAI clients
  chatpb-server --config relay.toml --check-config            # check all settings and print them
  chatpb-server --workers 4 --metrics-listen 127.0.0.1:9464
  chatpb-server --record records/ --record-label team=search  # each exchange, to a log in records/
  chatpb-server key >> keys.txt           # a new key of that log: --record-keys keys.txt
  chatpb-server --http 127.0.0.1:8080 --store sqlite:///chats.db   # what has "store": true
  chatpb-server check 127.0.0.1:50051                         # a probe: does it serve?
  chatpb-server token alice >> tokens.txt                     # a new caller; then serve everybody:
  chatpb-server --listen 0.0.0.0:50051 --tokens tokens.txt --tls-cert cert.pem --tls-key key.pem

\b
A configuration file. docs/settings.md lists all keys:
  listen = "0.0.0.0:50051"
  tokens = "tokens.txt"                   # paths are relative to the file
  [tls]
  cert = "cert.pem"
  key = "key.pem"
  [upstreams.openai]
  url = "https://api.openai.com/v1"
  api_key_env = "OPENAI_API_KEY"
  models = ["gpt-*"]
  [upstreams.azure]                       # a third of the calls for gpt-*, and those that openai
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


@click.group(
    cls=GroupedCommand,
    params=options(),
    invoke_without_command=True,
    epilog=_EXAMPLES,
    subcommand_metavar="[token NAME | key [ID] | check ADDR | store COMMAND]",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="chatpb")
@click.pass_context
def _command(
    context: click.Context, /, config: Path | None, check_config: bool, **parameters: Any
) -> int:
    """Serves chat completions over gRPC, with health and reflection, and over HTTP on request.

    Without --upstream, the builtin model answers: it is deterministic, and needs no key and no
    network. When the server is ready, it prints a line "listening on HOST:PORT". SIGTERM or SIGINT
    ends it after the running calls have finished, a second signal at once. SIGHUP makes it read the
    settings and all files again; settings that need a restart stay as they are, and are logged.

    Each flag has an environment variable: that of --max-running is CHATPB_SERVER_MAX_RUNNING. Flags
    override variables, and these override the configuration file. No flag takes a secret.
    """
    if context.invoked_subcommand is not None:
        return 0
    began = time.monotonic()
    try:
        check_variables(os.environ, [PREFIX + name.upper() for name in (*parameters, "config")])
        read = partial(load_all, given(context, parameters), config, os.environ)
        loaded = read()
        settings = loaded.settings
        if check_config or settings.workers > 1:
            check(settings)
        if settings.workers > 1 and not check_config:  # one of them sets it up
            check_store(settings.store)
        if check_config:
            click.echo(summary(loaded))
            return 0
        configure_logging(settings.log.format, settings.log.level)
        provide_descriptors(settings.limits.max_connections, settings.limits.max_running)
        return 0 if asyncio.run(_serve(loaded, lambda: read().settings, began)) else 1
    except ConfigError as error:
        raise _Mistakes(error.mistakes) from None
    except (AddressError, WorkerError) as error:
        raise click.ClickException(str(error)) from None
    except asyncio.CancelledError:  # a second signal
        return 1


@_command.command(short_help="Create a token for a caller.")
@click.argument("name")
def token(name: str) -> int:
    """Creates a token for a caller.

    The line for the file of --tokens is written to standard output, the token itself to standard
    error. The token is not shown again.
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


@_command.command(short_help="Create a key for logs of records.")
@click.argument("key_id", metavar="[ID]", required=False)
def key(key_id: str | None) -> int:
    """Creates a key for logs of records that are encrypted.

    The line for the file of --record-keys is written to standard output. The last line of that file
    encrypts, so to append a line is to change the key; keep the others for as long as there are
    logs that need them. ID is the name of the key, which is not secret.
    """
    try:
        from chatpb.log import new_key  # it has its own extra

        line = new_key(key_id)
    except (ValueError, ModuleNotFoundError) as error:
        raise click.UsageError(str(error)) from None
    click.echo("The line for the file of --record-keys, which is a secret:", err=True)
    click.echo(line)
    return 0


_command.add_command(check_command, "check")
_command.add_command(store_command, "store")


class _Mistakes(click.UsageError):
    """Mistakes in the settings, one line each."""

    def __init__(self, mistakes: tuple[str, ...]) -> None:
        super().__init__(f"\n{click.get_current_context().command_path}: ".join(mistakes))


async def _serve(loaded: Loaded, load: Callable[[], Settings], began: float) -> bool:
    """Serves until a signal ends it; returns whether the running calls could finish."""
    settings = loaded.settings
    reloads = Reloads(settings, load)
    with ExitStack() as stack:

        def ready(served: Served) -> None:
            announce(loaded, served, time.monotonic() - began)
            for task in (reloads.run(served.renew), check_upstreams(settings)):
                stack.callback(asyncio.ensure_future(task).cancel)

        if settings.workers > 1:
            announce_start(settings)
            return await supervise(settings, ready)
        await _serve_alone(settings, ready)
        return True


async def _serve_alone(settings: Settings, on_ready: Callable[[Served], None]) -> None:
    stopping = asyncio.Event()
    task = asyncio.current_task()

    def stop() -> None:
        if stopping.is_set() and task is not None:
            task.cancel()
        stopping.set()

    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_number, stop)
    async with relaying(settings) as served:
        spare_what_stays()
        on_ready(served)
        await stopping.wait()


def run(arguments: Sequence[str] | None = None, name: str = NAME) -> int:
    """Runs the command and returns its exit code. Mistakes of the user are printed in one line.

    Args:
        arguments: The arguments. None: those of the process.
        name: How the command is called.
    """
    return run_command(_command, arguments, name)
