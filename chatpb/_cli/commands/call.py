"""The command ``call``."""

from __future__ import annotations

import math
from collections.abc import Iterable

import click

import chatpb
from chatpb._cli.failure import DATA_ERROR, at, one_line
from chatpb._cli.options import nan_option, unknown_option
from chatpb._cli.reading.input import Reading, open_source
from chatpb._cli.reading.sniff import Format
from chatpb._errors import ConversionError
from chatpb.v1 import ChatCompletion, ChatCompletionChunk, ChatCompletionRequest


@click.command()
@click.argument("address", metavar="ADDR")
@click.argument("file", default="-", metavar="[FILE]")
@click.option("--stream", is_flag=True, help="Ask for a stream of chunks.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="S",
    help="Give up after that many seconds. Default: no limit.",
)
@nan_option
@unknown_option
def command(
    address: str,
    file: str,
    stream: bool,
    timeout: float | None,
    ignore_unknown: bool,
    allow_nan: bool,
) -> None:
    """Send a request to a relay and print the answer.

    ADDR is host:port. The request is OpenAI's JSON, in FILE or standard input. Prints the
    completion, or with --stream each chunk as it arrives, as a line of OpenAI's JSON. The
    connection is not encrypted.

    \b
      chatpb call localhost:50051 request.json
      chatpb call localhost:50051 --stream --timeout 30 < request.json
      echo '{"model":"m","messages":[{"role":"user","content":"Hi"}]}' | chatpb call localhost:50051

    If the call fails, the name of the status and OpenAI's message go to standard error, and the
    exit code is 1.
    """  # noqa: D301 (\b is click's mark of lines that keep their breaks)
    from chatpb.client import ChatCompletionError, Client  # no other command needs grpc

    request = _request(file, allow_nan)
    try:
        with Client(address, timeout=timeout or math.inf) as client:
            messages: Iterable[ChatCompletion | ChatCompletionChunk] = (
                client.stream(request) if stream else [client.create(request)]
            )
            for message in messages:
                text = chatpb.to_json(
                    message, allow_nan=allow_nan, ignore_unknown_fields=ignore_unknown
                )
                click.echo(text)  # and flushes
    except ConversionError as error:
        raise at(address, error) from None
    except ChatCompletionError as error:
        click.echo(f"{error.code.name}: {one_line(error.message)}", err=True)
        raise click.exceptions.Exit(DATA_ERROR) from None


def _request(file: str, allow_nan: bool) -> ChatCompletionRequest:
    with open_source(file, Reading(Format.JSON)) as source:
        (record,) = source.records()
        try:
            return chatpb.from_json(record.data, ChatCompletionRequest, allow_nan=allow_nan)
        except ConversionError as error:
            raise at(source.name, error) from None
