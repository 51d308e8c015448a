"""The command ``fold``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

import chatpb
from chatpb._cli.failure import CliError, at, one_line
from chatpb._cli.options import delimited_option, input_options, output_option
from chatpb._cli.output import open_output
from chatpb._cli.progress import progress
from chatpb._cli.reading.exchange import described
from chatpb._cli.reading.input import Reading, explained, open_source
from chatpb._cli.reading.kinds import Kind, known_kind, label, loaded
from chatpb._cli.reading.sniff import Format
from chatpb._cli.reading.source import Record, Source
from chatpb._errors import ConversionError
from chatpb.v1 import ChatCompletion, ChatCompletionChunk, ErrorResponse


@click.command()
@click.argument("file", default="-", metavar="[FILE]")
@output_option
@click.option("--binary", is_flag=True, help="Write the completion in binary, not as JSON.")
@delimited_option
@input_options
def command(file: str, output: str, binary: bool, reading: Reading) -> None:
    """Put the chunks of a stream together.

    Writes the completion that they make. Reads server-sent events, JSON lines or length-delimited
    binary.

    \b
      chatpb fold stream.sse
      curl -N ... | chatpb fold | jq -r '.choices[0].message.content'
      chatpb fold --binary chunks.jsonl -o completion.binpb

    If the stream breaks off (an error event, a line that is not JSON, the end of a cut file), the
    completion of the chunks before that is written, the error is printed on standard error, and
    the exit code is 1.
    """  # noqa: D301 (\b is click's mark of lines that keep their breaks)
    with (
        open_output(output, [file], binary=binary) as out,
        progress([file]) as advance,
        open_source(file, reading, advance, binary=Format.DELIMITED) as source,
    ):
        chunks = _Chunks(source, reading.allow_nan)
        try:
            completion = chatpb.fold(chunks)
            text = chatpb.to_json(completion, allow_nan=reading.allow_nan)
        except ConversionError as error:
            raise chunks.failure or at(source.name, error) from None
        out.write(completion.SerializeToString(deterministic=True) if binary else text + b"\n")
    if chunks.failure is not None:
        raise chunks.failure


def _members_of_choices(completion: dict[str, Any]) -> set[str]:
    choices = completion.get("choices")
    objects = choices if isinstance(choices, list) else []
    return {name for choice in objects if isinstance(choice, dict) for name in choice}


class _Chunks:
    """The chunks of a file, up to its end or the first fault.

    Attributes:
        failure: The fault, if there was one.
    """

    def __init__(self, source: Source, allow_nan: bool) -> None:
        self._source = source
        self._allow_nan = allow_nan
        self.failure: CliError | None = None

    def __iter__(self) -> Iterator[ChatCompletionChunk]:
        try:
            for record in self._source.records():
                yield self._chunk(record, record.kind(ChatCompletionChunk))
        except CliError as failure:
            self.failure = failure

    def _chunk(self, record: Record, kind: Kind) -> ChatCompletionChunk:
        try:
            if record.source.is_binary:
                data = record.data
            elif kind is ErrorResponse:
                raise CliError(
                    f"{record.place}: the stream contains an error: {self._error(record.error)}"
                )
            elif kind is not ChatCompletionChunk and not record.source.holds_many:
                loaded(record.data)  # what is not JSON is not a completion either
                raise CliError(f"{record.place}: a {label(kind)}, not a chunk")
            else:
                self._check_line(record)
                data = chatpb.json_to_binary(
                    record.data, ChatCompletionChunk, allow_nan=self._allow_nan
                )
            return ChatCompletionChunk.FromString(data)
        except ConversionError as error:
            raise explained(record, error) from None

    @staticmethod
    def _check_line(record: Record) -> None:
        """Refuses a line of JSON that is not part of a stream."""
        if record.source.format is not Format.JSONL:
            return
        value = loaded(record.data)
        if not isinstance(value, dict):
            return
        kind = known_kind(value, in_stream=True)
        if kind is None:
            raise CliError(f"{record.place}: not a chunk: {described(value)}")
        # Some servers name their chunks as they name whole completions.
        is_whole = kind is ChatCompletion and "message" in _members_of_choices(value)
        if is_whole or kind not in (ChatCompletion, ChatCompletionChunk):
            raise CliError(f"{record.place}: a {label(kind)}, not a chunk")

    def _error(self, data: bytes) -> str:
        response = chatpb.from_json(data, ErrorResponse, allow_nan=self._allow_nan)
        return one_line(response.error.message or data.decode("utf-8", "replace"))
