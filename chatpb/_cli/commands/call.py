"""The command ``call``."""

from __future__ import annotations

import os
from collections.abc import Callable

import click

import chatpb
from chatpb._cli.calling.report import Report
from chatpb._cli.calling.target import Target, target_options
from chatpb._cli.failure import CALL_FAILED, at, one_line
from chatpb._cli.options import nan_option, unknown_option
from chatpb._cli.reading.input import STDIN, Reading, open_source
from chatpb._cli.reading.sniff import Format
from chatpb._errors import ConversionError
from chatpb.v1 import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionRequest,
    Model,
    ModelList,
)


@click.command()
@click.argument("address", metavar="ADDR")
@click.argument("file", required=False, metavar="[FILE]")
@click.option("--stream", is_flag=True, help="Ask for a stream of chunks.")
@click.option("--models", is_flag=True, help="Print the models that the server lists instead.")
@target_options
@click.option(
    "-v",
    "--verbose",
    is_flag=True,
    help="Report times, tokens per second and metadata on standard error.",
)
@nan_option
@unknown_option
def command(
    target: Target,
    file: str | None,
    stream: bool,
    models: bool,
    verbose: bool,
    ignore_unknown: bool,
    allow_nan: bool,
) -> None:
    """Send a request to a relay and print the answer.

    ADDR is HOST:PORT, or with --http also a base URL. The request is OpenAI's JSON, in FILE or
    standard input. Prints the completion, or with --stream each chunk as it arrives, as a line of
    OpenAI's JSON.

    \b
      chatpb call localhost:50051 request.json
      chatpb call localhost:50051 --stream --timeout 30 -v < request.json
      echo '{"model":"m","messages":[{"role":"user","content":"Hi"}]}' | chatpb call localhost:50051
      chatpb call relay.example:50051 --ca ca.pem --token-file ~/.relay-token request.json
      TOKEN=... chatpb call relay.example:50051 --tls --token-env TOKEN request.json
      chatpb call relay.example:50051 --ca ca.pem --cert me.pem --key me.key request.json
      chatpb call localhost:8080 --http -H x-team:search --wait-ready 30 request.json
      chatpb call localhost:50051 --models
      chatpb call https://api.openai.com/v1 --token-env OPENAI_API_KEY request.json

    A token is never an argument, because other users can read those. Without TLS it is sent to this
    machine only, unless --allow-insecure-token is given.

    If the call fails, the name of the status and OpenAI's message go to standard error, and the
    exit code is 64 plus the number of the gRPC status, as grpcurl has it. An HTTP status counts as
    the gRPC status that corresponds to it; an error inside a stream over HTTP is UNKNOWN, and a
    stream that ends before the completion does is DATA_LOSS.

    \b
      65 CANCELLED            70 ALREADY_EXISTS       75 OUT_OF_RANGE
      66 UNKNOWN              71 PERMISSION_DENIED    76 UNIMPLEMENTED
      67 INVALID_ARGUMENT     72 RESOURCE_EXHAUSTED   77 INTERNAL
      68 DEADLINE_EXCEEDED    73 FAILED_PRECONDITION  78 UNAVAILABLE
      69 NOT_FOUND            74 ABORTED              79 DATA_LOSS
                                                      80 UNAUTHENTICATED
    """  # noqa: D301 (\b is click's mark of lines that keep their breaks)
    if not verbose:  # gRPC's runtime writes a line to standard error for each failed handshake
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from chatpb.client import ChatCompletionError  # no other command needs grpc

    def emit(message: ChatCompletion | ChatCompletionChunk | Model) -> None:
        text = chatpb.to_json(message, allow_nan=allow_nan, ignore_unknown_fields=ignore_unknown)
        click.echo(text)  # and flushes

    if models and (stream or file is not None):
        raise click.UsageError("--models takes no request, and no --stream")
    report = Report(is_wanted=verbose)
    try:
        request = ChatCompletionRequest() if models else _request(file or STDIN, allow_nan)
        if target.http:
            from chatpb._cli.calling import over_http

            if models:
                _emit_all(over_http.models(target, report), emit)
            else:
                over_http.call(target, request, stream, emit, report, allow_nan=allow_nan)
        else:
            from chatpb._cli.calling import over_grpc

            if models:
                _emit_all(over_grpc.models(target, report), emit)
            else:
                over_grpc.call(target, request, stream, emit, report)
    except ConversionError as error:
        raise at(target.address, error) from None
    except ChatCompletionError as error:
        click.echo(f"{error.code.name}: {one_line(error.message)}", err=True)
        report.write()
        raise click.exceptions.Exit(CALL_FAILED + error.code.value[0]) from None
    report.write()


def _emit_all(found: ModelList, emit: Callable[[Model], None]) -> None:
    for model in found.data:
        emit(model)


def _request(file: str, allow_nan: bool) -> ChatCompletionRequest:
    with open_source(file, Reading(Format.JSON)) as source:
        (record,) = source.records()
        try:
            return chatpb.from_json(record.data, ChatCompletionRequest, allow_nan=allow_nan)
        except ConversionError as error:
            raise at(source.name, error) from None
