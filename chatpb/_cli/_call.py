"""The command ``call``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import click

import chatpb
from chatpb._cli._failure import DATA_ERROR, at, one_line
from chatpb._cli._input import open_source
from chatpb._cli._options import nan_option, unknown_option
from chatpb._cli._sniff import Format
from chatpb._errors import ConversionError
from chatpb.v1 import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionRequest,
    CreateChatCompletionRequest,
    ErrorResponse,
    StreamChatCompletionRequest,
)

if TYPE_CHECKING:
    import grpc

_UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
_MAX_REQUEST = 1 << 28


@click.command()
@click.argument("address", metavar="ADDR")
@click.argument("file", default="-", metavar="[FILE]")
@click.option("--stream", is_flag=True, help="Ask for the completion piece by piece.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="S",
    help="Give up after so many seconds. Default: wait.",
)
@nan_option
@unknown_option
def call(
    address: str,
    file: str,
    stream: bool,
    timeout: float | None,
    ignore_unknown: bool,
    allow_nan: bool,
) -> None:
    """Send a request to a relay and print what comes.

    ADDR is host:port. The request is OpenAI's JSON, in FILE or standard input. Prints the
    completion, or with --stream each chunk as it comes, as a line of OpenAI's JSON. The connection
    is not encrypted.

    \b
      chatpb call localhost:50051 request.json
      chatpb call localhost:50051 --stream --timeout 30 < request.json
      echo '{"model":"m","messages":[{"role":"user","content":"Hi"}]}' | chatpb call localhost:50051

    If the call fails, the name of the status and OpenAI's message go to standard error, and the
    exit code is 1.
    """  # noqa: D301 (click's mark of lines that keep their breaks)
    request = _request(file, allow_nan)
    to_json = partial(chatpb.to_json, allow_nan=allow_nan, ignore_unknown_fields=ignore_unknown)
    asyncio.run(_Call(address, timeout, to_json).run(request, stream))


def _request(file: str, allow_nan: bool) -> ChatCompletionRequest:
    with open_source(file, Format.JSON, _MAX_REQUEST) as source:
        (record,) = source.records()
        try:
            return chatpb.from_json(record.data, ChatCompletionRequest, allow_nan=allow_nan)
        except ConversionError as error:
            raise at(source.name, error) from None


class _Call:
    """One call to a relay."""

    def __init__(self, address: str, timeout: float | None, to_json: Callable[..., bytes]) -> None:
        self._address = address
        self._timeout = timeout
        self._to_json = to_json

    async def run(self, request: ChatCompletionRequest, stream: bool) -> None:
        """Sends the request and prints what comes."""
        import grpc.aio

        from chatpb.v1.chat_completion_service_pb2_grpc import ChatCompletionServiceStub

        try:
            async with grpc.aio.insecure_channel(self._address, options=_UNLIMITED) as channel:
                stub = ChatCompletionServiceStub(channel)
                if stream:
                    ask = StreamChatCompletionRequest(request=request)
                    async for part in stub.StreamChatCompletion(ask, timeout=self._timeout):
                        for chunk in part.chunks:
                            self._print(chunk)
                else:
                    whole = CreateChatCompletionRequest(request=request)
                    answer = await stub.CreateChatCompletion(whole, timeout=self._timeout)
                    self._print(answer.completion)
        except grpc.aio.AioRpcError as error:
            click.echo(f"{error.code().name}: {one_line(_openai_message(error))}", err=True)
            raise click.exceptions.Exit(DATA_ERROR) from None

    def _print(self, message: ChatCompletion | ChatCompletionChunk) -> None:
        try:
            text = self._to_json(message)
        except ConversionError as error:
            raise at(self._address, error) from None
        click.echo(text)  # and flushes


def _openai_message(error: grpc.aio.AioRpcError) -> str:
    """OpenAI's message in the details of a status; otherwise what the status says."""
    from grpc_status import rpc_status

    try:
        status = rpc_status.from_call(error)  # type: ignore[arg-type]
    except ValueError:  # the details contradict the status
        status = None
    for detail in status.details if status is not None else ():
        response = ErrorResponse()
        if detail.Unpack(response) and response.error.message:
            return response.error.message
    return error.details() or "no details"
